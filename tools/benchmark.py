"""Measure speed and memory against the plain way, see docs/performance.md:

    python tools/benchmark.py forward --model swin-b --out work_dirs/forward.json
    python tools/benchmark.py vocabulary --model swin-b --classes 1203
    python tools/benchmark.py sessions --prompts 100 --photos 100
    python tools/benchmark.py rerank --count 50 --k 16
    python tools/benchmark.py caption --images 4 --beams 5
    python tools/benchmark.py train-step --model swin-t --batch 2
    python tools/benchmark.py peers --size 800x1344
    python tools/benchmark.py data configs/scenes/fiber_mini_scenes.py --workers 0 2
    python tools/benchmark.py search --count 10000 100000 1000000 --dim 128
    python tools/benchmark.py label --workers 1 2
    python tools/benchmark.py annotations --kind mixed --captions 200000 1000000
    python tools/benchmark.py forward --tokens 20 60 195 --curve tokens --out work_dirs/curve.json
    python tools/benchmark.py plot work_dirs/curve.json --out work_dirs/curve.png

The plain way, a direct port of the reference, and ours run on the same random weights, and their
outputs are compared.
"""

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
from command_line import run_tool  # noqa: E402
from tool_parser import ToolParser, add_command  # noqa: E402


def main(arguments: Sequence[str] | None = None) -> dict:
    """Run a sub-command; returns its report."""
    parser = ToolParser(__doc__)
    commands = parser.add_subparsers(dest='command', required=True, metavar='JOB')
    given = sys.argv[1:] if arguments is None else arguments
    for name, (text, add_arguments) in JOBS.items():
        what = f'{text[0].upper()}{text[1:]}'
        add_arguments(add_command(commands, name, what, __doc__))
    args = parser.parse_args(given)
    with warnings.catch_warnings():
        warnings.simplefilter('ignore')
        job = importlib.import_module(f'benchmarking.jobs.{args.command.replace("-", "_")}')
        return job.main(args)


if __name__ == '__main__':
    run_tool(lambda: 0 if main()['agree'] else 1)
