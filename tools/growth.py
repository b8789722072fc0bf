#!/usr/bin/env python3
"""How time and memory grow with the size of the work, see docs/scaling.md:

    python tools/growth.py measure --out outputs/growth.json
    python tools/growth.py measure --quantities images pixels --rounds 5 --out outputs/growth.json
    python tools/growth.py plot docs/scaling.json --out docs/scaling.png

`measure` runs real training steps and predictions of FIBER-mini on one thread. `plot` draws the
curves of such files, also those that other commands measured, and prints their exponents.
"""

import argparse
import shlex
import sys

from command_line import check_drawing, fail, path_argument, quiet_imports, run_tool
from tool_parser import ToolParser, add_command

QUANTITIES = ('images', 'texts', 'pixels', 'tokens')


def parse_args() -> argparse.Namespace:
    """The parsed command line."""
    parser = ToolParser(__doc__)
    commands = parser.add_subparsers(dest='command', required=True)
    part = add_command(
        commands, 'measure', 'Measure training steps and predictions of FIBER-mini.', __doc__
    )
    part.add_argument(
        '--quantities',
        nargs='+',
        choices=QUANTITIES,
        default=list(QUANTITIES),
        help='what grows',
    )
    part.add_argument('--rounds', type=int, default=3, help='runs of each; the fastest counts')
    part.add_argument('--out', type=path_argument, required=True, help='JSON file to write')
    part = add_command(commands, 'plot', 'Draw curves and print exponents.', __doc__)
    part.add_argument('files', nargs='+', type=path_argument, metavar='FILE', help='JSON files')
    part.add_argument('--out', type=path_argument, required=True, help='drawing to write')
    return parser.parse_args()


def measure(args: argparse.Namespace) -> None:
    """Measure, print and write."""
    import torch

    from fiber_mmdet.outputs import output_path, write_json
    from planning.growth import measure

    if args.rounds < 1:
        raise ValueError(f'--rounds {args.rounds} must be 1 or more')
    out = output_path(args.out)
    torch.set_num_threads(1)
    command = shlex.join(['python', 'tools/growth.py', *sys.argv[1:]])
    found = []
    for curve in measure(args.quantities, args.rounds, command):
        print(line(curve))
        found.append(curve.described())
        write_json(out, dict(torch=torch.__version__, curves=found), indent=1)


def plot(args: argparse.Namespace) -> None:
    """Draw, and print exponents."""
    import json

    from fiber_mmdet.outputs import writing
    from planning.growth import draw, read_curves

    check_drawing([args.out], args.files)
    curves = []
    for file in args.files:
        try:
            found = json.loads(file.read_text())
        except ValueError as error:
            raise ValueError(f'{file} is not JSON: {error}') from error
        curves += read_curves(found, file)
    for curve in curves:
        print(line(curve))
    with writing(args.out, args.files) as part:
        draw(curves).savefig(part, format=args.out.suffix[1:])


def line(curve) -> str:
    """A curve in a line."""
    first, last = (f'{curve.x[i]:.4g}: {curve.y[i]:.4g}' for i in (0, -1))
    return (
        f'{curve.part}, {curve.unit} by {curve.what}: {first} to {last}, x^{curve.exponent:.2f}, '
        f'at the end x^{curve.at_the_end:.2f}'
    )


def main() -> int:
    """The exit code."""
    args = parse_args()
    try:
        with quiet_imports():
            import planning.growth  # noqa: F401
        measure(args) if args.command == 'measure' else plot(args)
    except (OSError, ValueError) as error:
        return fail(error)
    return 0


if __name__ == '__main__':
    run_tool(main)
