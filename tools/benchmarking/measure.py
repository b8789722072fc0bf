"""Time, memory and operations of several ways to the same result, measured in one run."""

import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import torch

from .flops import count_flops, synchronize
from .memory import PeakMemory


@dataclass
class Way:
    """One way to a result, and what was measured.

    Attributes:
        name: label in the report; 'plain' is what the others are compared with.
        call: does the whole job, or ``share`` of it.
        share: the part of the job that is run; time and operations are divided by it.
        before: called before each run, outside the measurement.
        output: what the first run returned.
        rounds: seconds of each timed run of the whole job.
        extra: peak memory above the level before, in bytes.
        flops: operations of the whole job, None if not counted.
    """

    name: str
    call: Callable[[], Any]
    share: float = 1.0
    before: Callable[[], Any] | None = None
    output: Any = None
    rounds: list[float] = field(default_factory=list)
    extra: int = 0
    flops: int | None = None

    @property
    def seconds(self) -> float:
        """Median of the rounds."""
        return statistics.median(self.rounds)

    def run(self, device: torch.device) -> tuple[Any, float]:
        """The output of one run, and its seconds until the device has finished."""
        if self.before:
            self.before()
        synchronize(device)
        start = time.perf_counter()
        output = self.call()
        synchronize(device)
        return output, (time.perf_counter() - start) / self.share


@dataclass(frozen=True)
class Difference:
    """How far apart two results are.

    Attributes:
        value: largest difference, in the unit of the tolerance.
        tolerance: largest value allowed; None where a drift is expected and only reported.
        what: what is compared.
    """

    value: float
    tolerance: float | None
    what: str

    @property
    def agree(self) -> bool | None:
        """Whether the value is within the tolerance; None without one."""
        return None if self.tolerance is None else self.value <= self.tolerance


def compare(
    ways: list[Way],
    device: torch.device,
    repeats: int,
    case: dict,
    difference: Callable[[Way, Way], Difference] | None,
    peak: float | None = None,
    flops: bool = True,
) -> list[dict]:
    """Run all ways in turn, several times, and tabulate.

    Each way runs once for warm-up and its result, once for its memory, once for its operations,
    and ``repeats`` times on the clock. The ways take turns, so that other load on the machine
    affects all of them alike.

    Args:
        ways: the first is the plain one.
        device: where to compute.
        repeats: timed rounds.
        case: what was run, copied into each row.
        difference: compares the results of the first way and another; None if they need not agree.
        peak: operations per second of the machine's best matrix product.
        flops: whether to count operations.

    Returns:
        One row per way.
    """
    for way in ways:
        way.output, _ = way.run(device)
        if way.before:
            way.before()
        with PeakMemory(device) as memory:
            way.call()
        way.extra = memory.extra
        if flops:
            if way.before:
                way.before()
            way.flops = round(count_flops(way.call) / way.share)
    for _ in range(repeats):
        for way in ways:
            way.rounds.append(way.run(device)[1])
    return [row_of(way, ways[0], case, difference, peak) for way in ways]


def row_of(
    way: Way,
    plain: Way,
    case: dict,
    difference: Callable[[Way, Way], Difference] | None,
    peak: float | None,
) -> dict:
    """The measurements of a way, as a row of the report."""
    row = dict(
        case=case,
        way=way.name,
        seconds=way.seconds,
        rounds=way.rounds,
        extra_bytes=way.extra,
        flops=way.flops,
        measured_share=way.share,
        speedup=plain.seconds / way.seconds,
        memory_ratio=way.extra / plain.extra if plain.extra else None,
        flops_ratio=way.flops / plain.flops if way.flops and plain.flops else None,
        share_of_peak=(way.flops / way.seconds / peak if way.flops and peak else None),
    )
    if difference and way is not plain:
        found = difference(plain, way)
        row.update(
            difference=found.value,
            tolerance=found.tolerance,
            compared=found.what,
            agree=found.agree,
        )
    return row
