"""One drawing of all that an image-text model says about an image."""

from collections.abc import Sequence

import numpy as np
from PIL import Image, ImageDraw

from .attention import attention_panels
from .canvas import GAP, fit_width, side_by_side, stack
from .cards import Claim, answer_card, caption_card
from .palette import WHITE
from .sheets import EDGE, Row, draw_sheet, in_rows, write_lines
from .writing import PLAIN, QUIET, STRONG, Line

WIDTH = 1120  # of the drawing in pixels
IMAGE = 440  # width of the image
FONT = 18
PANELS = 5  # in a row


def draw_overview(
    image: np.ndarray,
    title: str = '',
    questions: Sequence[str] = (),
    answers: Sequence[Claim] = (),
    caption: str | None = None,
    truth: Sequence[str] = (),
    marks: Sequence[tuple[int, int, bool]] | None = None,
    missing: str = '',
    text: str = '',
    phrases: Sequence[str] = (),
    looks: np.ndarray | None = None,
) -> np.ndarray:
    """Draw an image, answers and a caption beside it, and below where words look in it.

    Args:
        image: (H, W, 3) uint8 RGB.
        title: what the image is.
        questions: questions about it.
        answers: one for each question.
        caption: the model's caption; None for none.
        truth: captions by people, of which the first is shown.
        marks: see :func:`~.cards.caption_card`.
        missing: what the caption should have mentioned.
        text: the text whose words look.
        phrases: n phrases of it.
        looks: (n, h, w) float, where each phrase looks, the mean of all fused layers and heads;
            None for none.

    Returns:
        (H', W', 3) uint8 RGB on white.
    """
    lines: list[Line] = [[(title, QUIET)]] if title else []
    if questions:
        lines += [*_space(lines), _count(answers), *answer_card(image, questions, answers).lines]
    if caption is not None:
        card = caption_card(image, caption, truth, marks, missing)
        lines += [*_space(lines), [('Caption', STRONG)], *card.lines]
    inner = WIDTH - 2 * GAP
    shown = fit_width(Image.fromarray(image), IMAGE)
    ImageDraw.Draw(shown).rectangle((0, 0, shown.width - 1, shown.height - 1), outline=EDGE)
    beside = write_lines(lines, inner - IMAGE - GAP, FONT)
    parts = [Image.new('RGB', (WIDTH, 1), WHITE), side_by_side([shown, beside], GAP)]
    if looks is not None and len(phrases):
        panels = attention_panels(image, phrases, looks)
        side = (inner - (PANELS - 1) * GAP) // PANELS
        heading: list[Line] = [
            [('Where words look', STRONG), (f'   “{text}”', PLAIN)],
            [('weights over the cells, which sum to 1; mean of all fused layers and heads', QUIET)],
        ]
        rows: list[Row] = in_rows(panels, PANELS, heading)
        parts.append(Image.fromarray(draw_sheet(rows, side, inner)))
    return np.asarray(stack(parts, WIDTH, GAP)).copy()


def _space(above: Sequence[Line]) -> list[Line]:
    """An empty line below others."""
    return [[]] if above else []


def _count(answers: Sequence[Claim]) -> Line:
    """The heading of answers: how many are right, of those whose truth is known."""
    known = [answer.right for answer in answers if answer.right is not None]
    heading: Line = [('Questions', STRONG)]
    if known:
        heading = [*heading, (f'   {sum(known)} of {len(known)} right', QUIET)]
    return heading
