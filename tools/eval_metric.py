#!/usr/bin/env python3
"""Score predictions that a test wrote to a file, without running the model again:

    python tools/test.py CONFIG CHECKPOINT --out predictions.pkl
    python tools/eval_metric.py CONFIG predictions.pkl

Reading a pickle can run any code in it: use only files that you wrote or trust.
"""

import argparse
import json
import sys
from pickle import UnpicklingError

from mmengine.config import Config, DictAction
from mmengine.fileio import load

from command_line import run_tool
from tool_parser import ToolParser


def parse_args() -> argparse.Namespace:
    parser = ToolParser(__doc__)
    parser.add_argument('config', help='config of the test')
    parser.add_argument(
        'predictions', help='file written by tools/test.py --out (a pickle: see above)'
    )
    parser.add_argument('--out', help='json file for the metrics')
    parser.add_argument(
        '--cfg-options',
        nargs='+',
        action=DictAction,
        metavar='KEY=VALUE',
        help='settings of the config to override',
    )
    return parser.parse_args()


def read_predictions(path: str) -> list:
    """The content of a file that a test wrote.

    Raises:
        ValueError: it is not a pickle.
    """
    try:
        return load(path, file_format='pkl')
    except (UnpicklingError, EOFError, ValueError, KeyError, IndexError) as error:
        raise ValueError(
            f'{path} is not a pickle ({error}): give a file that `fiber test --out` wrote'
        ) from error


def main() -> None:
    args = parse_args()
    from fiber_mmdet.datasets.dataset_tree import files_of
    from fiber_mmdet.evaluation.offline import score_predictions
    from fiber_mmdet.inspection.data_sources import merge_options
    from fiber_mmdet.outputs import output_path, refuse_inputs, write_json
    from fiber_mmdet.weights.configs import config_file

    try:
        if args.out:
            refuse_inputs([output_path(args.out)], [args.config, args.predictions])
        cfg = Config.fromfile(config_file(args.config))
        merge_options(cfg, args.cfg_options)
        if args.out:
            refuse_inputs([args.out], files_of(cfg))
        metrics = score_predictions(cfg, read_predictions(args.predictions))
        if args.out:
            write_json(args.out, metrics, indent=2, default=float)
    except (OSError, ValueError) as error:
        sys.exit(f'error: {error}')
    print(json.dumps(metrics, indent=2, default=float))


if __name__ == '__main__':
    run_tool(main)
