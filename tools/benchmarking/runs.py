"""What the runs of all sub-commands have in common: device, threads, peak."""

import argparse
import os
from dataclasses import dataclass

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
        settings = dict(vars(self.args))
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


def area(height: int, width: int) -> float:
    """Megapixels of an image, for curves."""
    return round(height * width / 1e6, 4)


def sampled(wanted: int | None, total: int) -> int:
    """How many of ``total`` units the plain way runs; its time is scaled up."""
    return total if wanted is None else max(1, min(wanted, total))
