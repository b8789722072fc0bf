#!/usr/bin/env python3
"""Test claims of the paper on generated scenes, and print the tables of docs/claims.md:

    python tools/claims.py
    python tools/claims.py --seeds 0 1 2 3 4 --jobs 4

Stage 1 and the towers before it have to be trained, see the page. Trainings and tests run as
processes of one thread each. Started again with the same arguments, the tool goes on where it was
stopped or killed: finished trainings and measurements are not repeated, others are resumed. When
all is done, it only prints the tables.
"""

import argparse
import signal
import sys
from pathlib import Path

from command_line import fail, path_argument, quiet_imports, run_tool
from tool_parser import ToolParser


def parse_args() -> argparse.Namespace:
    """The parsed command line."""
    parser = ToolParser(__doc__)
    parser.add_argument(
        '--work-dir',
        type=path_argument,
        default=Path('work_dirs/claims'),
        help='folder of all trainings (default: %(default)s)',
    )
    parser.add_argument('--jobs', type=int, default=2, help='processes at a time')
    parser.add_argument('--seeds', type=int, nargs='+', default=[0, 1, 2], help='of the trainings')
    args = parser.parse_args()
    if args.jobs < 1:
        parser.error(f'--jobs {args.jobs}: at least one process has to run')
    args.seeds = list(dict.fromkeys(args.seeds))
    return args


def stop(number, frame) -> None:
    """End as after Ctrl-C."""
    raise KeyboardInterrupt


def main() -> int:
    """The exit code: 0, 1 after failures, 130 if it was stopped."""
    args = parse_args()
    with quiet_imports():
        from paper_claims.comparisons import Claims
    claims = Claims(args.work_dir, args.jobs, args.seeds)
    try:
        claims.check_starts()
    except OSError as error:
        return fail(error)
    before = signal.signal(signal.SIGTERM, stop)
    try:
        claims.run()
    except KeyboardInterrupt:
        print('stopped: started again, the tool goes on from here', file=sys.stderr)
        return 130
    finally:
        signal.signal(signal.SIGTERM, before)
    print(claims.tables())
    failures = claims.trainings.failures
    for failure in failures:
        print(f'failed: {failure}', file=sys.stderr)
    return int(bool(failures))


if __name__ == '__main__':
    run_tool(main)
