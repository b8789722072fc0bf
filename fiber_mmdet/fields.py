"""Fields of annotation records: declared by each reader, checked in one place.

A reader declares the fields of its records as ``{name: kind}``. :func:`check_record` raises one
``ValueError`` that says where the record stands, which field is wrong, what it contains, and what
it must be.
"""

import math
from collections.abc import Callable, Hashable, Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from .records import need

Where = str | Callable[[], str]  # a place for messages, or what writes it once it is needed
SHOWN = 80  # characters of a wrong value that are shown
MISSING = 'add it, or check that this is the right file'
LONGEST_ID = 300  # characters
LARGEST = 1e7  # pixels; beyond are numbers such as those of damaged files


@dataclass(frozen=True)
class Kind:
    """What a field may contain.

    Attributes:
        said: completes "it must be …".
        fits: whether a value is of this kind.
        hint: the end of the message, such as how to correct a value; it may depend on the value.
        optional: whether the field may be missing or null.
    """

    said: str
    fits: Callable[[Any], bool]
    hint: Callable[[Any], str] | None = None
    optional: bool = False

    def __or__(self, none: None) -> 'Kind':
        """This kind, or nothing: ``TEXT | None``."""
        return replace(self, optional=True)

    def refuse(self, where: Where, name: str, value: Any) -> ValueError:
        """The error for a value of another kind."""
        hint = self.hint(value) if self.hint else ''
        return ValueError(
            f'{written(where)} has {name} {shown(value)}: it must be {self.said}{hint}'
        )


def check_record(
    record: Any, fields: Mapping[str, Kind], where: Where, remedy: str = MISSING
) -> None:
    """Check a record against the declared fields; others are not looked at.

    Args:
        record: as read from a file.
        fields: kind of each field.
        where: the record's place in its file.
        remedy: the end of the message about a missing field.

    Raises:
        ValueError: it is not an object, lacks a field, or a field is of another kind.
    """
    if not isinstance(record, dict):
        raise ValueError(
            f'{written(where)} is {shown(record)}: it must be an object with '
            f'{", ".join(repr(name) for name, kind in fields.items() if not kind.optional)}'
        )
    for name, kind in fields.items():
        if name not in record:
            if kind.optional:
                continue
            need(
                record,
                [key for key, of_key in fields.items() if not of_key.optional],
                written(where),
                remedy,
            )
        value = record[name]
        if not kind.fits(value) and not (kind.optional and value is None):
            raise kind.refuse(where, name, value)


def check_value(value: Any, kind: Kind, where: Where, name: str) -> Any:
    """A value that stands in no object, checked.

    Returns:
        The value.

    Raises:
        ValueError: it is of another kind.
    """
    if not kind.fits(value):
        raise kind.refuse(where, name, value)
    return value


def check_table(
    rows: Iterable[Any],
    fields: Mapping[str, Kind],
    row_name: str,
    source: str,
    key: str | None = 'id',
    remedy: str = MISSING,
) -> None:
    """Check all records of a list.

    Args:
        rows: the records.
        fields: kind of each field.
        row_name: what messages call a record: "image", "annotation".
        source: the file.
        key: the field by which messages call a record that has it; None: by its number.
        remedy: the end of the message about a missing field.

    Raises:
        ValueError: see :func:`check_record`.
    """
    current: tuple[Any, int] = None, 0

    def where() -> str:
        return f'{source}: {name_of(*current, row_name, key)}'

    for number, row in enumerate(rows):
        current = row, number
        check_record(row, fields, where, remedy)


def check_distinct(
    values: Iterable[Hashable], rows_name: str, field: str, source: str, remedy: str
) -> None:
    """Check that no two records share a value that identifies them.

    Args:
        values: of all records.
        rows_name: what messages call the records: "images".
        field: what messages call the value: "id".
        source: the file.
        remedy: end of the message.

    Raises:
        ValueError: naming a value that occurs repeatedly; or some values are text and others
            numbers, so that they never match.
    """
    counts: dict[Hashable, int] = {}
    for value in values:
        counts[value] = counts.get(value, 0) + 1
    if len({isinstance(value, str) for value in counts}) > 1:
        text = next(value for value in counts if isinstance(value, str))
        number = next(value for value in counts if not isinstance(value, str))
        raise ValueError(
            f'{source}: the {field} of some {rows_name} is text ({text!r}), of others a number '
            f'({number!r}): write all alike'
        )
    for value, times in counts.items():
        if times > 1:
            raise ValueError(f'{source}: {times} {rows_name} have the {field} {value!r}: {remedy}')


def other_spelling(value: Any, known: Iterable[Any]) -> str:
    """A hint if an identifier is missing among ``known`` only because it is text, or is not."""
    if any(type(one) is not type(value) and str(one) == str(value) for one in known):
        kinds = ('text', 'numbers') if isinstance(value, str) else ('a number', 'text')
        return f' (it is {kinds[0]} here, those are {kinds[1]}: write both alike)'
    return ''


def name_of(row: Any, number: int, row_name: str, key: str | None) -> str:
    """What messages call a record: by its identifier, or by its number in the file."""
    if key is None:
        return f'{row_name} {number}'
    if isinstance(row, dict) and ID.fits(row.get(key)):
        return f'{row_name} {row[key]}'
    return f'{row_name} number {number}'


def written(where: Where) -> str:
    """A place as text."""
    return where if isinstance(where, str) else where()


def shown(value: Any) -> str:
    """A value for messages, cut if it is long; on one line."""
    text = repr(value)
    return text if len(text) <= SHOWN else f'{text[:SHOWN]}…'


# ------------------------------------------------------------------------------- kinds
def is_text(value: Any) -> bool:
    """Whether a value is a string that can be encoded (json may contain half characters)."""
    if type(value) is not str:
        return False
    if value.isascii():
        return True
    try:
        value.encode()
    except UnicodeEncodeError:
        return False
    return True


def is_number(value: Any) -> bool:
    """Whether a value is a finite number; true and false are none."""
    return type(value) is int or (type(value) is float and math.isfinite(value))


def is_whole(value: Any) -> bool:
    """Whether a value is an integer."""
    return type(value) is int


def is_size(value: Any) -> bool:
    """Whether a value is a number of pixels above 0, possibly written as text."""
    if type(value) is str:
        return value.isascii() and value.strip().isdigit() and 0 < int(value) < LARGEST
    return is_number(value) and 1 <= value < LARGEST


def is_id(value: Any) -> bool:
    """Whether a value can identify a record."""
    if type(value) is float:
        return value.is_integer()
    return type(value) is int or is_text(value) and len(value) <= LONGEST_ID


def is_box(value: Any) -> bool:
    """Whether a value is a list of four numbers of pixels."""
    return (
        isinstance(value, (list, tuple))
        and len(value) == 4
        and all(is_number(side) and -LARGEST < side < LARGEST for side in value)
    )


def is_sized_box(value: Any) -> bool:
    """Whether a value is x, y, width and height, with sizes that are not negative."""
    return is_box(value) and value[2] >= 0 and value[3] >= 0


def is_corner_box(value: Any) -> bool:
    """Whether a value is x1, y1, x2, y2."""
    return is_box(value) and value[2] >= value[0] and value[3] >= value[1]


def is_spans(value: Any) -> bool:
    """Whether a value is a list of [begin, end] pairs."""
    return isinstance(value, (list, tuple)) and all(
        isinstance(span, (list, tuple)) and len(span) == 2 and all(map(is_whole, span))
        for span in value
    )


def list_of(kind: Kind) -> Kind:
    """A list whose items are of a kind."""
    return Kind(
        f'a list, each item of which is {kind.said}',
        lambda value: isinstance(value, (list, tuple)) and all(map(kind.fits, value)),
    )


def _span_hint(value: Any) -> str:
    flat = isinstance(value, list) and len(value) == 2 and all(map(is_whole, value))
    return f', {[value]}' if flat else ', such as [[2, 12]]'


def _text_hint(value: Any) -> str:
    if isinstance(value, str):
        return ' that can be encoded (it contains half a character, "\\ud800" to "\\udfff")'
    return f', "{value}"' if is_number(value) else ''


TEXT = Kind('text', is_text, _text_hint)
NAME = Kind(
    'text with letters in it', lambda value: is_text(value) and not value.isspace() and value != ''
)
PATH = Kind(
    'the path of a file',
    lambda value: is_text(value) and value.strip() != '' and '\0' not in value,
)
ID = Kind(f'a number, or text of up to {LONGEST_ID} characters', is_id)
NUMBER = Kind('a number', is_number)
WHOLE = Kind('a whole number', is_whole)
SIZE = Kind('a number of pixels above 0', is_size)
FLAG = Kind('0 or 1', lambda value: type(value) in (bool, int) and value in (0, 1))
BOX = Kind(
    'four numbers x, y, width, height in pixels, sizes not negative. Correct or remove the '
    'annotation',
    is_sized_box,
)
CORNERS = Kind('x1, y1, x2, y2 in pixels', is_corner_box)
SPANS = Kind('a list of [begin, end] pairs', is_spans, _span_hint)
OBJECTS = Kind('a list of objects', lambda value: isinstance(value, list))  # items: check_record
OBJECT = Kind('an object', lambda value: isinstance(value, dict))
