#!/usr/bin/env python3
"""Find words in an image:

    python tools/demo.py                                        # the packaged model and scene
    python tools/demo.py photo.jpg "a man . a red car"          # names, separated by " . "
    python tools/demo.py photo.jpg "a man beside a red car"     # noun phrases of a caption
    python tools/demo.py photo.jpg "a man beside a red car" --phrases "man; red car"
    python tools/demo.py photo.jpg "zebra . okapi" --descriptions animals.json
    python tools/demo.py photos/ "a man . a red car" --out found/
    python tools/demo.py photo.jpg "a dog . a frisbee" --model desco-fiber-b     # real photos
    python tools/demo.py photo.jpg "a dog" --config my_config.py --weights my_checkpoint.pth

Draws the boxes (demo.jpg) and writes the detections (demo.json). A folder gives one drawing and
one JSON file per image; images that cannot be read are listed at the end. Nothing is written onto
an image that is searched.
"""

import argparse
import ast
import sys
from collections import Counter
from pathlib import Path

from command_line import FolderRun, fail, one_line, path_argument, quiet_imports


def parse_args() -> argparse.Namespace:
    """The parsed command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        'image',
        nargs='?',
        type=path_argument,
        help='image or folder; the packaged scene if left out',
    )
    parser.add_argument('prompt', nargs='?', help='what to look for')
    which = parser.add_mutually_exclusive_group()
    which.add_argument(
        '--model',
        metavar='NAME',
        help='a known model, downloaded and converted once (tools/weights.py list)',
    )
    which.add_argument('--config', help='config of another model than the packaged one')
    parser.add_argument(
        '--weights',
        help='its checkpoint, an address (hf://…, fiber://NAME), or "random"; if not given, the '
        'load_from of the config, or those of --model',
    )
    parser.add_argument(
        '--out',
        type=path_argument,
        help='drawing to write, demo.jpg if not given; for a '
        'folder of images a folder, outputs/demo if not given',
    )
    parser.add_argument(
        '--json',
        type=path_argument,
        help='file for the detections of a single image; beside the drawing if not given',
    )
    parser.add_argument(
        '--score-thr',
        type=float,
        default=0.5,  # fiber_mmdet.apis.SCORE_THR, whose import takes seconds
        help='least score of a detection (default: %(default)s)',
    )
    parser.add_argument(
        '--custom-entities',
        action='store_true',
        default=None,
        help='the prompt is a list of names between periods, "man. red car"',
    )
    parser.add_argument(
        '--tokens-positive',
        type=spans,
        metavar='SPANS',
        help='-1: the whole prompt describes one thing; or the characters of each '
        'phrase, such as "[[[0, 5]], [[10, 17]]]"',
    )
    parser.add_argument(
        '--phrases',
        metavar='WORDS',
        help='look for these words of the prompt only, separated by ";": "train; sidewalk"',
    )
    parser.add_argument(
        '--descriptions',
        type=path_argument,
        metavar='FILE',
        help='what the names of the prompt look like, {"zebra": ["animal", ["stripes"]]}; without '
        'a prompt, everything in the file is looked for (docs/descriptions.md)',
    )
    parser.add_argument(
        '--chunked-size',
        type=int,
        metavar='N',
        help='read N names at a time, for vocabularies too long for a prompt',
    )
    parser.add_argument('--device', help='such as cpu or cuda:0; a GPU if there is one')
    parser.add_argument('--tokenizer', help='directory or hub name of another tokenizer')
    parser.add_argument(
        '--precision',
        choices=('float32', 'bfloat16', 'float16'),
        help='faster, with slightly different boxes; docs/performance.md has figures',
    )
    parser.add_argument(
        '--compile',
        action='store_true',
        help='compile the model with torch.compile: pays off after many images of one size',
    )
    args = parser.parse_args()
    if args.image and not (args.prompt or '').strip() and not args.descriptions:
        parser.error('say what to look for: demo.py IMAGE "a red circle . a blue star"')
    if args.json and args.image and args.image.is_dir():
        parser.error('--json is for a single image; a folder writes its JSON files to --out')
    return args


def spans(text: str):
    """-1 or nested lists of numbers, from the command line."""
    try:
        return ast.literal_eval(text)
    except (SyntaxError, ValueError) as error:
        raise argparse.ArgumentTypeError(
            f'{text!r} is neither -1 nor lists such as "[[[0, 5]], [[10, 17]]]"'
        ) from error


def demo_scene() -> tuple[Path, str]:
    """The packaged image and its prompt."""
    import fiber_mmdet

    scene = Path(fiber_mmdet.__file__).parent / 'assets' / 'demo' / 'scene.png'
    return scene, scene.with_suffix('.txt').read_text(encoding='utf-8').strip()


def places(args: argparse.Namespace) -> tuple[Path, Path]:
    """Where the drawing and the detections of a single image are written.

    Raises:
        OutputError: they cannot be, or would overwrite what is read.
    """
    from fiber_mmdet.outputs import image_format, output_path, refuse_inputs

    out = args.out or Path('demo.jpg')
    image_format(out)
    detections = output_path(args.json or out.with_suffix('.json'))
    refuse_inputs(
        [out, detections],
        [args.image, args.config, args.weights, args.descriptions],
        'choose another file with --out (and --json)',
    )
    return out, detections


def search_image(find, args: argparse.Namespace, out: Path, detections: Path) -> None:
    """Search one image, write and print what was found."""
    result = find.detect(str(args.image), score_thr=args.score_thr)
    print(
        result
        if len(result)
        else f'nothing scores {args.score_thr} or more; try a lower --score-thr'
    )
    result.draw(path=out)
    print(f'wrote {out}')
    print(f'wrote {result.save_json(detections)}')


def folder_places(args: argparse.Namespace) -> dict[Path, tuple[Path, Path]]:
    """Images of the folder, and where the drawing and the detections of each are written.

    Raises:
        ImageError: the folder has no images.
        OutputError: images would be overwritten.
    """
    from fiber_mmdet.apis.inputs import list_folder
    from fiber_mmdet.outputs import distinct_names, refuse_inputs

    folder = args.image.expanduser()
    paths = list_folder(folder)
    out = (args.out or Path('outputs/demo')).expanduser()
    if out.exists() and not out.is_dir():
        raise NotADirectoryError(f'{out} is a file: --out of a folder of images is a folder')
    # a.png beside a.jpg keeps its ending, or one would overwrite the other
    found = {
        path: (out / f'{name}.jpg', out / f'{name}.json')
        for path, name in zip(paths, distinct_names(paths))
    }
    refuse_inputs(
        [place for pair in found.values() for place in pair],
        [*folder.iterdir(), args.config, args.weights, args.descriptions],
        'choose another folder with --out',
    )
    return found


def search_folder(find, args: argparse.Namespace, found: dict[Path, tuple[Path, Path]]) -> int:
    """Search a folder; returns the exit code."""
    from tqdm import tqdm

    run = FolderRun()
    for path in tqdm(run.each(list(found)), total=len(found), unit='image', disable=None):
        with run.item(path):
            result = find.detect(path, score_thr=args.score_thr)
            drawing, detections = found[path]
            result.draw(path=drawing)
            result.save_json(detections)
            names = ', '.join(f'{n} x {what}' for what, n in Counter(result.names).items())
            tqdm.write(one_line(f'{path.name}: {names or "nothing"}'))
    folder = next(iter(found.values()))[0].parent
    print(f'wrote {run.done} drawings and JSON files to {folder}/')
    return run.finish()


def main() -> int:
    """The exit code: 1 if anything could not be done, 130 after Ctrl-C."""
    args = parse_args()
    try:
        with quiet_imports():
            from fiber_mmdet.apis import FIBERInferencer
            from fiber_mmdet.weights.addresses import model_named
        if args.image is None:
            args.image, args.prompt = demo_scene()
            print(f'looking at {args.image} for: {args.prompt}')
        descriptions = args.descriptions and str(args.descriptions.expanduser())
        if descriptions and not args.prompt:
            from fiber_mmdet.text import read_descriptions

            args.prompt = list(read_descriptions(descriptions))
        is_folder = args.image.expanduser().is_dir()
        written = folder_places(args) if is_folder else places(args)
        find = FIBERInferencer(
            model_named(args.model) if args.model is not None else args.config,
            args.weights,
            args.device,
            args.tokenizer,
            precision=args.precision,
            compile=args.compile,
        )
        find.set_prompt(
            args.prompt,
            custom_entities=args.custom_entities,
            tokens_positive=args.tokens_positive,
            phrases=args.phrases,
            descriptions=descriptions,
            chunked_size=args.chunked_size,
        )
        if is_folder:
            return search_folder(find, args, written)
        search_image(find, args, *written)
        return 0
    except (OSError, ValueError) as error:
        return fail(error)


if __name__ == '__main__':
    sys.exit(main())
