"""Measure the checkpoints of several trainings and draw the curves:

    python tools/learning_curve.py --out curve.png --iterations 250 500 \\
        --runs scratch=work_dirs/a,work_dirs/b stage-1=work_dirs/c,work_dirs/d \\
        --measures AP50=CONFIG:coco/bbox_mAP_50 R@1=CONFIG:grounding/R@1

Draws the mean of each group of trainings, which differ in their seed, with its range. Figures are
kept in a json file beside the drawing; those that are there, of the same files, are not measured
again.
"""

import argparse
import json
import sys
import tempfile
from pathlib import Path
from pickle import UnpicklingError

from command_line import check_drawing, name_and_value, path_argument, run_tool
from tool_parser import ToolParser


def parse_args() -> argparse.Namespace:
    """The parsed command line."""
    parser = ToolParser(__doc__)
    parser.add_argument(
        '--runs',
        nargs='+',
        required=True,
        type=name_and_value,
        metavar='NAME=DIR,DIR',
        help='groups of work directories',
    )
    parser.add_argument(
        '--iterations',
        nargs='+',
        required=True,
        type=int,
        metavar='N',
        help='which checkpoints iter_N.pth to measure',
    )
    parser.add_argument(
        '--measures',
        nargs='+',
        required=True,
        type=name_and_value,
        metavar='NAME=CONFIG:METRIC',
        help='what to measure',
    )
    parser.add_argument('--out', type=path_argument, required=True, help='drawing to write')
    return parser.parse_args()


def make_runner(file: str, work_dir: str):
    """A runner that only tests."""
    from mmengine.config import Config
    from mmengine.runner import Runner

    from fiber_mmdet.engine.data_workers import without_workers
    from fiber_mmdet.engine.launch import read_checkpoints_safely
    from fiber_mmdet.weights.configs import config_file

    read_checkpoints_safely()
    config = Config.fromfile(config_file(file))
    for split in ('train', 'val'):
        for part in ('dataloader', 'cfg', 'evaluator'):
            config.pop(f'{split}_{part}', None)
    for key in ('optim_wrapper', 'param_scheduler', 'custom_hooks'):
        config.pop(key, None)
    config.merge_from_dict(
        dict(
            work_dir=work_dir, log_level='WARNING', load_from=None, experiment_name=Path(file).stem
        )
    )
    config.merge_from_dict(without_workers(config))
    return Runner.from_cfg(config)


def measure(runner, checkpoint: Path, metric: str) -> float:
    """One metric of one checkpoint."""
    try:
        runner.load_checkpoint(str(checkpoint), map_location='cpu')
    except (OSError, ValueError, UnpicklingError) as error:
        sys.exit(f'error: {error}')
    found = runner.test()
    if metric not in found:
        sys.exit(f'error: the test reports no {metric!r}, only {", ".join(found)}')
    return float(found[metric])


def key_of(config_metric: str, run: str, iteration: int) -> str:
    """Key of a figure in the store: the measure, the run and the iteration."""
    return f'{config_metric} {run} {iteration}'


def read_figures(store: Path) -> dict[str, dict]:
    """The figures of a store; none if it is not there."""
    if not store.is_file():
        return {}
    try:
        figures = json.loads(store.read_text(encoding='utf-8'))
        if all({'value', 'written'} <= set(figure) for figure in figures.values()):
            return figures
    except (ValueError, AttributeError, TypeError):
        pass
    sys.exit(f'error: {store} holds no figures of this tool: remove it, or choose another --out')


def fill(store: Path, value: str, runs: list[str], iterations: list[int]) -> dict[str, dict]:
    """Measure what is missing in the store, or older than its checkpoint; returns all figures."""
    from fiber_mmdet.outputs import write_json

    figures = read_figures(store)
    config, _, metric = value.rpartition(':')
    runner = None
    for run in runs:
        for iteration in iterations:
            checkpoint, key = Path(run) / f'iter_{iteration}.pth', key_of(value, run, iteration)
            written = checkpoint.stat().st_mtime_ns if checkpoint.is_file() else None
            if key in figures and written in (None, figures[key]['written']):
                continue
            if written is None:
                sys.exit(f'error: no {checkpoint}: train first, or leave {iteration} out')
            runner = runner or make_runner(config, tempfile.mkdtemp())
            found = measure(runner, checkpoint, metric)
            figures[key] = dict(value=found, written=written)
            write_json(store, figures, indent=1)
            print(f'{key}: {found:.4f}', flush=True)
    return figures


def draw(tables: dict[str, dict[str, list[list[float]]]], iterations: list[int], out: Path) -> None:
    """Draw one panel per measure: means as lines, the range over runs as a band."""
    import matplotlib

    from fiber_mmdet.outputs import writing

    matplotlib.use('Agg')
    import matplotlib.pyplot as plt

    figure, panels = plt.subplots(1, len(tables), figsize=(4.6 * len(tables), 3.4), squeeze=False)
    for panel, (name, groups) in zip(panels[0], tables.items()):
        for group, rows in groups.items():
            (line,) = panel.plot(
                iterations,
                [sum(row) / len(row) for row in rows],
                marker='o',
                label=f'{group} ({len(rows[0])} seeds)',
            )
            panel.fill_between(
                iterations,
                [min(row) for row in rows],
                [max(row) for row in rows],
                color=line.get_color(),
                alpha=0.2,
            )
        panel.set(xlabel='iterations', title=name)
        panel.set_ylim(bottom=0)
        panel.grid(alpha=0.3)
        panel.legend()
    figure.tight_layout()
    with writing(out) as part:
        figure.savefig(part, dpi=110, format=out.suffix[1:])


def main() -> None:
    """Measure what is missing, draw, and print a table."""
    args = parse_args()
    groups = {name: value.split(',') for name, value in args.runs}
    try:
        check_drawing(
            [args.out, args.out.with_suffix('.json')],
            [value.rpartition(':')[0] for _, value in args.measures],
        )
    except ValueError as error:
        sys.exit(f'error: {error}')
    tables = {}  # measure -> group -> a row for each iteration, of all runs
    for name, value in args.measures:
        figures = fill(
            args.out.with_suffix('.json'), value, sum(groups.values(), []), args.iterations
        )
        tables[name] = {
            group: [
                [figures[key_of(value, run, i)]['value'] for run in runs] for i in args.iterations
            ]
            for group, runs in groups.items()
        }
    draw(tables, args.iterations, args.out)
    for name, table in tables.items():
        for group, rows in table.items():
            for iteration, row in zip(args.iterations, rows):
                print(
                    f'{name:8} {group:12} {iteration:6} mean {sum(row) / len(row):.3f}  '
                    + ' '.join(f'{value:.3f}' for value in row)
                )


if __name__ == '__main__':
    run_tool(main)
