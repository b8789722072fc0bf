#!/usr/bin/env python3
"""Draw what trainings logged: losses and scores of the validation, over iterations.

    python tools/training_curves.py --out curves.png \\
        --panel "loss" scratch=work_dirs/a:loss warm=work_dirs/b:loss \\
        --panel "VQA score" "all questions=work_dirs/a+work_dirs/c:vqa/score"

A panel has a title and curves, NAME=WORK_DIR:KEY. WORK_DIR+WORK_DIR stands for steps of one
training, the second of which goes on where the first has ended. Resumed trainings are one curve.
"""

import argparse
from collections.abc import Mapping, Sequence
from pathlib import Path

from command_line import check_drawing, fail, name_and_value, path_argument, quiet_imports, run_tool
from tool_parser import ToolParser

LOG = 'vis_data/scalars.json'
SPAN = 20  # of losses, from which on their axis is logarithmic


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


def read_log(folder: Path) -> tuple[dict[str, dict[int, float]], int]:
    """What a training logged, and its last iteration.

    Args:
        folder: its work directory. What its runs logged is joined: each counts from its first
            iteration on, and what an earlier one logged after that was not kept. A validation
            counts for the iteration that was logged before it, unless it says a later one.

    Returns:
        Key -> iteration -> value.

    Raises:
        FileNotFoundError: there is no log.
        ValueError: a log is damaged; the message names the line.
    """
    from fiber_mmdet.records import read_json_lines

    logs = sorted(folder.glob(f'*/{LOG}'))
    if not logs:
        raise FileNotFoundError(
            f'no {folder}/*/{LOG}: it is not the work directory of a training that has logged '
            'something'
        )
    found: dict[str, dict[int, float]] = {}
    iteration = 0
    for log in logs:
        resumed = False
        for where, line in read_json_lines(str(log)):
            step = line.get('step')
            if not isinstance(step, int):
                raise ValueError(f"{where} has no number 'step': it is no log of mmengine")
            if 'iter' not in line:
                # of a validation, whose step may be that of an epoch, or always 0
                step = max(step, iteration)
            elif not resumed:
                resumed = True
                for values in found.values():
                    for later in [at for at in values if at >= step]:
                        del values[later]
            iteration = step
            for key, value in line.items():
                if isinstance(value, (int, float)):
                    found.setdefault(key, {})[step] = float(value)
    return found, max((at for values in found.values() for at in values), default=0)


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


def draw(panels: Sequence[tuple[str, Mapping[str, tuple]]], out: Path) -> None:
    """Draw the panels side by side: title, and name -> iterations and values of each."""
    import matplotlib

    from fiber_mmdet.outputs import writing

    matplotlib.use('Agg')
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(1, len(panels), figsize=(4.6 * len(panels), 3.4), squeeze=False)
    for panel, (title, curves) in zip(axes[0], panels):
        for name, (_, x, y) in curves.items():
            panel.plot(x, y, marker='o' if len(x) < 20 else None, markersize=4, label=name)
        values = [one for _, _, y in curves.values() for one in y]
        losses = all('loss' in key for key, _, _ in curves.values())
        panel.set(xlabel='iterations', title=title)
        if losses and 0 < SPAN * min(values) < max(values):
            panel.set_yscale('log')
        else:
            panel.set_ylim(bottom=min(0, *values))
        panel.grid(alpha=0.3)
        panel.legend(fontsize='small')
    figure.tight_layout()
    with writing(out) as part:
        figure.savefig(part, dpi=110, format=out.suffix[1:])
    plt.close(figure)


def main() -> int:
    """Draw, and print the last value of each curve; the exit code is 1 if a log is missing."""
    args = parse_args()
    try:
        with quiet_imports():
            check_drawing([args.out], [])
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
        draw(panels, args.out)
    except (OSError, ValueError) as error:
        return fail(error)
    for title, curves in panels:
        for name, (key, x, y) in curves.items():
            print(f'{title}: {name} ({key}) ends with {y[-1]:.4g} at iteration {x[-1]}')
    return 0


if __name__ == '__main__':
    run_tool(main)
