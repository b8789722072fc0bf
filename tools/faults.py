"""Put faults into real jobs and count what is lost, see docs/reliability.md:

    python tools/faults.py kill stop --tries 4
    python tools/faults.py all --out work_dirs/faults.md

The jobs are small trainings, tests and demos on generated scenes. The exit code is 1 if anything is
lost.
"""

import argparse
import importlib
import os
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

TOOLS = Path(__file__).resolve().parent
sys.path[:0] = [str(TOOLS), str(TOOLS.parent)]
os.environ.setdefault('HF_HUB_OFFLINE', '1')

from command_line import quiet_imports, run_tool  # noqa: E402
from fault_injection.results import Result, table  # noqa: E402
from fault_injection.scenarios import SCENARIOS  # noqa: E402
from tool_parser import ToolParser  # noqa: E402


def parse_args(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    """The parsed command line."""
    width = max(map(len, SCENARIOS))
    parser = ToolParser(
        __doc__,
        epilog='scenarios:\n'
        + '\n'.join(f'  {name:{width}}  {s.help}' for name, s in SCENARIOS.items()),
    )
    parser.add_argument('scenarios', nargs='+', metavar='SCENARIO', help='one or more, or all')
    parser.add_argument('--tries', type=int, help='how often; each scenario has its own default')
    parser.add_argument('--seed', type=int, default=0, help='of moments and mutations')
    parser.add_argument('--work-dir', type=Path, help='keep what is written, in this new folder')
    parser.add_argument('--out', type=Path, help='file for the table, in Markdown')
    args = parser.parse_args(arguments)
    unknown = [name for name in args.scenarios if name not in SCENARIOS and name != 'all']
    if unknown:
        parser.error(f'no scenario {unknown[0]!r}; there are {", ".join(SCENARIOS)}')
    if 'all' in args.scenarios:
        args.scenarios = list(SCENARIOS)
    if args.tries is not None and args.tries < 1:
        parser.error('--tries must be at least 1')
    return args


def main(arguments: Sequence[str] | None = None) -> list[Result]:
    """Run the scenarios; returns their results."""
    args = parse_args(arguments)
    with quiet_imports():
        import fiber_mmdet  # noqa: F401
        from fault_injection.jobs import Workshop
        from fiber_mmdet.outputs import write_text
    results = []
    with tempfile.TemporaryDirectory(prefix='faults-') as temporary:
        folder = args.work_dir or Path(temporary)
        for name in args.scenarios:
            scenario, start = SCENARIOS[name], time.monotonic()
            module = importlib.import_module(f'fault_injection.{scenario.module}')
            run = getattr(module, scenario.function)
            tries = args.tries or scenario.tries
            result = run(Workshop(folder / name), tries, args.seed)
            results.append(result)
            print(
                f'{name}: {result.survived} of {result.tries} survived, '
                f'{time.monotonic() - start:.0f} s',
                file=sys.stderr,
                flush=True,
            )
            for loss in result.losses:
                print(f'  lost: {loss}', file=sys.stderr, flush=True)
    print(table(results))
    if args.out:
        write_text(args.out, table(results) + '\n')
    return results


if __name__ == '__main__':
    run_tool(lambda: int(any(result.losses for result in main())))
