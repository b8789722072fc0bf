"""Cards of a contact sheet: what an image-level model says of images, and what is true."""

from collections import Counter
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from fiber_mmdet.apis.image_collection import Hit
from fiber_mmdet.apis.images import read_image

from .contact_sheet import (
    BAD,
    CHECK,
    CROSS,
    GOOD,
    NO_BREAK,
    PLAIN,
    QUIET,
    RIGHT,
    STRONG,
    WRONG,
    Card,
    Ink,
    Line,
    Row,
)


class Said(NamedTuple):
    """Something that the model says.

    Attributes:
        text: what it says.
        right: whether that is right, None if the truth is not known.
        truth: what is true.
    """

    text: str
    right: bool | None = None
    truth: str | None = None


def answer_card(image: np.ndarray, questions: Sequence[str], answers: Sequence[Said]) -> Card:
    """An image, questions about it, and the answers, the truth in brackets behind wrong ones.

    Args:
        image: (H, W, 3) uint8 RGB.
        questions: about it.
        answers: to each.
    """
    return Card(
        [image],
        [
            [(f'{question}  ', PLAIN), *_verdict_line(answer)]
            for question, answer in zip(questions, answers)
        ],
    )


def statement_card(left: np.ndarray, right: np.ndarray, statement: str, verdict: Said) -> Card:
    """Two images, a statement about them, and whether the model takes it to be true."""
    return Card([left, right], [[(statement, PLAIN)], _verdict_line(verdict)])


def caption_card(
    image: np.ndarray, caption: str, truth: Sequence[str] = (), objects: Counter | None = None
) -> Card:
    """An image and its caption.

    Args:
        image: (H, W, 3) uint8 RGB.
        caption: the model's.
        truth: captions by people, of which the first is shown.
        objects: (colour, shape) -> how many of a generated scene: marks each mention as right or
            wrong by colour, shape and number, and names what is missing. Sizes and places are
            not checked.
    """
    if objects is None:
        lines: list[Line] = [[(caption, STRONG)]]
    else:
        lines, missing = [_marked(caption, objects)], _missing(caption, objects)
        if missing:
            lines.append([(f'missing: {missing}', Ink(WRONG))])
    if truth:
        lines.append([(f'({truth[0]})', QUIET)])
    return Card([image], lines)


def hit_row(
    query: str, hits: Sequence[Hit], right: int | None = None, rank: int | None = None
) -> Row:
    """A text and the images that were found for it, the right one framed.

    Args:
        query: the text.
        hits: the images, best first; they have to be paths, PIL images or arrays.
        right: number of the right image, None if it is not known.
        rank: place of the right image among all, counted from 1, told if it is not shown.
    """
    cards = []
    for place, hit in enumerate(hits, 1):
        figures = [
            f'{name} {value:.2f}'
            for name, value in (('cosine', hit.score), ('match', hit.match))
            if value is not None
        ]
        line = [(f'{place}  ', STRONG), (', '.join(figures), QUIET)]
        cards.append(Card([read_image(hit.item)], [line], RIGHT if hit.index == right else None))
    heading = [(f'“{query}”', STRONG)]
    if rank is not None and all(hit.index != right for hit in hits):
        heading.append((f'   the right image has rank {rank}', QUIET))
    return Row(cards, [heading])


def _verdict_line(said: Said) -> Line:
    if said.right is None:
        return [(said.text, STRONG)]
    if said.right:
        return [(f'{CHECK}{NO_BREAK}{said.text}', GOOD)]
    truth = f' ({said.truth})' if said.truth else ''
    return [(f'{CROSS}{NO_BREAK}{said.text}', BAD), (truth, QUIET)]


def _marked(caption: str, objects: Counter) -> Line:
    """The caption, each mention of objects on a colour."""
    from fiber_scenes import mentioned_objects, mentions

    said = mentioned_objects(caption)
    line, end = [], 0
    for mention in mentions(caption):
        key = mention.color, mention.shape
        right = said[key] == objects[key]
        line += [
            (caption[end : mention.begin], PLAIN),
            (
                f'{caption[mention.begin : mention.end]}{NO_BREAK}{CHECK if right else CROSS}',
                Ink(fill=RIGHT if right else WRONG),
            ),
        ]
        end = mention.end
    return [*line, (caption[end:], PLAIN)]


def _missing(caption: str, objects: Counter) -> str:
    """Kinds of objects that a caption does not mention, in words."""
    from fiber_scenes.captions import Description
    from fiber_scenes.mentions import mentioned_objects

    said = mentioned_objects(caption)
    return ', '.join(
        Description(shape, color).counted(count)
        for (color, shape), count in objects.items()
        if not said[color, shape]
    )
