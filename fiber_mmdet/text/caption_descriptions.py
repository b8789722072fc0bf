"""What language models wrote about captions: the text that DesCo's training prompts are made of.

Two kinds of files are read. Caption files in MDETR's form may have, per image, a table
``gpt3_outputs`` from each sentence of the caption to a text of three lines::

    Phrase descriptions: {"a red kite": "a kind of toy, flies in the wind"}
    Confusable object descriptions: {"balloon": "a kind of toy, filled with gas"}
    Negative captions: ["A man sells kites.", "Two men fly a kite."]

A vocabulary is an object ``{noun: [text, count]}``, the text being that of a description file.
"""

import json
import logging
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from fiber_mmdet.fields import NAME, WHOLE, Kind, check_value
from fiber_mmdet.records import read_json

from .description_files import Description, parse_generated

logger = logging.getLogger(__name__)

# of a sentence without line breaks
HEADINGS = re.compile(
    r'1\.[^{]*?descriptions:(?P<phrases>.*?)'
    r'2\.[^{]*?(?:objects|descriptions):(?P<confusable>.*?)'
    r'3\.\s*negative captions:(?P<negatives>.*)',
    re.IGNORECASE | re.DOTALL,
)
ENTRY = Kind(
    '[text, count], such as ["{\\"type\\": \\"animal\\", …}", 120]',
    lambda value: (
        isinstance(value, list)
        and len(value) == 2
        and isinstance(value[0], str)
        and WHOLE.fits(value[1])
    ),
)


@dataclass(frozen=True)
class SentenceDescriptions:
    """What was written about one sentence of a caption.

    Attributes:
        phrases: phrase of the sentence -> its description.
        confusable: thing that one of them may be confused with -> its description.
        negatives: sentences that are not true of the image.
    """

    phrases: Mapping[str, str]
    confusable: Mapping[str, str]
    negatives: tuple[str, ...]


def parse_sentence(text: str) -> SentenceDescriptions:
    """The three parts of a text, on three lines or behind numbered headings on one.

    Args:
        text: as a language model wrote it.

    Returns:
        Its parts; one that is no json of the expected form is empty.
    """
    lines = [line for line in text.splitlines() if line.strip()]
    if len(lines) >= 3:
        parts = [
            _after(lines[0], 'descriptions:'),
            _after(lines[1], 'descriptions:', 'objects:'),
            _after(lines[2], 'captions:'),
        ]
    else:
        found = HEADINGS.search(text)
        parts = list(found.groups()) if found else ['', '', '']
    phrases, confusable, negatives = map(_value, parts)
    return SentenceDescriptions(
        _texts(phrases),
        _texts(confusable),
        tuple(n for n in negatives if NAME.fits(n)) if isinstance(negatives, list) else (),
    )


def _after(line: str, *headings: str) -> str:
    """What follows the first of the headings that the line has."""
    for heading in headings:
        _, found, rest = line.partition(heading)
        if found:
            return rest
    return ''


def _value(text: str) -> Any:
    """The json value at the beginning of a text, None if there is none."""
    try:
        return json.JSONDecoder().raw_decode(text.strip())[0]
    except (ValueError, RecursionError):
        return None


def _texts(value: Any) -> dict[str, str]:
    """The entries of a table whose key and value are texts."""
    if not isinstance(value, dict):
        return {}
    return {key: text for key, text in value.items() if NAME.fits(key) and NAME.fits(text)}


def read_vocabulary(
    path: str, backend_args: dict | None = None
) -> dict[str, tuple[Description, int]]:
    """The nouns of a vocabulary with their descriptions.

    Args:
        path: local path or any address that mmengine can read.
        backend_args: of mmengine's file reading.

    Returns:
        Noun -> its description, and how often the noun occurs. Nouns whose text cannot be parsed
        are left out, and the log counts them.

    Raises:
        FileNotFoundError: the file does not exist.
        ValueError: it is not json of this form, or has no noun with a description.
    """
    shape = 'an object such as {"kite": ["{\\"type\\": \\"toy\\", …}", 120]}'
    content = read_json(path, dict, shape, backend_args)
    for noun, entry in content.items():
        check_value(entry, ENTRY, f'{path}: {noun!r}', 'text and count')
    parsed = {noun: (parse_generated(text), count) for noun, (text, count) in content.items()}
    found = {noun: (one, count) for noun, (one, count) in parsed.items() if one is not None}
    if not found:
        raise ValueError(f'{path} has no noun with a description: it must be {shape}')
    if len(found) < len(parsed):
        logger.warning(
            '%s: the text of %d of %d nouns is no object with "type" and "description": these '
            'nouns are left out',
            path,
            len(parsed) - len(found),
            len(parsed),
        )
    return found
