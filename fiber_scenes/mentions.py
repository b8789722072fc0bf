"""Objects that a text about a scene mentions, and whether they are there."""

import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from .captions import NUMBERS, Description
from .world import COLORS, SHAPES, SIZES

_COUNTS = {**{word: i for i, word in enumerate(NUMBERS, 1)}, 'an': 1, 'one': 1}
_NOUNS = {Description(shape).words(count): shape for shape in SHAPES for count in (1, 2)}
_MENTION = re.compile(
    rf'\b({"|".join(_COUNTS)})\s+(?:(?:{"|".join(SIZES)})\s+)?'
    rf'({"|".join(COLORS)})\s+({"|".join(_NOUNS)})\b',
    re.IGNORECASE,
)


@dataclass(frozen=True)
class Mention:
    """Objects that a text counts, such as "two small red circles".

    Attributes:
        begin: index of its first character in the text.
        end: index after its last character.
        color: a key of ``COLORS``.
        shape: a key of ``SHAPES``.
        count: number of objects.
    """

    begin: int
    end: int
    color: str
    shape: str
    count: int


@dataclass(frozen=True)
class CaptionMarks:
    """What is right and wrong in a caption of a scene; sizes and places are not checked.

    Attributes:
        spans: begin, end (characters) and truth of each mention, in order. A mention is right
            if the caption counts as many objects of its colour and shape as there are.
        missing: kinds of objects that are there and not mentioned, in words; '' if none.
    """

    spans: tuple[tuple[int, int, bool], ...]
    missing: str

    @property
    def right(self) -> bool:
        """Whether the caption counts all objects correctly, and no others."""
        return not self.missing and all(true for *_, true in self.spans)


def mentions(text: str) -> list[Mention]:
    """All mentions of a text; whatever is not "number [size] colour shape" is skipped."""
    return [
        Mention(
            *match.span(),
            color=match[2].lower(),
            shape=_NOUNS[match[3].lower()],
            count=_COUNTS[match[1].lower()],
        )
        for match in _MENTION.finditer(text)
    ]


def mentioned_objects(text: str) -> Counter[tuple[str, str]]:
    """(colour, shape) -> number of objects that a text counts, all its mentions together."""
    found: Counter[tuple[str, str]] = Counter()
    for mention in mentions(text):
        found[mention.color, mention.shape] += mention.count
    return found


def agreed_objects(captions: Iterable[str]) -> Counter[tuple[str, str]] | None:
    """Objects that all captions of an image count; None where they disagree or there is none."""
    counted = [mentioned_objects(caption) for caption in captions]
    return counted[0] if counted and all(found == counted[0] for found in counted) else None


def mark_caption(caption: str, truth: Sequence[str]) -> CaptionMarks | None:
    """What is right and wrong in a caption, by true captions of the same image.

    Args:
        caption: the caption to be checked.
        truth: captions that each count all objects of the scene, as those of
            :func:`narrate` do.

    Returns:
        The marks; None where the truth is not known: ``truth`` counts no objects, or its
        captions disagree, as people's captions of photos do.
    """
    objects = agreed_objects(truth)
    if not objects:
        return None
    said = mentioned_objects(caption)
    return CaptionMarks(
        spans=tuple(
            (m.begin, m.end, said[m.color, m.shape] == objects[m.color, m.shape])
            for m in mentions(caption)
        ),
        missing=', '.join(
            Description(shape, color).counted(count)
            for (color, shape), count in objects.items()
            if not said[color, shape]
        ),
    )
