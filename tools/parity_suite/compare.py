"""Rows of the parity table and the tolerances behind them."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from torch import Tensor

from .fixture import Fixture

# max|difference| of an array as a share of its std. The smallest real mistakes are ten times as
# large; the reference's own float32 results differ from its float64 ones by less than 7e-6,
# unless values cancel.
OUTPUTS = 3e-5
# Two float32 results cannot be expected to agree beyond the last digits of the largest
# value, which is more than the above where an array hardly varies around a large mean.
DIGITS = 2 * float(np.finfo(np.float32).eps)
# Where values cancel, float32 loses more; how much depends on the order of summation, and so on
# the processor and the number of threads. The fixtures record what the reference itself lost, its
# distance from its own float64 results. Another float32 result may be as far away on the other
# side, and further with another order (seen, with all of them: 3 times this distance between both).
CANCELLATION = 4
# Losses, norms of gradients: relative.
SCALARS = 1e-4


@dataclass
class Row:
    """One array of the fixture, compared.

    Attributes:
        name: name in the fixture, prefix included.
        shape: shape of the whole array.
        error: worst error, in the unit of the tolerance.
        tolerance: largest error allowed.
        is_output: the error is a share of the array's std (features, logits,
            boxes), by which rows can be ranked.
        note: remark for the table.
        fault: reason to fail regardless of the error, '' if none.
    """

    name: str
    shape: tuple[int, ...]
    error: float
    tolerance: float
    is_output: bool = False
    note: str = ''
    fault: str = ''

    @property
    def ok(self) -> bool:
        """Whether the error is within the tolerance (NaN is not) and there is no fault."""
        return not self.fault and self.error <= self.tolerance

    def __str__(self) -> str:
        shape = 'x'.join(map(str, self.shape)) or 'scalar'
        remark = '; '.join(text for text in (self.fault, self.note) if text)
        return (
            f'{self.name:<40} {shape:>14} {self.error:9.2e} {self.tolerance:9.2e}  '
            f'{"ok" if self.ok else "FAIL":<4} {remark}'
        ).rstrip()


def statistics(x: np.ndarray) -> np.ndarray:
    """Mean, population std and max|x| of an array, (3,) float64."""
    x = x.astype(np.float64)
    return np.array([x.mean(), x.std(), np.abs(x).max()]) if x.size else np.zeros(3)


def as_numpy(x: Tensor | np.ndarray) -> np.ndarray:
    """A tensor or array as a numpy array."""
    return x.detach().cpu().numpy() if isinstance(x, Tensor) else np.asarray(x)


def fault_row(name: str, fault: str, shape: tuple[int, ...] = ()) -> Row:
    """A row that fails without being measured."""
    return Row(name, shape, float('nan'), 0.0, fault=fault)


def scaled_row(
    fixture: Fixture,
    name: str,
    ours: Tensor | np.ndarray,
    tolerance: float = OUTPUTS,
    is_output: bool | None = None,
    rounding: float | None = None,
) -> Row:
    """max|difference| of an array as a share of its std.

    Sampled values and the statistics of the whole array are compared. An array
    without variation (a single number) is measured by its max|x|. The tolerance
    is at least :data:`DIGITS` of max|x|, and :data:`CANCELLATION` times what the reference
    lost to rounding.

    Args:
        fixture: the fixture.
        name: array in it.
        ours: our whole array.
        tolerance: largest share allowed.
        is_output: see :class:`Row`; None: unless rounding alone decides on the tolerance.
        rounding: what the reference lost, max|difference|; None: as the fixture records.
    """
    ours, theirs = as_numpy(ours), fixture[name]
    shape, step = fixture.layout(name)
    if ours.shape != tuple(shape):
        return fault_row(name, f'our shape is {ours.shape}', shape)
    stats = fixture.stats(name)
    reference = statistics(theirs) if stats is None else stats
    scale = reference[1] or reference[2] or 1.0
    gap = difference(ours.reshape(-1)[::step], theirs.reshape(-1))
    if stats is not None:
        gap = max(gap, difference(statistics(ours), stats))
    lost = fixture.rounding(name) if rounding is None else rounding
    lost *= CANCELLATION / scale
    if is_output is None:
        is_output = bool(lost <= tolerance)
    tolerance = max(tolerance, DIGITS * reference[2] / scale, lost)
    return Row(name, shape, gap / scale, tolerance, is_output)


def equal_row(fixture: Fixture, name: str, ours: Tensor | np.ndarray) -> Row:
    """Largest difference of arrays that have to be equal."""
    ours, theirs = as_numpy(ours), fixture[name]
    if ours.shape != theirs.shape:
        return fault_row(name, f'our shape is {ours.shape}', theirs.shape)
    return Row(name, theirs.shape, difference(ours, theirs), 0.0)


def relative(ours: float, theirs: float) -> float:
    """|ours - theirs| / |theirs|; the plain difference where theirs is zero."""
    return abs(ours - theirs) / (abs(theirs) or 1.0)


def any_row(
    fixture: Fixture, name: str, ours: Tensor | np.ndarray, tolerance: float | None = None
) -> Row:
    """Comparison by kind: integers must be equal, scalars are relative, others scaled.

    Args:
        fixture: the fixture.
        name: array in it.
        ours: our whole array.
        tolerance: instead of :data:`OUTPUTS` and :data:`SCALARS`.
    """
    theirs = fixture[name]
    if theirs.dtype.kind in 'iub':
        return equal_row(fixture, name, ours)
    if theirs.ndim or as_numpy(ours).ndim:
        ranks = None if tolerance is None else False
        return scaled_row(fixture, name, ours, tolerance or OUTPUTS, is_output=ranks)
    rounding = CANCELLATION * fixture.rounding(name) / (abs(float(theirs)) or 1.0)
    return Row(name, (), relative(float(ours), float(theirs)), max(tolerance or SCALARS, rounding))


def difference(ours: np.ndarray, theirs: np.ndarray) -> float:
    """max|ours - theirs| in float64; 0 for empty arrays, NaN if either contains one."""
    gap = np.abs(np.asarray(ours, np.float64) - np.asarray(theirs, np.float64))
    return float(gap.max()) if gap.size else 0.0


class Table:
    """The arrays of one set of weights that are still to be compared.

    Args:
        fixture: the fixture.
        prefix: '' or 'sharp:'.
        wanted: whether the user wants an array, by name.

    Attributes:
        left: short names (without prefix) of these arrays.
    """

    def __init__(self, fixture: Fixture, prefix: str, wanted: Callable[[str], bool]) -> None:
        others = [p for p in fixture.prefixes if p and p != prefix]
        self.fixture, self.prefix = fixture, prefix
        self.left = [
            name[len(prefix) :]
            for name in fixture.names
            if wanted(name) and name.startswith(prefix) and not name.startswith(tuple(others))
        ]

    def take(self, matches: Callable[[str], object | None]) -> list[str]:
        """Remove and return the short names (without prefix) that ``matches`` accepts."""
        found = [name for name in self.left if matches(name)]
        self.left = [name for name in self.left if name not in found]
        return found

    def needs(self, *starts: str) -> bool:
        """Whether an array with one of these beginnings is still to be compared."""
        return any(name.startswith(starts) for name in self.left)
