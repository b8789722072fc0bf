"""Descriptions of categories: what they are and look like, read from files.

A description file is either a list of generated descriptions, as DesCo publishes it for LVIS and
Objects365::

    [{"object": "aerosol_can", "object_id": 1,
      "gpt3_output": "{\\"type\\": \\"container\\", \\"description\\": \\"cylindrical; …\\"}"}, …]

or an object that is easy to write::

    {"aerosol_can": ["container", ["cylindrical", "could have a nozzle"]], …}
"""

import json
import logging
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from fiber_mmdet.fields import (
    ID,
    NAME,
    TEXT,
    Kind,
    check_distinct,
    check_table,
    check_value,
    shown,
)
from fiber_mmdet.records import read_json

from .prompts import PromptError
from .spellings import folded, spellings

logger = logging.getLogger(__name__)

FORMS = (
    'a list of objects with "object" and "gpt3_output", or an object such as '
    '{"zebra": ["animal", ["black and white stripes", "four legs"]]}'
)


@dataclass(frozen=True)
class Description:
    """What a category is and looks like.

    Attributes:
        type: the kind of thing, "container".
        pieces: properties, "cylindrical".
        similar: names of things that it may be confused with.
    """

    type: str = 'object'
    pieces: tuple[str, ...] = ()
    similar: tuple[str, ...] = ()

    @property
    def kind(self) -> str:
        """The type as prompts say it."""
        return f'a kind of {self.type}'


def _is_plain(value: Any) -> bool:
    return (
        isinstance(value, (list, tuple))
        and len(value) in (2, 3)
        and NAME.fits(value[0])
        and all(isinstance(part, (list, tuple)) and all(map(NAME.fits, part)) for part in value[1:])
    )


PLAIN = Kind('[type, [pieces]], such as ["container", ["cylindrical", "with a nozzle"]]', _is_plain)
GENERATED = dict(object=NAME, object_id=ID | None, gpt3_output=TEXT)


def parse_generated(text: str) -> Description | None:
    """A description as a language model wrote it, in json.

    Args:
        text: an object with ``type``, ``description`` (pieces separated by "; ") and, possibly,
            ``similar objects``.

    Returns:
        The description; None if the text is anything else, as some are.
    """
    try:
        said = json.loads(text)
    except (ValueError, RecursionError):
        return None
    if not isinstance(said, dict):
        return None
    kind, pieces, similar = (said.get(key) for key in ('type', 'description', 'similar objects'))
    if not isinstance(kind, str) or not isinstance(pieces, str):
        return None
    if not NAME.fits(kind) or not TEXT.fits(pieces):
        return None
    similar = similar if isinstance(similar, list) else []
    return Description(
        kind,
        tuple(piece for piece in pieces.split('; ') if piece.strip()),
        tuple(name for name in similar if NAME.fits(name)),
    )


def read_descriptions(path: str, backend_args: dict | None = None) -> dict[str, Description]:
    """The descriptions of a file, in either form (see the module).

    Entries whose generated text cannot be parsed become objects without properties ("a kind of
    object"), as in DesCo; the log counts them.

    Args:
        path: local path or any address that mmengine can read.
        backend_args: of mmengine's file reading.

    Returns:
        Name, as the file spells it -> description.

    Raises:
        FileNotFoundError: the file does not exist.
        ValueError: it is not json or has neither form, or an entry is malformed or occurs twice;
            the message names it.
    """
    content = read_json(path, (dict, list), FORMS, backend_args)
    if isinstance(content, dict):
        found = plain_descriptions(content, path)
    else:
        check_table(content, GENERATED, 'entry', path, None, f'the file must be {FORMS}')
        names = [entry['object'] for entry in content]
        check_distinct(names, 'entries', 'object', path, 'keep one of them')
        parsed = {
            name: parse_generated(entry['gpt3_output']) for name, entry in zip(names, content)
        }
        failed = [name for name, one in parsed.items() if one is None]
        if failed:
            logger.warning(
                '%s: the "gpt3_output" of %d of %d entries is no object with "type" and '
                '"description" (%s): these are read as objects without properties',
                path,
                len(failed),
                len(names),
                some_names(failed),
            )
        found = {name: one or Description() for name, one in parsed.items()}
    if not found:
        raise ValueError(f'{path} has no descriptions: it must be {FORMS}')
    return found


def plain_descriptions(
    content: Mapping[str, Any], source: str = 'descriptions'
) -> dict[str, Description]:
    """Descriptions from the form that is easy to write.

    Args:
        content: name -> ``[type, [pieces]]``, or a description.
        source: what errors call it.

    Raises:
        ValueError: an entry is malformed; the message names it.
    """
    if not isinstance(content, Mapping):
        raise ValueError(f'{source}: {shown(content)} must be the path of a file, or {FORMS}')
    found = {}
    for name, value in content.items():
        check_value(name, NAME, source, 'as a name')
        if not isinstance(value, Description):
            check_value(value, PLAIN, f'{source}: {name!r}', 'description')
            kind, *lists = value
            value = Description(kind, *map(tuple, lists))
        found[name] = value
    return found


def match_names(
    names: Iterable[str], descriptions: Mapping[str, Description]
) -> dict[str, Description]:
    """The descriptions of categories.

    A name that the descriptions lack is looked up regardless of case, "_", "-" and repeated blanks
    ("Traffic Light" for "traffic_light"), unless several would fit. Brackets count:
    "bat_(animal)" does not describe "bat_(stick)".

    Args:
        names: category names.
        descriptions: name -> description.

    Returns:
        Name, as given -> description; without the names that have none.
    """
    alike = spellings(descriptions)
    found = {}
    for name in names:
        fitting = [name] if name in descriptions else alike.get(folded(name), [])
        if len(fitting) == 1:
            found[name] = descriptions[fitting[0]]
    return found


def need_descriptions(
    names: Sequence[str], descriptions: Mapping[str, Description], source: str
) -> dict[str, Description]:
    """The descriptions of categories; the log names those that have none.

    Args:
        names: category names.
        descriptions: name -> description.
        source: what messages call them.

    Returns:
        See :func:`match_names`.

    Raises:
        PromptError: none of the names has a description, or several fit one of them.
    """
    if not descriptions:
        raise PromptError(f'{source} has no descriptions: it must be {FORMS}')
    found = match_names(names, descriptions)
    lacking = [name for name in names if name not in found]
    spelled = spellings(descriptions)
    for name in lacking:
        if alike := spelled.get(folded(name)):
            raise PromptError(
                f'{source} describes {some_names(alike)}, and each of these fits {name!r}: write '
                'the name as one of them, or keep only one'
            )
    if not found:
        raise PromptError(
            f'{source} describes none of the {len(names)} names ({some_names(names)}), but '
            f'{some_names(list(descriptions))}: is it the right file?'
        )
    if lacking:
        logger.warning(
            '%s has no description of %d of %d names (%s): these are asked for by name alone',
            source,
            len(lacking),
            len(names),
            some_names(lacking),
        )
    return found


def some_names(names: Sequence[str]) -> str:
    """A few of the names, for messages."""
    return ', '.join(map(repr, names[:3])) + (', …' if len(names) > 3 else '')
