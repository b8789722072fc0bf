"""What all sub-commands have in common: arguments, device, threads, peak."""

import argparse
import os
from dataclasses import dataclass
from pathlib import Path

import torch

from .flops import matrix_peak
from .report import machine, report


@dataclass
class Run:
    """A run of a sub-command.

    Attributes:
        args: the command line.
        device: where to compute.
        dtype: in which products are computed.
        peak: operations per second of this machine's best matrix product in that type.
    """

    args: argparse.Namespace
    device: torch.device
    dtype: torch.dtype
    peak: float

    def report(self, rows: list[dict], **more) -> dict:
        """Print and save the rows, see :func:`~.report.report`."""
        settings = {key: value for key, value in vars(self.args).items() if key != 'job'}
        curve = getattr(self.args, 'curve', None)
        return report(
            self.args.command,
            settings,
            machine(self.device, self.dtype, self.peak),
            rows,
            self.args.out,
            curve,
            **more,
        )


def start(args: argparse.Namespace) -> Run:
    """Set threads and seed, and measure the peak."""
    torch.manual_seed(0)
    if args.threads:
        torch.set_num_threads(args.threads)
    device = torch.device(args.device or ('cuda' if torch.cuda.is_available() else 'cpu'))
    os.environ.setdefault('HF_HUB_OFFLINE', '1')
    return Run(args, device, torch.float32, matrix_peak(device, torch.float32))


def add_common(parser: argparse.ArgumentParser) -> None:
    """Arguments of all sub-commands that run a model."""
    parser.add_argument(
        '--model',
        choices=('mini', 'swin-t', 'swin-b'),
        default='mini',
        help='FIBER-mini, FIBER-T or FIBER-B; weights are random',
    )
    parser.add_argument('--device', help='cpu or cuda:N; default: a GPU if there is one')
    parser.add_argument('--threads', type=int, help="CPU threads; default: torch's own choice")
    parser.add_argument('--repeats', type=int, default=3, help='timed rounds')
    parser.add_argument('--no-flops', action='store_true', help='do not count operations')
    parser.add_argument('--tokenizer', help="directory or hub name instead of the config's")
    parser.add_argument('--out', type=Path, help='JSON file to write')


def size(text: str) -> tuple[int, int]:
    """(height, width) from HEIGHTxWIDTH."""
    try:
        height, width = (int(part) for part in text.split('x'))
    except ValueError:
        raise argparse.ArgumentTypeError(f'{text!r} must look like 800x1344') from None
    return height, width


def add_sizes(parser: argparse.ArgumentParser) -> None:
    """Argument for the image size of a detector."""
    parser.add_argument(
        '--size',
        type=size,
        nargs='+',
        metavar='HxW',
        help="pixels of the model's input; default 800x1344, mini 192x192",
    )


def add_curve(parser: argparse.ArgumentParser, *names: str) -> None:
    """Argument that names the quantity whose values make a curve."""
    parser.add_argument(
        '--curve', choices=names, help='name of the quantity that has several values, for `plot`'
    )


def area(height: int, width: int) -> float:
    """Megapixels of an image, for curves."""
    return round(height * width / 1e6, 4)


def sampled(wanted: int | None, total: int) -> int:
    """How many of ``total`` units the plain way runs; its time is scaled up."""
    return total if wanted is None else max(1, min(wanted, total))
