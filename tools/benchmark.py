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

from benchmarking.options import JOBS  # noqa: E402


def main(arguments: Sequence[str] | None = None) -> dict:
    """Run a sub-command; returns its report."""
    parser = argparse.ArgumentParser(
        description='Measure the plain way, a direct port of the reference, and ours in one run '
        'on the same random weights, and compare their outputs.'
    )
    commands = parser.add_subparsers(dest='command', required=True, metavar='JOB')
    given = sys.argv[1:] if arguments is None else arguments
    for name, (text, add_arguments) in JOBS.items():
        command = commands.add_parser(
            name,
            help=text,
            description=f'{text[0].upper()}{text[1:]}.',
            formatter_class=argparse.ArgumentDefaultsHelpFormatter,
        )
        add_arguments(command)
    args = parser.parse_args(given)
    with warnings.catch_warnings():
        warnings.simplefilter('ignore')
        job = importlib.import_module(f'benchmarking.jobs.{args.command.replace("-", "_")}')
        return job.main(args)


if __name__ == '__main__':
    sys.exit(0 if main()['agree'] else 1)
