"""An iteration that is really run, to compare a plan with."""

import time
from collections.abc import Callable, Mapping

import torch
from torch.profiler import ProfilerActivity, profile

from benchmarking.flops import count_flops
from benchmarking.memory import PeakMemory

from .batches import MadeStep
from .steps import LOW


def measure(
    model: torch.nn.Module, step: MadeStep, precision: str = 'fp32'
) -> Mapping[str, float | int]:
    """Run iterations on this computer.

    Args:
        model: with values.
        step: its forward pass, with values.
        precision: 'fp32' or 'bf16'.

    Returns:
        ``flops``; ``peak``, bytes that torch has allocated at the worst moment of an iteration, by
        its profiler; ``resident``, bytes of the process beyond those before the iteration, with the
        gaps that the system's allocator leaves; ``seconds``, and ``cpu_seconds`` of all threads.
    """

    def run() -> None:
        with torch.autocast('cpu', torch.bfloat16, enabled=precision in LOW):
            losses = step.loss()
            loss = sum(value for key, value in losses.items() if key.startswith('loss'))
        assert isinstance(loss, torch.Tensor)
        loss.backward()

    flops = count_flops(run)  # libraries make their buffers in this one
    model.zero_grad(set_to_none=True)
    with PeakMemory(torch.device('cpu')) as memory:
        start, cpu = time.perf_counter(), time.process_time()
        run()
        seconds, cpu = time.perf_counter() - start, time.process_time() - cpu
    model.zero_grad(set_to_none=True)
    peak = allocated_at_most(run)
    model.zero_grad(set_to_none=True)
    return dict(flops=flops, peak=peak, resident=memory.extra, seconds=seconds, cpu_seconds=cpu)


def allocated_at_most(call: Callable[[], None]) -> int:
    """Most bytes that torch allocates on the CPU during a call, above those before it."""
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as profiler:
        call()
    events = [
        (event.start_ns(), event.nbytes())
        for event in profiler.profiler.kineto_results.events()
        if event.name() == '[memory]'
    ]
    now = peak = 0
    for _, size in sorted(events, key=lambda event: event[0]):
        now += size
        peak = max(peak, now)
    return peak
