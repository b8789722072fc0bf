#!/usr/bin/env python3
"""Count the operations of a config's model, part by part:

    python tools/get_flops.py CONFIG
    python tools/get_flops.py CONFIG --size 480x640 --tokens 50

The parts are those that are computed once per image, once per text, and once per pair. A
multiplication and an addition count as two. No weights and no data are read.
"""

import argparse

from command_line import config_of, fail, quiet_imports, run_tool
from tool_parser import ToolParser, add_data_options


def size(text: str) -> tuple[int, int]:
    """Height and width of HEIGHTxWIDTH.

    Raises:
        argparse.ArgumentTypeError: another form.
    """
    parts = text.lower().split('x')
    if len(parts) != 2 or not all(part.isdecimal() and int(part) for part in parts):
        raise argparse.ArgumentTypeError(f'{text!r} must be HEIGHTxWIDTH in pixels')
    return int(parts[0]), int(parts[1])


def parse_args() -> argparse.Namespace:
    """The parsed command line."""
    parser = ToolParser(__doc__)
    parser.add_argument('config', help='config of a detector or of an image-text model')
    parser.add_argument(
        '--size',
        type=size,
        help='HEIGHTxWIDTH of the image in pixels; by default 800x1344 for a detector, and the '
        'size that the windows are made for for an image-text model',
    )
    parser.add_argument(
        '--tokens', type=int, default=20, help='tokens of the text (default: %(default)s)'
    )
    add_data_options(parser)
    return parser.parse_args()


def run(args: argparse.Namespace) -> list[tuple[str, int, int]]:
    """Part, operations and parameters, a row each."""
    from benchmarking.parts import count_parts

    return count_parts(config_of(args).model, args.size, args.tokens)


def main() -> int:
    """Print the table; returns the exit code."""
    args = parse_args()
    try:
        with quiet_imports():
            rows = run(args)
    except (OSError, ValueError, TypeError, KeyError) as error:
        return fail(error)
    print(f'{"part":34} {"GFLOP":>10} {"parameters":>12}')
    for part, operations, parameters in rows:
        print(f'{part:34} {operations / 1e9:10.3f} {parameters:12,}')
    return 0


if __name__ == '__main__':
    run_tool(main)
