"""An iteration that is really run, to compare a plan with."""

import ctypes
import time
from collections.abc import Mapping

import torch

from benchmarking.flops import count_flops
from benchmarking.memory import PeakMemory

from .batches import MadeStep
from .steps import LOW

M_MMAP_THRESHOLD, LARGE = -3, 2**16  # of glibc's mallopt; bytes


def measure(
    model: torch.nn.Module, step: MadeStep, precision: str = 'fp32'
) -> Mapping[str, float | int]:
    """Run iterations on this computer.

    Args:
        model: with values.
        step: its forward pass, with values.
        precision: 'fp32' or 'bf16'.

    Returns:
        ``flops``; ``peak``, bytes of resident memory above those before the iteration; ``seconds``,
        and ``cpu_seconds`` of all threads.
    """

    def run() -> None:
        with torch.autocast('cpu', torch.bfloat16, enabled=precision in LOW):
            losses = step.loss()
            loss = sum(value for key, value in losses.items() if key.startswith('loss'))
        assert isinstance(loss, torch.Tensor)
        loss.backward()

    without_holes()
    flops = count_flops(run)  # libraries make their buffers in this one
    model.zero_grad(set_to_none=True)
    with PeakMemory(torch.device('cpu')) as memory:
        start, cpu = time.perf_counter(), time.process_time()
        run()
        seconds, cpu = time.perf_counter() - start, time.process_time() - cpu
    model.zero_grad(set_to_none=True)
    return dict(flops=flops, peak=memory.extra, seconds=seconds, cpu_seconds=cpu)


def without_holes() -> None:
    """Give each tensor pages of its own, so that resident memory has no holes of the allocator.

    Small ones, and other C libraries than glibc, keep theirs.
    """
    try:
        ctypes.CDLL(None).mallopt(M_MMAP_THRESHOLD, LARGE)
    except (OSError, AttributeError):
        pass
