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
    """One way to a result, and what was measured of it.

    Attributes:
        name: 'plain' is what the others are compared with.
        call: does the whole job, or ``share`` of it.
        share: of the job; time and operations are divided by it.
        before: called before each run, outside the measurement.
        output: what the first run returned.
        rounds: seconds of each timed run of the whole job.
        extra: bytes at the peak above the level before.
        flops: of the whole job, None if not counted.
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
        """One run and its seconds, the device waited for."""
        if self.before:
            self.before()
        synchronize(device)
        start = time.perf_counter()
        output = self.call()
        synchronize(device)
        return output, (time.perf_counter() - start) / self.share


@dataclass(frozen=True)
class Difference:
    """How far two results are apart.

    Attributes:
        value: largest difference, in the unit of the tolerance.
        tolerance: largest one allowed; None where a drift is expected and only told.
        what: what is compared.
    """

    value: float
    tolerance: float | None
    what: str

    @property
    def agree(self) -> bool | None:
        """Within tolerance; None if there is none."""
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

    Each way runs once to warm up; its result is kept. Then once for its memory, once for its
    operations, and ``repeats`` times on the clock, the ways taking turns so that what else the
    machine does meets all of them.

    Args:
        ways: the first is the plain one.
        device: where they compute.
        repeats: timed rounds.
        case: what was run, copied into each row.
        difference: of the results of the first way and another; None if they are not to agree.
        peak: operations a second of the machine's best matrix product.
        flops: count operations.

    Returns:
        One row a way.
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
    """What was measured of a way, as a row of the report."""
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
