"""Words on white: word-wrapped lines in which every character has a style."""

import re
from collections.abc import Hashable, Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import NamedTuple

from PIL import Image, ImageDraw

from .palette import BLACK, GREY, RGB, WHITE, ink_on, load_font, warn_of_lacking

NO_BREAK = '\xa0'


@dataclass(frozen=True)
class Style:
    """How characters look.

    Attributes:
        color: of the letters.
        bold: whether they are bold.
        fill: background; None for the paper.
        outline: rim of the background; None for none.
        bars: colours of bars below the background.
        struck: whether they are struck out.
        group: adjacent characters of one style and group share a background.
    """

    color: RGB = BLACK
    bold: bool = False
    fill: RGB | None = None
    outline: RGB | None = None
    bars: tuple[RGB, ...] = ()
    struck: bool = False
    group: Hashable = None


PLAIN, STRONG, QUIET = Style(), Style(bold=True), Style(GREY)

# Consecutive pieces of text, each in one style.
Line = Sequence[tuple[str, Style]]


def on_color(color: RGB, bold: bool = False, group: Hashable = None) -> Style:
    """Letters on a background, black or white, whichever reads better."""
    return Style(ink_on(color), bold, color, group=group)


class Layout(NamedTuple):
    """Measures of a block of lines, in units of the font size.

    Attributes:
        margin: white space around the block.
        leading: distance from line to line.
        background: half the height of a background.
        inset: pixels by which a background ends before the next one may begin.
    """

    margin: float
    leading: float
    background: float
    inset: int = 0


WIDE = Layout(margin=0.8, leading=1.62, background=0.67)
WIDE_WITH_GAPS = WIDE._replace(inset=1)
TIGHT = Layout(margin=0.2, leading=1.42, background=0.64)


class Writer:
    """Wraps and writes lines.

    Args:
        width: of the block in pixels.
        font_size: in pixels.
        layout: distances.
    """

    def __init__(self, width: int, font_size: int, layout: Layout = WIDE) -> None:
        self.width = width
        self.font_size = font_size
        self.layout = layout
        self.margin = max(2, round(layout.margin * font_size))
        self.leading = round(layout.leading * font_size)
        self.padding = max(2, round(0.22 * font_size))  # of letters on a background

    def wrap(self, line: Line) -> list[Line]:
        """Break a line between words, not at ``NO_BREAK``.

        Args:
            line: the pieces; words of over forty characters may be cut.

        Returns:
            The lines; their pieces are runs of one style, without blanks at the ends.
        """
        text = ''.join(piece for piece, _ in line)
        styles = [style for piece, style in line for _ in piece]
        glued = text.replace(NO_BREAK, '_')
        bounds: list[tuple[int, int]] = []
        for word in re.finditer(r'\S{1,40}', glued):
            begin = bounds[-1][0] if bounds else None
            if begin is not None and self._length(_runs(glued, styles, begin, word.end())) <= (
                self.width - 2 * self.margin
            ):
                bounds[-1] = (begin, word.end())
            else:
                bounds.append(word.span())
        return [list(_runs(text, styles, *bound)) for bound in bounds]

    def write(self, lines: Sequence[Line]) -> Image.Image:
        """The block, as high as its lines need; each of them is written as it is."""
        height = 2 * self.margin + self.leading * len(lines)
        block = Image.new('RGB', (self.width, height), WHITE)
        draw = ImageDraw.Draw(block)
        for row, line in enumerate(lines):
            x, middle = float(self.margin), self.margin + self.leading * (row + 0.5)
            for piece, style in line:
                x = self._write_run(draw, x, middle, piece, style)
        return block

    def _room(self, style: Style) -> int:
        """Pixels between letters and the ends of their background."""
        return self.padding if style.fill is not None else 0

    def _length(self, line: Iterator[tuple[str, Style]]) -> float:
        return sum(
            load_font(self.font_size, style.bold).getlength(piece) + 2 * self._room(style)
            for piece, style in line
        )

    def _write_run(
        self, draw: ImageDraw.ImageDraw, x: float, middle: float, piece: str, style: Style
    ) -> float:
        """Write a run from ``x`` on around the line's ``middle``; returns where the next begins."""
        font, room = load_font(self.font_size, style.bold), self._room(style)
        length = font.getlength(piece)
        end = x + length + 2 * room
        if style.fill is not None:
            self._fill(draw, x, end, middle, style)
        # letters without descenders look centred when the x-height is
        baseline = middle + 0.34 * self.font_size
        draw.text((x + room, baseline), piece, style.color, font, anchor='ls')
        if style.struck:
            y = round(baseline - 0.27 * self.font_size)
            draw.line(
                (round(x), y, round(x + length), y), style.color, width=max(1, self.font_size // 14)
            )
        return end

    def _fill(
        self, draw: ImageDraw.ImageDraw, left: float, right: float, middle: float, style: Style
    ) -> None:
        half, inset = self.layout.background * self.font_size, self.layout.inset
        box = (
            round(left) + inset,
            round(middle - half),
            round(right) - inset,
            round(middle + half),
        )
        draw.rounded_rectangle(
            box, radius=round(0.2 * self.font_size), fill=style.fill, outline=style.outline
        )
        bar = max(2, self.font_size // 7)
        for i, color in enumerate(style.bars):
            top = box[3] + 1 + i * bar
            draw.rectangle((box[0], top, box[2], top + bar - 1), fill=color)


def _runs(text: str, styles: Sequence[Style], begin: int, end: int) -> Iterator[tuple[str, Style]]:
    """Consecutive characters of one style, blanks for those that cannot be printed."""
    for style, run in groupby(range(begin, end), key=lambda i: styles[i]):
        yield printable(''.join(text[i] for i in run)), style


def printable(text: str) -> str:
    """A text in one line, with blanks for characters that cannot be written.

    These are line breaks and other control characters, and half characters (lone surrogates). The
    log names characters that the font lacks.
    """
    text = ''.join(character if character.isprintable() else ' ' for character in text)
    warn_of_lacking(text)
    return text


def write_text(text: str, width: int, font_size: int) -> Image.Image:
    """Plain grey words, wrapped, as an RGB block of that width in pixels."""
    writer = Writer(width, font_size)
    return writer.write(writer.wrap([(text, QUIET)]))
