"""Comparison of a fixture with our model, array by array."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from itertools import chain
from pathlib import Path

from fiber_mmdet.checkpoints import ConversionError, detect_layout

from .coarse import CoarseRunner
from .compare import Row, Table, fault_row
from .fine import FineRunner
from .fixture import Fixture, ParityError

# Layout of the manifest -> class that compares the arrays of a table.
RUNNERS: dict[str, type[FineRunner] | type[CoarseRunner]] = {
    'fine': FineRunner,
    'coarse': CoarseRunner,
}


@dataclass
class Report:
    """Outcome of a comparison.

    Attributes:
        rows: one per array.
    """

    rows: list[Row] = field(default_factory=list)

    @property
    def ok(self) -> bool:
        """Whether all arrays were compared and are within their tolerances."""
        return bool(self.rows) and all(row.ok for row in self.rows)

    def __str__(self) -> str:
        """The last line: number of arrays, and the worst error as a share of an array's std."""
        outputs = [row for row in self.rows if row.is_output]
        if not outputs:
            return f'parity: {len(self.rows)} arrays, worst relative error 0.0e+00 at none'
        worst = max(outputs, key=lambda row: (row.error != row.error, row.error))
        return (
            f'parity: {len(self.rows)} arrays, worst relative error {worst.error:.1e} '
            f'at {worst.name}'
        )


def compare_fixture(
    path: Path, folder: Path, part: str = '', show: Callable[[Row], None] | None = None
) -> Report:
    """Compare our model with a fixture.

    Args:
        path: the npz.
        folder: folder of the generator ``weights.py`` and the manifests.
        part: compare only arrays whose name contains it.
        show: called with each row as soon as it is known.

    Raises:
        ParityError: the fixture, its manifest or the generator cannot be used.
    """
    fixture = Fixture(path, folder)
    try:
        layout, _ = detect_layout(fixture.manifest['keys'])
    except (ConversionError, KeyError) as error:
        raise ParityError(f'the manifest of {path} cannot be used: {error}') from None
    if not any(part in name for name in fixture.names):
        raise ParityError(f'no array of {path} has {part!r} in its name')
    report, runner = Report(), RUNNERS[layout](fixture)
    for prefix in fixture.prefixes:
        table = Table(fixture, prefix, lambda name: part in name)
        for row in chain(runner.compare(table), unknown_rows(table)):
            report.rows.append(row)
            if show is not None:
                show(row)
    return report


def unknown_rows(table: Table) -> Iterator[Row]:
    """A failing row for each array that is left in a table."""
    for name in table.left:
        name = table.prefix + name
        yield fault_row(name, 'not compared', table.fixture[name].shape)
