"""Images per second from a config's training data, by number of workers."""

import argparse
import time

from mmengine.config import Config
from mmengine.registry import DefaultScope

from fiber_mmdet.engine import BriefRunner
from fiber_mmdet.outputs import write_json
from fiber_mmdet.weights.configs import config_file

from ..report import cpu_name


def main(args: argparse.Namespace) -> dict:
    """Run the sub-command."""
    config = Config.fromfile(config_file(args.config))
    rows = []
    print(f'\ndata: {cpu_name()}, {args.config}')
    for workers in args.workers:
        loader = dict(config.train_dataloader, num_workers=workers, persistent_workers=workers > 0)
        with DefaultScope.overwrite_default_scope('mmdet'):
            batches = iter(BriefRunner.build_dataloader(loader, seed=0))
            for _ in range(2):
                next(batches)
            start, count = time.perf_counter(), 0
            for _ in range(args.batches):
                inputs = next(batches)['inputs']
                count += len(inputs if isinstance(inputs, list) else next(iter(inputs.values())))
            seconds = time.perf_counter() - start
        del batches
        rows.append(
            dict(
                case=dict(workers=workers),
                way='ours',
                seconds=seconds / count,
                photos_per_second=count / seconds,
            )
        )
        print(f'{workers} workers: {count / seconds:.1f} images per second')
    found = dict(
        job='data', settings=dict(config=args.config), rows=rows, curve=args.curve, agree=True
    )
    if args.out:
        write_json(args.out, found, [args.config], indent=1)
    return found
