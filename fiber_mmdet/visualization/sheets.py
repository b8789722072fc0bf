"""Sheets of small images with a few lines below each."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageDraw

from .canvas import GAP, fit_width, side_by_side, stack
from .palette import RGB, WHITE
from .writing import TIGHT, Line, Writer

EDGE: RGB = (222, 222, 222)
SIDE = 220  # width of an image in pixels, if none is given


@dataclass(frozen=True)
class Card:
    """An image, or several side by side, and what there is to say about it.

    Attributes:
        images: (H, W, 3) uint8 RGB each.
        lines: below them.
        frame: colour of a frame around the images; None for none.
    """

    images: Sequence[np.ndarray]
    lines: Sequence[Line] = ()
    frame: RGB | None = None


@dataclass(frozen=True)
class Row:
    """Cards side by side, and lines above them."""

    cards: Sequence[Card]
    heading: Sequence[Line] = ()


def in_rows(cards: Sequence[Card], columns: int, heading: Sequence[Line] = ()) -> list[Row]:
    """Cards in rows of ``columns``, the heading above the first."""
    return [
        Row(cards[i : i + columns], () if i else heading) for i in range(0, len(cards), columns)
    ]


def draw_sheet(rows: Sequence[Row], side: int = SIDE, min_width: int = 0) -> np.ndarray:
    """Draw rows of cards below each other.

    Args:
        rows: the rows.
        side: width of an image in pixels.
        min_width: room for the rows in pixels, which headings fill, if the rows need less.

    Returns:
        (H, W, 3) uint8 RGB on white.

    Raises:
        ValueError: no card.
    """
    if not any(row.cards for row in rows):
        raise ValueError('there is nothing to draw')
    size = max(13, round(side * 0.062))
    drawn = [
        side_by_side([_draw_card(card, side, size) for card in row.cards], GAP) for row in rows
    ]
    width = max(min_width, *(row.width for row in drawn))
    parts = []
    for row, below in zip(rows, drawn):
        if row.heading:
            parts.append(write_lines(row.heading, width, round(1.1 * size)))
        parts.append(below)
    height = sum(part.height for part in parts) + GAP * (len(parts) + 1)
    sheet = Image.new('RGB', (width + 2 * GAP, height), WHITE)
    top = GAP
    for part in parts:
        sheet.paste(part, (GAP, top))
        top += part.height + GAP
    return np.asarray(sheet).copy()


def _draw_card(card: Card, side: int, size: int) -> Image.Image:
    images = side_by_side(
        [fit_width(Image.fromarray(image), side) for image in card.images], GAP // 3
    )
    line = max(3, side // 40) if card.frame else 1
    ImageDraw.Draw(images).rectangle(
        (0, 0, images.width - 1, images.height - 1), outline=card.frame or EDGE, width=line
    )
    return stack([images, write_lines(card.lines, images.width, size)], images.width)


def write_lines(lines: Sequence[Line], width: int, font_size: int) -> Image.Image:
    """Lines close below each other, word-wrapped.

    Args:
        lines: what to write.
        width: of the block in pixels.
        font_size: in pixels.

    Returns:
        An RGB image of that width; as high as the text needs, 1 pixel for no text.
    """
    writer = Writer(width, font_size, TIGHT)
    blocks = [writer.write(writer.wrap(line)) for line in lines]
    return stack([*blocks, Image.new('RGB', (width, 1), WHITE)], width)
