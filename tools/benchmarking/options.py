"""The command line of all sub-commands; nothing here imports torch, so that ``--help`` is quick."""

import argparse
from pathlib import Path


def add_common(parser: argparse.ArgumentParser) -> None:
    """Arguments of all sub-commands that run a model."""
    parser.add_argument(
        '--model',
        choices=('mini', 'swin-t', 'swin-b'),
        default='mini',
        help='FIBER-mini, FIBER-T or FIBER-B; weights are random',
    )
    parser.add_argument('--device', help='cpu or cuda:N; default: a GPU if there is one')
    parser.add_argument('--threads', type=int, help="CPU threads; default: torch's own choice")
    parser.add_argument('--repeats', type=int, default=3, help='timed rounds')
    parser.add_argument('--no-flops', action='store_true', help='do not count operations')
    parser.add_argument('--tokenizer', help="directory or hub name instead of the config's")
    parser.add_argument('--out', type=Path, help='JSON file to write')


def size(text: str) -> tuple[int, int]:
    """(height, width) from HEIGHTxWIDTH."""
    try:
        height, width = (int(part) for part in text.split('x'))
    except ValueError:
        raise argparse.ArgumentTypeError(f'{text!r} must look like 800x1344') from None
    return height, width


def add_sizes(parser: argparse.ArgumentParser) -> None:
    """Argument for the image size of a detector."""
    parser.add_argument(
        '--size',
        type=size,
        nargs='+',
        metavar='HxW',
        help="pixels of the model's input; default 800x1344, mini 192x192",
    )


def add_curve(parser: argparse.ArgumentParser, *names: str) -> None:
    """Argument that names the quantity whose values make a curve."""
    parser.add_argument(
        '--curve', choices=names, help='name of the quantity that has several values, for `plot`'
    )


def add_forward(parser: argparse.ArgumentParser) -> None:
    """Arguments of `forward`."""
    add_common(parser)
    add_sizes(parser)
    parser.add_argument(
        '--tokens',
        type=int,
        nargs='+',
        default=[195, 20],
        help='lengths of the prompt (195: the 80 names of COCO)',
    )
    parser.add_argument(
        '--precision', choices=('bfloat16', 'float16'), help='also run ours under autocast'
    )
    parser.add_argument('--compile', action='store_true', help='also run ours with torch.compile')
    add_curve(parser, 'tokens', 'megapixels')


def add_vocabulary(parser: argparse.ArgumentParser) -> None:
    """Arguments of `vocabulary`."""
    add_common(parser)
    add_sizes(parser)
    parser.add_argument('--classes', type=int, nargs='+', default=[1203], help='names asked for')
    parser.add_argument(
        '--chunk',
        type=int,
        help='names per prompt (default: 40; for mini, whose tokenizer needs more tokens, 20)',
    )
    parser.add_argument(
        '--plain-chunks',
        type=int,
        metavar='N',
        help='run the plain way on the first N chunks only and scale its time: '
        'its passes all cost the same',
    )
    add_curve(parser, 'classes')


def add_sessions(parser: argparse.ArgumentParser) -> None:
    """Arguments of `sessions`."""
    add_common(parser)
    add_sizes(parser)
    parser.add_argument('--prompts', type=int, nargs='+', default=[100], help='on one image')
    parser.add_argument('--photos', type=int, nargs='+', default=[100], help='under one prompt')
    parser.add_argument('--tokens', type=int, default=20, help='length of the one prompt')
    parser.add_argument(
        '--plain-passes',
        type=int,
        metavar='N',
        help='run the plain way on the first N pairs only and scale its time',
    )
    add_curve(parser, 'count')


def add_rerank(parser: argparse.ArgumentParser) -> None:
    """Arguments of `rerank`."""
    add_common(parser)
    parser.add_argument('--side', type=int, help="of the images in pixels; default: the model's")
    parser.add_argument(
        '--count', type=int, nargs='+', default=[50], help='number of images, and of texts'
    )
    parser.add_argument(
        '--k',
        type=int,
        nargs='+',
        default=[16],
        help='candidates per image and per text of the top-k way',
    )
    parser.add_argument('--pairs-per-pass', type=int, default=32, help='fused together')
    parser.add_argument(
        '--plain-pairs',
        type=int,
        metavar='N',
        help='run the plain way on the first N pairs only and scale its time',
    )
    add_curve(parser, 'count')


def add_caption(parser: argparse.ArgumentParser) -> None:
    """Arguments of `caption`."""
    add_common(parser)
    parser.add_argument('--side', type=int, help="of the images in pixels; default: the model's")
    parser.add_argument('--images', type=int, default=1, help='captioned together')
    parser.add_argument('--beams', type=int, default=5, help='of the search')
    parser.add_argument(
        '--tokens',
        type=int,
        nargs='+',
        default=[49],
        help='length of the captions, none of which ends earlier',
    )
    add_curve(parser, 'tokens')


def add_train_step(parser: argparse.ArgumentParser) -> None:
    """Arguments of `train-step`."""
    add_common(parser)
    add_sizes(parser)
    parser.add_argument('--batch', type=int, nargs='+', default=[1], help='images in a step')
    parser.add_argument('--tokens', type=int, default=195, help='length of the prompt')
    parser.add_argument('--boxes', type=int, default=8, help='in each image')
    parser.add_argument(
        '--texts',
        type=int,
        nargs='+',
        metavar='K',
        help='instead, compare K texts of each image that share its prefix with K separate pairs',
    )
    parser.add_argument(
        '--stage',
        nargs='+',
        choices=('detector', 'pre-training', 'questions', 'tasks'),
        default=['detector', 'pre-training', 'questions'],
        help='with --texts or --cached: what is trained; tasks (with --texts only): captions and '
        'questions about the same images in one training',
    )
    parser.add_argument(
        '--cached',
        action='store_true',
        help='instead, compare a frozen image tower with cached prefixes',
    )
    parser.add_argument('--side', type=int, help="of the image-text model's images in pixels")
    add_curve(parser, 'batch', 'texts')


def add_peers(parser: argparse.ArgumentParser) -> None:
    """Arguments of `peers`."""
    add_common(parser)
    add_sizes(parser)
    parser.set_defaults(model='swin-t')
    parser.add_argument(
        '--tokens',
        type=int,
        nargs='+',
        default=[195, 20],
        help='lengths of the prompt in our tokens; the others get the same names',
    )
    add_curve(parser, 'tokens', 'megapixels')


def add_data(parser: argparse.ArgumentParser) -> None:
    """Arguments of `data`."""
    parser.add_argument('config', help='config whose train_dataloader is read')
    parser.add_argument(
        '--workers', type=int, nargs='+', default=[0, 1, 2], help='processes that read'
    )
    parser.add_argument('--batches', type=int, default=30, help='timed, after two for warm-up')
    parser.add_argument('--out', type=Path, help='JSON file to write')
    add_curve(parser, 'workers')


def add_search(parser: argparse.ArgumentParser) -> None:
    """Arguments of `search`."""
    parser.add_argument(
        '--count', type=int, nargs='+', default=[10_000, 100_000], help='numbers of vectors'
    )
    parser.add_argument('--dim', type=int, default=128, help='numbers in a vector')
    parser.add_argument(
        '--data',
        nargs='+',
        choices=('random', 'clustered'),
        default=['random', 'clustered'],
        help='how they are distributed',
    )
    parser.add_argument(
        '--kinds',
        nargs='+',
        choices=('exact', 'ivf', 'hnsw'),
        default=['exact', 'ivf', 'hnsw'],
        help='what finds the nearest',
    )
    parser.add_argument('--queries', type=int, default=100, help='single ones that are timed')
    parser.add_argument(
        '--effort', type=float, default=1, help='how much further than usual to look'
    )
    parser.add_argument('--half', action='store_true', help='float16 instead of float32')
    parser.add_argument('--threads', type=int, default=1, help='CPU threads')
    parser.add_argument('--folder', type=Path, help='for the vectors; default: a temporary one')
    parser.add_argument('--out', type=Path, help='JSON file to write')
    add_curve(parser, 'count')


def add_annotations(parser: argparse.ArgumentParser) -> None:
    """Arguments of `annotations`."""
    parser.add_argument(
        '--kind',
        nargs='+',
        choices=('mixed', 'detections'),
        default=['mixed', 'detections'],
        help='captions with boxes in the format of MDETR, or a COCO file like that of Objects365',
    )
    parser.add_argument(
        '--captions',
        type=int,
        nargs=2,
        metavar=('N', 'BOXES'),
        default=[200_000, 1_000_000],
        help='of the mixed file',
    )
    parser.add_argument(
        '--images',
        type=int,
        nargs=2,
        metavar=('N', 'BOXES'),
        default=[100_000, 1_500_000],
        help='of the file of detections; Objects365 v2 has 1700000 25500000, which need tens of GB '
        'of memory to read once',
    )
    parser.add_argument(
        '--ways',
        nargs='+',
        choices=('plain', 'first', 'again'),
        default=['plain', 'first', 'again'],
        help='without a cache; the start that makes it; the start that finds it',
    )
    parser.add_argument(
        '--grown',
        type=int,
        metavar='N',
        help='also repeat the records of the cache until it has N samples, and start with that: '
        'what a file of this size costs once it has been read',
    )
    parser.add_argument('--workers', type=int, default=8, help='processes that read samples')
    parser.add_argument('--samples', type=int, default=200_000, help='that they read, at random')
    parser.add_argument('--folder', type=Path, help='for the files; default: the temporary folder')
    parser.add_argument('--out', type=Path, help='JSON file to write')


def add_label(parser: argparse.ArgumentParser) -> None:
    """Arguments of `label`."""
    parser.add_argument('--images', type=int, default=200, help='generated scenes')
    parser.add_argument('--side', type=int, default=128, help='of an image in pixels')
    parser.add_argument('--block', type=int, default=8, help='images in a block')
    parser.add_argument('--workers', type=int, nargs='*', default=[1, 2], help='on Ray')
    parser.add_argument(
        '--pause',
        type=float,
        metavar='SECONDS',
        help='for each image, instead of asking the packaged model: what is left is the cost of '
        'the job itself',
    )
    parser.add_argument('--out', type=Path, help='JSON file to write')
    add_curve(parser, 'workers')


def add_plot(parser: argparse.ArgumentParser) -> None:
    """Arguments of `plot`."""
    parser.add_argument('runs', type=Path, nargs='+', help='JSON files of runs with --curve')
    parser.add_argument('--out', type=Path, required=True, help='image file to write')


JOBS = {
    'forward': (
        'one image under one prompt, from pixels to detections, and the towers alone',
        add_forward,
    ),
    'vocabulary': ('a large vocabulary on one image', add_vocabulary),
    'sessions': ('many prompts on one image, one prompt on many images', add_sessions),
    'rerank': ('ITM scores of images with texts', add_rerank),
    'caption': ('captions by beam search', add_caption),
    'train-step': ('a training step, also with several texts of each image', add_train_step),
    'peers': ("one image through FIBER, mmdet's GLIP and Grounding DINO", add_peers),
    'data': ('images per second from a data pipeline', add_data),
    'search': ('the nearest of many vectors: recall, time and memory', add_search),
    'annotations': ('large annotation files, with and without their cache', add_annotations),
    'label': ('a bulk job without and with Ray', add_label),
    'plot': ('draw the curves of saved runs', add_plot),
}
