"""Which runner compares which fixtures, and what came out."""

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from fiber_mmdet.checkpoints import ConversionError, detect_layout

from .coarse import CoarseRunner
from .compare import Row
from .fine import FineRunner
from .fixture import Fixture, ParityError

# Layout of the manifest -> class with `rows(wanted)`.
RUNNERS = {'fine': FineRunner, 'coarse': CoarseRunner}


@dataclass
class Report:
    """Outcome of a comparison.

    Attributes:
        rows: one per array.
    """

    rows: list[Row] = field(default_factory=list)

    @property
    def ok(self) -> bool:
        """All arrays were compared and lie within their tolerances."""
        return bool(self.rows) and all(row.ok for row in self.rows)

    def __str__(self) -> str:
        """The last line: how many arrays, and the worst error as a share of an array's std."""
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

    Returns:
        The report.

    Raises:
        ParityError: when the fixture, its manifest or the generator cannot be used.
    """
    fixture = Fixture(path, folder)
    try:
        layout, _ = detect_layout(fixture.manifest['keys'])
    except (ConversionError, KeyError) as error:
        raise ParityError(f'the manifest of {path} cannot be used: {error}') from None
    if not any(part in name for name in fixture.names):
        raise ParityError(f'no array of {path} has {part!r} in its name')
    report = Report()
    for row in RUNNERS[layout](fixture).rows(lambda name: part in name):
        report.rows.append(row)
        if show is not None:
            show(row)
    return report
