"""Measure speed and memory against the plain way, see docs/performance.md.

python tools/benchmark.py forward --model swin-b --out work_dirs/forward.json
python tools/benchmark.py plot work_dirs/forward.json --out work_dirs/forward.png
"""

import argparse
import importlib
import os
import sys
import warnings
from collections.abc import Sequence
from pathlib import Path

TOOLS = Path(__file__).resolve().parent
sys.path[:0] = [str(TOOLS), str(TOOLS.parent)]
os.environ.setdefault('HF_HUB_OFFLINE', '1')

JOBS = {
    'forward': 'one image under one prompt, and the towers alone',
    'vocabulary': 'a large vocabulary on one image',
    'sessions': 'many prompts on one image, one prompt on many images',
    'rerank': 'ITM scores of images with texts',
    'caption': 'captions by beam search',
    'train-step': 'a training step of a detector',
    'peers': "one image through FIBER, mmdet's GLIP and Grounding DINO",
    'data': 'images per second from a data pipeline',
    'plot': 'draw the curves of saved runs',
}


def main(arguments: Sequence[str] | None = None) -> dict:
    """Run a sub-command; returns its report."""
    parser = argparse.ArgumentParser(
        description='Measure the plain way, a direct port of the reference, and ours in one run '
        'on the same random weights, and compare their outputs.'
    )
    commands = parser.add_subparsers(dest='command', required=True, metavar='JOB')
    given = sys.argv[1:] if arguments is None else arguments
    for name, text in JOBS.items():
        command = commands.add_parser(
            name, help=text, formatter_class=argparse.ArgumentDefaultsHelpFormatter
        )
        if name in given[:1]:  # importing a job takes seconds
            job = importlib.import_module(f'benchmarking.jobs.{name.replace("-", "_")}')
            command.description = job.__doc__
            job.add_arguments(command)
            command.set_defaults(run=job.main)
    args = parser.parse_args(given)
    with warnings.catch_warnings():
        warnings.simplefilter('ignore')
        run = vars(args).pop('run')
        return run(args)


if __name__ == '__main__':
    sys.exit(0 if main()['agree'] else 1)
