#!/usr/bin/env python3
"""Encode the images of a training once, up to the first fused block, for a frozen image tower:

    python tools/cache_prefixes.py CONFIG WEIGHTS work_dirs/prefixes
    python tools/train.py CONFIG --cfg-options load_from=WEIGHTS \\
        train_dataloader.dataset.prefixes=work_dirs/prefixes

The training then reads these prefixes instead of images. WEIGHTS are those that it starts from. The
size is told before anything is written; an interrupted run goes on where it was. The config has to
freeze the tower (model.backbone.frozen_prefix=True, or model.trainable), and prepare images without
random transforms except mirroring; docs/training.md says more.
"""

import argparse
import sys

from command_line import config_of, fail, path_argument, quiet_imports, run_tool, weights_argument
from tool_parser import ToolParser, add_data_options


def parse_args() -> argparse.Namespace:
    """The parsed command line."""
    parser = ToolParser(__doc__)
    parser.add_argument('config', help='config of the training')
    parser.add_argument('weights', type=weights_argument, help='checkpoint that it starts from')
    parser.add_argument('folder', type=path_argument, help='of the cache')
    parser.add_argument('--half', action='store_true', help='float16 instead of float32')
    parser.add_argument(
        '--mirrored',
        choices=('auto', 'yes', 'no'),
        default='auto',
        help='also encode mirrored images; auto: if the config mirrors (default: %(default)s)',
    )
    parser.add_argument('--device', help='default: the GPU if there is one')
    parser.add_argument(
        '--batch-size', type=int, default=8, help='images at a time (default: %(default)s)'
    )
    parser.add_argument(
        '--workers', type=int, default=0, help='processes that read images (default: %(default)s)'
    )
    add_data_options(parser)
    return parser.parse_args()


def run(args: argparse.Namespace) -> list[str]:
    """Write the cache; returns the options with which a training reads it."""
    from fiber_mmdet.apis.prefix_caching import cache_prefixes
    from fiber_mmdet.datasets.dataset_tree import pipelined_datasets

    cfg = config_of(args)
    cache_prefixes(
        cfg,
        args.weights,
        args.folder,
        half=args.half,
        mirrored=args.mirrored,
        device=args.device,
        batch_size=max(args.batch_size, 1),
        workers=args.workers,
    )
    places = [place for _, place in pipelined_datasets(cfg, 'train')]
    return [
        f'{place.replace("[", ".").replace("]", "")}.prefixes={args.folder}' for place in places
    ]


def main() -> int:
    """The exit code: 1 if the cache could not be written, 130 after Ctrl-C."""
    args = parse_args()
    try:
        with quiet_imports():
            import fiber_mmdet.apis.prefix_caching  # noqa: F401
        options = run(args)
    except (OSError, ValueError, TypeError, KeyError, SyntaxError) as error:
        return fail(error)
    except KeyboardInterrupt:
        print('interrupted: the same command goes on with the next shard', file=sys.stderr)
        return 130
    print('to train with it, --cfg-options', ' '.join(options), f'load_from={args.weights}')
    return 0


if __name__ == '__main__':
    run_tool(main)
