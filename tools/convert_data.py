#!/usr/bin/env python3
"""Convert labelled images of other tools to COCO json and back, and divide them:

    python tools/convert_data.py raccoon/ data/raccoon --split 0.8 0.1 0.1
    python tools/convert_data.py export.json data/hats --images photos/
    python tools/convert_data.py data/raccoon data/raccoon_yolo --to yolo

Reads and writes COCO json, Pascal VOC, YOLO, Label Studio JSON and CVAT for images 1.1. The format
is recognised from the files. Images are copied (or linked) into the layout of the format; what
COCO json gives is what the configs in configs/custom/ expect: annotations/train.json, train/, …
--split deals the images out at random, the same for the same seed, each name in the same
proportions to each part, and equal images into one part. An interrupted run goes on when it is
started again.
"""

import argparse

from command_line import fail, path_argument, quiet_imports, run_tool
from tool_parser import ToolParser

KINDS = ('coco', 'voc', 'yolo', 'labelstudio', 'cvat')


def parse_args() -> argparse.Namespace:
    """The parsed command line."""
    parser = ToolParser(__doc__)
    parser.add_argument(
        'source', type=path_argument, help='annotation file, or the folder of the set'
    )
    parser.add_argument('out', type=path_argument, help='folder to write, which must not exist')
    parser.add_argument(
        '--from', dest='source_format', choices=KINDS, help='format of the source (recognised)'
    )
    parser.add_argument(
        '--to',
        dest='target_format',
        choices=KINDS,
        default='coco',
        help='format to write',
    )
    parser.add_argument(
        '--images', type=path_argument, help='folder of the images (default: where sets have it)'
    )
    parser.add_argument(
        '--split',
        type=float,
        nargs='+',
        metavar='SHARE',
        help='shares of train, val and test, such as 0.8 0.1 0.1 (default: the parts of the '
        'source)',
    )
    parser.add_argument('--seed', type=int, default=0, help='of the division')
    parser.add_argument(
        '--link', action='store_true', help='make symbolic links to the images, not copies'
    )
    return parser.parse_args()


def convert(args: argparse.Namespace):
    """What became of the set."""
    from tqdm import tqdm

    from fiber_mmdet.formats.conversion import convert_data

    return convert_data(
        args.source,
        args.out,
        args.source_format,
        args.target_format,
        args.images,
        args.split,
        args.seed,
        args.link,
        lambda items, what: tqdm(items, what, disable=None, leave=False),
    )


def lines_of(table: dict[str, dict[str, int]], most: int = 20) -> list[str]:
    """A column for each part, a line for each count; of many names, the rarest are shown."""
    parts = list(table)
    rows = list(dict.fromkeys(row for counts in table.values() for row in counts))
    names = rows[3:]
    names.sort(key=lambda name: -sum(table[part][name] for part in parts))
    hidden = len(names) - most
    if hidden > 0:
        names = names[-most:]
    width = max(map(len, [*rows[:3], *names]))
    lines = [' ' * width + ''.join(f'{part:>9}' for part in parts)]
    for row in [*rows[:3], *names]:
        if hidden > 0 and names and row == names[0]:
            lines.append(f'({hidden} more frequent names)')
        lines.append(f'{row:{width}}' + ''.join(f'{table[part][row]:9}' for part in parts))
    return lines


def main() -> int:
    """The exit code: 1 if the set could not be converted."""
    args = parse_args()
    try:
        with quiet_imports():
            found = convert(args)
    except KeyboardInterrupt:
        return fail(f'interrupted; started again, the same command goes on with {args.out}')
    except (OSError, ValueError) as error:
        return fail(error)
    print(f'{args.source} ({found.source}) -> {args.out} ({found.target})')
    print('\n'.join(lines_of(found.table())))
    for note in found.notes:
        print(f'note: {note}')
    return 0


if __name__ == '__main__':
    run_tool(main)
