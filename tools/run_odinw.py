#!/usr/bin/env python3
"""Train on each set of ODinW and test the best weights, for every number of shots and every seed:

    python tools/run_odinw.py configs/odinw/fiber_swin-b_4xb1-plateau_odinw.py WEIGHTS
    python tools/run_odinw.py CONFIG WEIGHTS --sets 35 --shots 1 3 5 10 --seeds 3 30 300 --gpus 4
    python tools/run_odinw.py CONFIG WEIGHTS --sets Aquarium pothole --shots 0 1

AP on the test splits is printed as a table and written to WORK_DIR/odinw.json. Started again with
the same arguments, it continues where it stopped: finished runs are not repeated, and an unfinished
training is resumed.
"""

import argparse
import json
import os
import shlex
import statistics
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from command_line import run_tool
from tool_parser import ToolParser

if TYPE_CHECKING:
    from mmengine.config import Config

TOOLS = Path(__file__).resolve().parent
METRIC = 'coco/bbox_mAP'
FEW_SHOT_SEEDS = [3, 30, 300]


@dataclass(frozen=True)
class Run:
    """One training.

    Attributes:
        name: of the set.
        shots: images per category, 0 for all.
        seed: of the training and of the choice of images.
    """

    name: str
    shots: int
    seed: int | None

    @property
    def folder(self) -> str:
        """Its folder, below the work directory."""
        images = f'{self.shots}-shot' if self.shots else 'all'
        return '/'.join([images, *[f'seed-{self.seed}'] * (self.seed is not None), self.name])

    @property
    def environment(self) -> dict[str, str]:
        """The environment variables that the config reads."""
        return dict(ODINW_SET=self.name, ODINW_SHOTS=str(self.shots), ODINW_SEED=str(self.seed))


def parse_args(config_of) -> argparse.Namespace:
    """The command line; ``config_of`` gives the file of a config and what is in it."""
    parser = ToolParser(__doc__)
    parser.add_argument('config', help='config of a training on ODinW')
    parser.add_argument('checkpoint', help='weights to start from')
    parser.add_argument('--sets', nargs='+', default=['13'], metavar='SET', help='13, 35, or names')
    parser.add_argument(
        '--shots',
        nargs='+',
        type=int,
        default=[0],
        metavar='N',
        help='images per category, 0 for all',
    )
    parser.add_argument(
        '--seeds',
        nargs='+',
        type=int,
        metavar='SEED',
        help='default: 3 30 300 for few shots; none for all images',
    )
    parser.add_argument(
        '--gpus',
        type=int,
        default=1,
        help='processes that share the batch of the recipe',
    )
    parser.add_argument(
        '--work-dir', type=Path, help='default: work_dirs/ and the name of the config'
    )
    parser.add_argument(
        '--cfg-options',
        nargs='+',
        default=[],
        metavar='KEY=VALUE',
        help='settings of the config to override, in training and testing',
    )
    args = parser.parse_args()
    try:
        args.config, cfg = config_of(args.config)
    except (OSError, ValueError) as error:
        parser.error(str(error))
    if 'odinw_set' not in cfg or 'train_dataloader' not in cfg:
        parser.error(
            f'{args.config} does not train on one set of ODinW (a zero-shot config is tested '
            'by `fiber test`): take configs/odinw/fiber_*_4xb1-plateau_odinw.py'
        )
    if not Path(args.checkpoint).is_file():
        parser.error(f'there is no checkpoint {args.checkpoint}')
    args.sets = list(
        dict.fromkeys(
            name
            for asked in args.sets
            for name in ({'13': cfg.odinw13, '35': cfg.odinw35}.get(asked, [asked]))
        )
    )
    unknown = [name for name in args.sets if name not in cfg.odinw35]
    if unknown:
        parser.error(f'no set {", ".join(unknown)} in ODinW; there are {", ".join(cfg.odinw35)}')
    if min(args.shots) < 0:
        parser.error('--shots are numbers of images, 0 for all')
    batch = cfg.auto_scale_lr.base_batch_size
    if args.gpus < 1 or batch % args.gpus:
        parser.error(f'--gpus {args.gpus} cannot share a batch of {batch}')
    args.batch = batch // args.gpus
    args.work_dir = args.work_dir or Path('work_dirs') / Path(args.config).stem
    return args


def read_config(name: str) -> tuple[str, 'Config']:
    """The file of a config, and what is in it."""
    from mmengine.config import Config

    from fiber_mmdet.weights.configs import config_file  # takes seconds

    file = str(config_file(name))
    return file, Config.fromfile(file)


def plan(args: argparse.Namespace) -> list[Run]:
    """All trainings, those of one number of shots together."""
    return [
        Run(name, shots, seed)
        for shots in dict.fromkeys(args.shots)
        for seed in dict.fromkeys(args.seeds or (FEW_SHOT_SEEDS if shots else [None]))
        for name in args.sets
    ]


def call(
    tool: str, args: argparse.Namespace, run: Run, *arguments: str, options: list[str]
) -> None:
    """Run a tool on the config as this run needs it.

    Raises:
        subprocess.CalledProcessError: it failed.
    """
    launcher = ['-m', 'torch.distributed.run', '--standalone', f'--nproc_per_node={args.gpus}']
    command = [
        sys.executable,
        *launcher * (args.gpus > 1),
        str(TOOLS / tool),
        args.config,
        *arguments,
        *['--launcher', 'pytorch'] * (args.gpus > 1),
    ]
    options = [*options, *args.cfg_options]
    command += ['--cfg-options', *options] if options else []
    print(
        ' '.join(f'{key}={value}' for key, value in run.environment.items()),
        shlex.join(command),
        flush=True,
    )
    subprocess.run(command, env={**os.environ, **run.environment}, check=True)


def read(path: Path):
    """The content of a json file.

    Raises:
        ValueError: it is damaged.
    """
    try:
        return json.loads(path.read_text(encoding='utf-8'))
    except ValueError as error:
        raise ValueError(f'{path} is damaged ({error}): remove it, and start again') from error


def train_and_test(args: argparse.Namespace, run: Run) -> dict[str, float]:
    """Metrics of a run on the test split, read from its folder if they are there.

    Raises:
        subprocess.CalledProcessError: a tool failed.
        ValueError: the folder is of another model or recipe, or a file in it is damaged.
        OSError: a file cannot be read or written.
    """
    from fiber_mmdet.outputs import write_json

    folder = args.work_dir / run.folder
    done, said = folder / 'metrics.json', folder / 'arguments.json'
    others = {
        key: value
        for key, value in os.environ.items()
        if key.startswith('ODINW_') and key not in run.environment
    }
    arguments = dict(
        config=args.config, checkpoint=args.checkpoint, options=args.cfg_options, environment=others
    )
    if said.is_file() and read(said) != arguments:
        raise ValueError(
            f'{folder} belongs to {said.read_text()}: give another --work-dir, or remove it'
        )
    if done.is_file():
        return read(done)
    folder.mkdir(parents=True, exist_ok=True)
    write_json(said, arguments)
    options = [f'train_dataloader.batch_size={args.batch}']
    if (folder / 'last_checkpoint').is_file():
        call('train.py', args, run, '--work-dir', str(folder), '--resume', options=options)
    else:
        options.append(f'load_from={args.checkpoint}')
        call('train.py', args, run, '--work-dir', str(folder), options=options)
    best = max(folder.glob('best_*.pth'), key=lambda path: path.stat().st_mtime, default=None)
    if best is None:
        raise ValueError(
            f'{folder} has no best_*.pth: the config must keep the best weights '
            '(keep_best_runtime.py)'
        )
    call('test.py', args, run, str(best), '--work-dir', str(folder / 'test'), options=[])
    logs = (folder / 'test').glob('*/*.json')
    logged = max(logs, key=lambda path: path.stat().st_mtime, default=None)
    if logged is None:
        raise ValueError(f'{folder / "test"} has no metrics, although the test did not fail')
    metrics = read(logged)
    write_json(done, metrics)
    return metrics


def summarize(found: dict[Run, float | None]) -> dict:
    """AP by shots: of each set, and averaged over the sets, with every seed and over the seeds.

    Args:
        found: AP of each run, as a fraction; None if it failed.

    Returns:
        For each number of shots, for each set and for ``average``: over the seeds ``mean`` and
        sample standard deviation ``std``, and the values ``seeds``; None where a run failed.
    """
    summary: dict = {}
    for shots in dict.fromkeys(run.shots for run in found):
        rows: dict[str, dict] = {}
        for run, ap in found.items():
            if run.shots == shots:
                rows.setdefault(run.name, {})[str(run.seed)] = ap
        rows['average'] = {
            seed: mean([row[seed] for row in rows.values()]) for seed in next(iter(rows.values()))
        }
        summary[str(shots or 'all')] = {
            name: dict(mean=mean(list(row.values())), std=deviation(list(row.values())), seeds=row)
            for name, row in rows.items()
        }
    return summary


def mean(values: list[float | None]) -> float | None:
    """Mean, or None if a value is missing."""
    return None if None in values else statistics.fmean(values)


def deviation(values: list[float | None]) -> float | None:
    """Sample standard deviation, or None if a value is missing or the only one."""
    return None if None in values or len(values) < 2 else statistics.stdev(values)


def table(summary: dict) -> list[str]:
    """Lines of a table in percent: one per set, shots in columns, the average last."""
    names = list(next(iter(summary.values())))
    cells = [['', *('all images' if shots == 'all' else f'{shots}-shot' for shots in summary)]]
    for name in names:
        cells.append([name, *(_cell(rows[name]) for rows in summary.values())])
    widths = [max(len(row[i]) for row in cells) for i in range(len(cells[0]))]
    return [
        '  '.join(
            [row[0].ljust(widths[0])]
            + [cell.rjust(width) for cell, width in zip(row[1:], widths[1:])]
        )
        for row in cells
    ]


def _cell(row: dict) -> str:
    if row['mean'] is None:
        return 'failed'
    spread = '' if row['std'] is None else f' ± {100 * row["std"]:.1f}'
    return f'{100 * row["mean"]:.1f}{spread}'


def main() -> int:
    """The exit code: 1 if a run failed, 130 after Ctrl-C."""
    args = parse_args(read_config)
    from fiber_mmdet.outputs import write_json  # takes seconds

    runs, found, failures, interrupted = plan(args), {}, [], False
    for i, run in enumerate(runs, 1):
        print(f'[{i}/{len(runs)}] {run.folder}', flush=True)
        try:
            metrics = train_and_test(args, run)
            if METRIC not in metrics:
                raise ValueError(f'the test reports no {METRIC}, only {", ".join(metrics)}')
            found[run] = metrics[METRIC]
        except (subprocess.CalledProcessError, ValueError, OSError) as error:
            found[run] = None
            failures.append(f'FAILED {run.folder}: {error}')
        except KeyboardInterrupt:
            interrupted = True
            break
    lines = []
    if found:
        out, summary = args.work_dir / 'odinw.json', summarize(found)
        lines = table(summary)
        if not interrupted:  # the file is about all runs
            try:
                found_all = dict(config=args.config, checkpoint=args.checkpoint, metric=METRIC)
                write_json(out, dict(found_all, shots=summary), indent=2)
                lines.append(f'written to {out}')
            except OSError as error:
                failures.append(f'FAILED {error}')
    if failures:
        lines += [*failures, f'{len(failures)} of {len(runs)} runs failed']
    if interrupted:
        lines.append(f'interrupted: {len(found)} of {len(runs)} runs are done and stay')
    print('\n'.join(lines))
    return 130 if interrupted else int(bool(failures))


if __name__ == '__main__':
    run_tool(main)
