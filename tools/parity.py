"""Compare our models with a parity fixture, of the detector or of the image-text stage:

    python tools/parity.py ../shared/parity/fine_grained_v2.npz
    python tools/parity.py ../shared/parity/coarse_grained.npz

Rebuilds the weights and inputs of the fixture, runs our model on them and compares every recorded
array. The exit code is 1 if any is beyond its tolerance.
"""

import argparse
import contextlib
import os
import sys
import warnings
from pathlib import Path

from command_line import run_tool
from tool_parser import ToolParser

CHECKOUT = Path(__file__).resolve().parents[1]
# Set before torch is imported: idle threads sleep. On a busy machine this halves the time.
os.environ.setdefault('OMP_WAIT_POLICY', 'PASSIVE')


def parse_args() -> argparse.Namespace:
    """The parsed command line."""
    shared = Path(os.environ.get('FIBER_SHARED_DIR', CHECKOUT.parent / 'shared'))
    parser = ToolParser(__doc__)
    parser.add_argument('fixture', type=Path, help='the npz to compare with')
    parser.add_argument(
        '--parity-dir',
        type=Path,
        default=shared / 'parity',
        metavar='DIR',
        help='folder with weights.py and the manifests',
    )
    parser.add_argument(
        '--filter', default='', metavar='SUBSTR', help='compare only arrays with this in their name'
    )
    parser.add_argument(
        '--quiet', action='store_true', help='print only what fails, and the last line'
    )
    return parser.parse_args()


def main() -> int:
    """Print the table and the last line; returns the exit code."""
    args = parse_args()
    warnings.filterwarnings('ignore', message='In MMCV v1.4.4')
    with contextlib.redirect_stdout(sys.stderr):  # what mmdet prints while it is imported
        from parity_suite import ParityError, compare_fixture

    def show(row):
        if not args.quiet or not row.ok:
            print(row, flush=True)

    if not args.quiet:
        print(f'{"name":<40} {"shape":>14} {"error":>9} {"tolerance":>9}  ok')
    try:
        report = compare_fixture(args.fixture, args.parity_dir, args.filter, show)
    except ParityError as error:
        sys.exit(f'error: {error}')
    print(report)
    return 0 if report.ok else 1


if __name__ == '__main__':
    run_tool(main)
