"""The command line of tools/demo_image_text.py."""

import argparse
import sys
from pathlib import Path

from command_line import image_argument, path_argument
from tool_parser import ToolParser, add_command, add_model_options

# The first test scene of five different objects of which one was never seen in training.
SCENE = 11
# those of fiber_mmdet.apis.table_files, whose import takes seconds
FORMATS = ('csv', 'jsonl', 'parquet')


def parse_args(text: str) -> argparse.Namespace:
    """The parsed command line.

    Args:
        text: what ``--help`` says.
    """
    parser = ToolParser(text)
    commands = parser.add_subparsers(dest='command', required=True)

    def command(name: str, what: str) -> argparse.ArgumentParser:
        part = add_command(commands, name, what, text)
        add_model_options(part)
        part.add_argument(
            '--out',
            type=path_argument,
            default=Path(f'demo_{name}.jpg'),
            help='drawing to write (default: %(default)s)',
        )
        part.add_argument(
            '--json',
            type=path_argument,
            help='file for the figures; beside the drawing if not given',
        )
        part.add_argument(
            '--answers',
            help='json list of what the classes of a VQA head stand for, if neither the checkpoint '
            "nor the config's dataset has it",
        )
        return part

    about = command('overview', 'Answers, a caption and attention on one drawing.')
    about.add_argument(
        'image', nargs='?', type=image_argument, help='image; a generated scene if left out'
    )
    about.add_argument('--questions', nargs='+', default=[], help='questions about the image')
    about.add_argument(
        '--text',
        help="whose words are looked for in the attention; the model's caption if not given",
    )
    about.add_argument('--phrases', nargs='+', help='words of that text')
    about.add_argument(
        '--scene',
        type=int,
        metavar='NUMBER',
        help=f'of the test split, instead of an image (default: {SCENE})',
    )
    answer = command('answer', 'Answer questions about images.')
    answer.add_argument('image', type=image_argument, help='image or folder')
    answer.add_argument('questions', nargs='+', help='questions about each image')
    match = command('match', 'Say how probably texts and images belong together.')
    match.add_argument('image', type=image_argument, help='image or folder')
    match.add_argument('texts', nargs='+', help='about the images')
    caption = command('caption', 'Describe images.')
    caption.add_argument('images', nargs='+', type=image_argument, help='images or folders')
    judge = command('judge', 'Judge statements about two images.')
    judge.add_argument('left', type=image_argument, help='image')
    judge.add_argument('right', type=image_argument, help='image')
    judge.add_argument('statements', nargs='+', help='about both of them')
    retrieve = command('retrieve', 'Find images that a text describes.')
    retrieve.add_argument('images', nargs='?', help='folder; left out with --index')
    retrieve.add_argument('texts', nargs='+', help='a row of images is drawn for each')
    retrieve.add_argument(
        '--index',
        type=path_argument,
        metavar='DIR',
        help='search in what tools/index_images.py has encoded, instead of a folder',
    )
    retrieve.add_argument(
        '--candidates',
        type=int,
        metavar='N',
        help='how many of the nearest are matched by --rerank; 4 for each of --top if not given',
    )
    attention = command('attention', 'Show where words look.')
    attention.add_argument('image', type=image_argument, help='image')
    attention.add_argument('text', help='that describes it')
    attention.add_argument('--phrases', nargs='+', help='words of the text; each word if left out')
    attention.add_argument('--layer', type=int, help='fused layer, from 0; all if left out')
    attention.add_argument('--head', type=int, help='attention head; all if left out')
    attention.add_argument(
        '--direction',
        choices=('looks', 'reads', 'both'),
        default='looks',
        help='where words look, or what cells read (default: %(default)s)',
    )
    sheet = command(
        'sheet',
        "Predictions on random samples of the config's dataset, with the truth; of generated test "
        'scenes for the packaged model.',
    )
    sheet.add_argument(
        '--task',
        choices=('answer', 'judge', 'caption', 'retrieve'),
        help='what is predicted; what the dataset is made for if not given',
    )
    sheet.add_argument('--number', type=int, default=8, help='of samples (default: %(default)s)')
    sheet.add_argument('--seed', type=int, default=0, help='of their choice')
    sheet.add_argument(
        '--split', choices=('train', 'val', 'test'), default='test', help='of the dataset'
    )
    sheet.add_argument('--columns', type=int, default=4, help='images in a row')
    for part in (retrieve, sheet):
        part.add_argument('--top', type=int, default=5, metavar='K', help='images per text')
        part.add_argument(
            '--rerank', action='store_true', help='order by matching, not by contrast'
        )
    for part in (answer, match, caption):
        part.add_argument(
            '--format',
            choices=FORMATS,
            help='also write a table, beside the drawing (docs/results.md)',
        )
    check_form(parser, sys.argv[1:])
    args = parser.parse_args(namespace=argparse.Namespace(format=None))
    if args.command == 'retrieve':
        if args.index is not None and args.images is not None:
            args.images, args.texts = None, [args.images, *args.texts]
        elif args.index is None and args.images is None:
            parser.error('give a folder in front of the texts, or --index DIR')
        elif args.images is not None:
            args.images = path_argument(args.images)
    if args.command == 'overview' and args.scene is None:
        args.scene = SCENE
    elif args.command == 'overview' and args.image:
        parser.error('--scene is about generated scenes: give it or an image')
    return args


def check_form(parser: argparse.ArgumentParser, words: list[str]) -> None:
    """Refuse CONFIG WEIGHTS in front of the images, as earlier versions had them."""
    for before, word in zip(words, words[1:]):
        if word.endswith('.py') and len(word.split()) == 1 and not before.startswith('-'):
            parser.error(
                f'{word} is a config: give it and its checkpoint as options, behind what is asked: '
                f'{words[0]} … --config {word} --weights WEIGHTS'
            )
