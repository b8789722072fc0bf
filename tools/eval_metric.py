#!/usr/bin/env python3
"""Score predictions that a test wrote to a file, without running the model again.

  python tools/test.py CONFIG CHECKPOINT --out predictions.pkl
  python tools/eval_metric.py CONFIG predictions.pkl
"""
import argparse
import json

from mmengine.config import Config, DictAction
from mmengine.fileio import load

import fiber_mmdet  # noqa: F401
from fiber_mmdet.evaluation.offline import score_predictions


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter,
        epilog='Reading a pickle file can run any code in it: use only files that you wrote or trust.')
    parser.add_argument('config', help='config of the test')
    parser.add_argument('predictions', help='file written by tools/test.py --out (a pickle: see below)')
    parser.add_argument('--out', help='json file for the metrics')
    parser.add_argument('--cfg-options', nargs='+', action=DictAction,
                        help='settings of the config to override, as xxx=yyy')
    return parser.parse_args()


def main() -> None:
    args = parse_args()
    cfg = Config.fromfile(args.config)
    if args.cfg_options:
        cfg.merge_from_dict(args.cfg_options)
    metrics = score_predictions(cfg, load(args.predictions))
    print(json.dumps(metrics, indent=2, default=float))
    if args.out:
        with open(args.out, 'w', encoding='utf-8') as file:
            json.dump(metrics, file, indent=2, default=float)


if __name__ == '__main__':
    main()
