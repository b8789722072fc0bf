"""Sheets of small pictures with a few lines below each: what was asked, answered, and is true."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageDraw

from .caption_strip import OTHER_WORDS, StripWriter
from .palette import BLACK, RGB, WHITE, ink_on, load_font

RIGHT: RGB = (0, 158, 115)
WRONG: RGB = (213, 94, 0)
CHECK, CROSS = '✓', '✗'
NO_BREAK = '\xa0'
GAP = 12
EDGE: RGB = (222, 222, 222)


@dataclass(frozen=True)
class Ink:
    """How letters look.

    Attributes:
        color: of the letters; with ``fill``, whatever reads well on that.
        bold: the bold face.
        fill: colour behind the letters, None for the paper.
    """

    color: RGB = BLACK
    bold: bool = False
    fill: RGB | None = None


PLAIN, STRONG, QUIET = Ink(), Ink(bold=True), Ink(OTHER_WORDS)
GOOD, BAD = Ink(RIGHT, bold=True), Ink(WRONG, bold=True)

# Pieces of a line, one after the other.
Line = Sequence[tuple[str, Ink]]


@dataclass(frozen=True)
class Card:
    """A picture, or several side by side, and what is to be said of it.

    Attributes:
        images: (H, W, 3) uint8 RGB each.
        lines: below them.
        frame: colour of a frame around the images, None for none.
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


def draw_sheet(rows: Sequence[Row], side: int = 220) -> np.ndarray:
    """Draw rows of cards below each other.

    Args:
        rows: the rows.
        side: width of an image in pixels.

    Returns:
        (H, W, 3) uint8 RGB on white.

    Raises:
        ValueError: no card.
    """
    if not any(row.cards for row in rows):
        raise ValueError('there is nothing to draw')
    size = max(13, round(side * 0.062))
    cards = [[_draw_card(card, side, size) for card in row.cards] for row in rows]
    width = max(sum(card.width for card in row) + GAP * (len(row) + 1) for row in cards)
    strips = []
    for row, drawn in zip(rows, cards):
        if row.heading:
            strips.append([write_lines(row.heading, width - 2 * GAP, round(1.1 * size))])
        strips.append(drawn)
    heights = [max(part.height for part in strip) for strip in strips]
    sheet = Image.new('RGB', (width, sum(heights) + GAP * (len(strips) + 1)), WHITE)
    top = GAP
    for strip, height in zip(strips, heights):
        left = GAP
        for part in strip:
            sheet.paste(part, (left, top))
            left += part.width + GAP
        top += height + GAP
    return np.asarray(sheet).copy()


def _draw_card(card: Card, side: int, size: int) -> Image.Image:
    images = [fit_width(Image.fromarray(image), side) for image in card.images]
    gap = GAP // 3
    width = sum(image.width for image in images) + gap * (len(images) - 1)
    height = max(image.height for image in images)
    strip = write_lines(card.lines, width, size)
    drawn = Image.new('RGB', (width, height + strip.height), WHITE)
    left = 0
    for image in images:
        drawn.paste(image, (left, 0))
        left += image.width + gap
    line = max(3, side // 40) if card.frame else 1
    ImageDraw.Draw(drawn).rectangle(
        (0, 0, width - 1, height - 1), outline=card.frame or EDGE, width=line
    )
    drawn.paste(strip, (0, height))
    return drawn


def fit_width(image: Image.Image, width: int) -> Image.Image:
    """An image at another width; its proportions are kept unless it were over twice as high."""
    height = min(max(1, round(image.height * width / image.width)), 2 * width)
    return image.resize((width, height), Image.Resampling.BICUBIC)


def write_lines(lines: Sequence[Line], width: int, size: int) -> Image.Image:
    """Lines below each other, word-wrapped.

    Args:
        lines: what to write.
        width: of the strip in pixels.
        size: of the letters in pixels.

    Returns:
        An RGB image of that width; as high as the text needs, 1 pixel for no text.
    """
    writer = InkWriter(width, size, {})
    strips = []
    for line in lines:
        text = ''.join(piece for piece, _ in line)
        inks = [ink for piece, ink in line for _ in piece]
        strips.append(writer.write(text, inks, writer.wrap(text, inks)))
    strip = Image.new('RGB', (width, sum(part.height for part in strips) + 1), WHITE)
    top = 0
    for part in strips:
        strip.paste(part, (0, top))
        top += part.height
    return strip


class InkWriter(StripWriter):
    """Writes runs of characters of one :class:`Ink`, in lines that are close together.

    Lines do not break at ``NO_BREAK``.
    """

    def __init__(self, width: int, font_size: int, colors: dict) -> None:
        super().__init__(width, font_size, colors)
        self.padding = max(2, round(0.2 * font_size))
        self.leading = round(1.42 * font_size)

    def wrap(self, text, labels):
        return super().wrap(text.replace(NO_BREAK, '_'), labels)

    def _font(self, label):
        return load_font(self.font_size, bold=label.bold)

    def _room(self, label) -> float:
        return self.bleed if label.fill else 0

    def _measure(self, text, labels, begin, end) -> float:
        return sum(
            self._font(ink).getlength(piece) + 2 * self._room(ink)
            for ink, piece in self._runs(text, labels, begin, end)
        )

    def _write_run(self, draw, x, middle, label, piece) -> float:
        font, room = self._font(label), self._room(label)
        length = font.getlength(piece)
        if label.fill:
            half = 0.64 * self.font_size
            draw.rounded_rectangle(
                (
                    round(x),
                    round(middle - half),
                    round(x + length + 2 * room),
                    round(middle + half),
                ),
                radius=round(0.2 * self.font_size),
                fill=label.fill,
            )
        draw.text(
            (x + room, middle + 0.34 * self.font_size),
            piece,
            ink_on(label.fill) if label.fill else label.color,
            font,
            anchor='ls',
        )
        return x + length + 2 * room
