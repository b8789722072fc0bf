#!/usr/bin/env python3
"""Draw what trainings logged: losses and scores of the validation, over iterations.

    python tools/training_curves.py --out curves.png \\
        --panel "loss" scratch=work_dirs/a:loss warm=work_dirs/b:loss \\
        --panel "VQA score" "all questions=work_dirs/a+work_dirs/c:vqa/score"

A panel has a title and curves, NAME=WORK_DIR:KEY. WORK_DIR+WORK_DIR stands for steps of one
training, the second of which goes on where the first has ended. Resumed trainings are one curve.
"""

import argparse
from collections.abc import Mapping
from pathlib import Path

from command_line import check_drawing, fail, name_and_value, path_argument, quiet_imports, run_tool
from tool_parser import ToolParser


def parse_args() -> argparse.Namespace:
    """The parsed command line."""
    parser = ToolParser(__doc__)
    parser.add_argument('--out', type=path_argument, required=True, help='drawing to write')
    parser.add_argument(
        '--panel',
        nargs='+',
        action='append',
        required=True,
        metavar=('TITLE', 'NAME=WORK_DIR:KEY'),
        help='a panel of the drawing; give it once for each',
    )
    args = parser.parse_args()
    for title, *curves in args.panel:
        if not curves:
            parser.error(f'--panel {title!r} needs a title and curves, NAME=WORK_DIR:KEY')
        for curve in curves:
            try:
                _, value = name_and_value(curve)
            except argparse.ArgumentTypeError as error:
                parser.error(f'--panel {title!r}: {error}')
            if not all(value.rpartition(':')[::2]):
                parser.error(f'--panel {title!r}: {curve!r} must look like NAME=WORK_DIR:KEY')
    return args


def curve_of(value: str, logs: Mapping[str, tuple]) -> tuple[list[int], list[float]]:
    """Iterations and values of DIR+DIR:KEY.

    Raises:
        ValueError: none of the folders has logged it.
    """
    folders, _, key = value.rpartition(':')
    x: list[int] = []
    y: list[float] = []
    begin, known = 0, set()
    for folder in folders.split('+'):
        found, end = logs[folder]
        known |= set(found)
        points = sorted(found.get(key, {}).items())
        x += [begin + at for at, _ in points]
        y += [value for _, value in points]
        begin += end
    if not x:
        names = ', '.join(sorted(known - {'step', 'iter', 'epoch'}))
        raise ValueError(f'{folders} has not logged {key!r}, only {names}')
    return x, y


def main() -> int:
    """Draw, and print the last value of each curve; the exit code is 1 if a log is missing."""
    args = parse_args()
    try:
        with quiet_imports():
            check_drawing([args.out], [])
            from fiber_mmdet.visualization.training_curves import draw_curves, read_log
        given = [(title, dict(map(name_and_value, curves))) for title, *curves in args.panel]
        folders = {
            folder
            for _, curves in given
            for value in curves.values()
            for folder in value.rpartition(':')[0].split('+')
        }
        logs = {folder: read_log(Path(folder).expanduser()) for folder in sorted(folders)}
        panels = [
            (
                title,
                {
                    name: (value.rpartition(':')[2], *curve_of(value, logs))
                    for name, value in curves.items()
                },
            )
            for title, curves in given
        ]
        draw_curves(panels, args.out)
    except (OSError, ValueError) as error:
        return fail(error)
    for title, curves in panels:
        for name, (key, x, y) in curves.items():
            print(f'{title}: {name} ({key}) ends with {y[-1]:.4g} at iteration {x[-1]}')
    return 0


if __name__ == '__main__':
    run_tool(main)
