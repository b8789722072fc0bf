"""The mark of a checkpoint that holds what could be borrowed from another system, and no more."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field

from .account import Conversion
from .reading import stored_mapping

MARK = 'borrowed'


@dataclass(frozen=True)
class Borrowed:
    """What ``meta['borrowed']`` of a checkpoint says.

    Attributes:
        donor: the system that the weights were trained in.
        source: name of its file.
        parts: parts of the model that were taken.
        fresh: key of the model that the file leaves as it is -> why.
    """

    donor: str
    source: str
    parts: tuple[str, ...] = ()
    fresh: Mapping[str, str] = field(default_factory=dict)

    def as_meta(self) -> dict:
        """The entry of ``meta``, of plain containers."""
        return {MARK: dict(asdict(self), parts=list(self.parts), fresh=dict(self.fresh))}

    def __str__(self) -> str:
        return f'borrowed from {self.donor} ({self.source}): {", ".join(self.parts)}'


def read_mark(checkpoint: Mapping) -> Borrowed | None:
    """The mark of a checkpoint; None if nothing in it was borrowed.

    Training does not keep the mark: what it writes is complete.

    Args:
        checkpoint: what was read.
    """
    mark = stored_mapping(checkpoint, 'meta', MARK)
    if not mark:
        return None
    return Borrowed(
        donor=str(mark.get('donor')),
        source=str(mark.get('source')),
        parts=tuple(str(part) for part in mark.get('parts') or ()),
        fresh=stored_mapping(mark, 'fresh'),
    )


def expect_fresh(found: Conversion, mark: Borrowed) -> str:
    """Move keys that the mark names from ``missing`` to ``fresh``.

    Args:
        found: borrowed weights, fitted to a model; changed in place.
        mark: that of their file.

    Returns:
        What is left that should not be, in one line: keys that the model does not have, of another
        shape, or missing without being named. '' if there is nothing.
    """
    for key in list(found.missing):
        if key in mark.fresh:
            found.missing.remove(key)
            found.fresh[key] = mark.fresh[key]
    return found.difference()
