"""Cards of a sheet: what an image-text model says about images, and what is true."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from .palette import RGB
from .sheets import Card, Row
from .writing import NO_BREAK, PLAIN, QUIET, STRONG, Line, Style, on_color

RIGHT: RGB = (0, 158, 115)
WRONG: RGB = (213, 94, 0)
CHECK, CROSS = '✓', '✗'


class Claim(NamedTuple):
    """What a model claims, and whether that is right.

    Attributes:
        text: the claim.
        right: whether it is right; None if the truth is not known.
        truth: what is true.
    """

    text: str
    right: bool | None = None
    truth: str | None = None


class FoundImage(NamedTuple):
    """An image that was found for a text.

    Attributes:
        image: (H, W, 3) uint8 RGB.
        score: cosine of its features and those of the text; None for none.
        match: score of matching; None for none.
        right: whether it is the image that the text describes.
    """

    image: np.ndarray
    score: float | None = None
    match: float | None = None
    right: bool = False


def answer_card(image: np.ndarray, questions: Sequence[str], answers: Sequence[Claim]) -> Card:
    """An image, questions about it, and the answers, with the truth in brackets behind wrong ones.

    Args:
        image: (H, W, 3) uint8 RGB.
        questions: questions about it.
        answers: one for each question.
    """
    return Card(
        [image],
        [
            [(f'{question}  ', PLAIN), *_claim_line(answer)]
            for question, answer in zip(questions, answers)
        ],
    )


def statement_card(left: np.ndarray, right: np.ndarray, statement: str, verdict: Claim) -> Card:
    """Two (H, W, 3) uint8 RGB images, a statement about them, and what the model takes it for."""
    return Card([left, right], [[(statement, PLAIN)], _claim_line(verdict)])


def caption_card(
    image: np.ndarray,
    caption: str,
    truth: Sequence[str] = (),
    marks: Sequence[tuple[int, int, bool]] | None = None,
    missing: str = '',
) -> Card:
    """An image and its caption.

    Args:
        image: (H, W, 3) uint8 RGB.
        caption: the model's caption.
        truth: captions by people, of which the first is shown.
        marks: ascending (begin, end, right) of characters of the caption that are known to be
            right or wrong; None if nothing is known.
        missing: what the caption should have mentioned.
    """
    lines: list[Line] = [[(caption, STRONG)]]
    if marks is not None:
        lines = [_marked(caption, marks)]
        if missing:
            lines.append([(f'missing: {missing}', Style(WRONG))])
    if truth:
        lines.append([(f'({truth[0]})', QUIET)])
    return Card([image], lines)


def retrieval_row(query: str, found: Sequence[FoundImage], rank: int | None = None) -> Row:
    """A text and the images that were found for it, the right one framed.

    Args:
        query: the text.
        found: the images, best first.
        rank: place of the right image among all images, counted from 1; written if that image is
            not among those found.
    """
    cards = []
    for place, (image, score, match, right) in enumerate(found, 1):
        scores = [
            f'{name} {value:.2f}'
            for name, value in (('cosine', score), ('match', match))
            if value is not None
        ]
        line = [(f'{place}  ', STRONG), (', '.join(scores), QUIET)]
        cards.append(Card([image], [line], RIGHT if right else None))
    heading = [(f'“{query}”', STRONG)]
    if rank is not None and not any(image.right for image in found):
        heading.append((f'   the right image has rank {rank}', QUIET))
    return Row(cards, [heading])


def _claim_line(claim: Claim) -> Line:
    if claim.right is None:
        return [(claim.text, STRONG)]
    if claim.right:
        return [(f'{CHECK}{NO_BREAK}{claim.text}', Style(RIGHT, bold=True))]
    truth = f' ({claim.truth})' if claim.truth else ''
    return [(f'{CROSS}{NO_BREAK}{claim.text}', Style(WRONG, bold=True)), (truth, QUIET)]


def _marked(caption: str, marks: Sequence[tuple[int, int, bool]]) -> Line:
    """The caption, its right and wrong parts on a colour."""
    line, last = [], 0
    for begin, end, right in marks:
        part = f'{caption[begin:end]}{NO_BREAK}{CHECK if right else CROSS}'
        line += [(caption[last:begin], PLAIN), (part, on_color(RIGHT if right else WRONG))]
        last = end
    return [*line, (caption[last:], PLAIN)]
