"""The strip under a picture: the caption as the model read it, its phrases in their colours."""

import re
from collections.abc import Mapping, Sequence
from itertools import groupby

from PIL import Image, ImageDraw

from .palette import RGB, WHITE, ink_on, load_font

OTHER_WORDS: RGB = (105, 105, 105)
NOT_FOUND: RGB = (165, 165, 165)
MAX_LINES = 6
MAX_PHRASES = 24

# What is written: a text and, for every character, the label it belongs to (None: no phrase).
Marked = tuple[str, list[int | None]]


def draw_strip(
    caption: str,
    phrases: Sequence[str],
    spans: Sequence[Sequence[tuple[int, int]]],
    counts: Mapping[int, int],
    colors: Mapping[int, RGB],
    width: int,
    font_size: int,
) -> Image.Image:
    """Write a caption, word-wrapped, on white.

    Phrases with detections stand on their colour, phrases without are grey and struck out, and
    words of no phrase are plain. A caption of more than six lines or 24 phrases, such as a
    vocabulary, is replaced by the phrases that were found and the number of the others.

    Args:
        caption: the text.
        phrases: the phrases; a label is an index into them.
        spans: per label, the half-open character spans of the phrase in the caption.
        counts: label -> detections drawn, labels without any left out.
        colors: label -> RGB, for every label in ``counts``.
        width: width of the strip in pixels.
        font_size: in pixels.

    Returns:
        An RGB image of that width, as high as the text needs.
    """
    writer = StripWriter(width, font_size, colors)
    text, labels = _mark_caption(caption, spans, counts)
    lines = writer.wrap(text, labels)
    if len(lines) > MAX_LINES or len(phrases) > MAX_PHRASES:
        text, labels = _mark_found(phrases, counts)
        lines = writer.wrap(text, labels)
    return writer.write(text, labels, lines)


def _mark_caption(caption: str, spans: Sequence, counts: Mapping[int, int]) -> Marked:
    labels: list[int | None] = [None] * len(caption)
    # where phrases share characters, those with detections win, then the earlier ones
    for label in sorted(range(len(spans)), key=lambda i: (i in counts, -i)):
        for begin, end in spans[label]:
            labels[begin:end] = [label] * (end - begin)
    return caption, labels


def _mark_found(phrases: Sequence[str], counts: Mapping[int, int]) -> Marked:
    """Write "dog ×2  person  and 78 others not found"."""
    text, labels = '', []
    for label in sorted(counts):
        name = phrases[label].strip() + (f' ×{counts[label]}' if counts[label] > 1 else '')
        text += name + '  '
        labels += [label] * len(name) + [None, None]
    others = len(phrases) - len(counts)
    if others:
        rest = f'and {others} other{"s" * (others > 1)} not found' if counts else 'nothing found'
        text += rest
        labels += [None] * len(rest)
    return text, labels


class StripWriter:
    """Wraps and draws marked text.

    Args:
        width: of the strip in pixels.
        font_size: in pixels.
        colors: label -> RGB; a label without a colour is grey and struck out.
    """

    def __init__(self, width: int, font_size: int, colors: Mapping[int, RGB]) -> None:
        self.width = width
        self.font_size = font_size
        self.colors = colors
        self.padding = round(0.8 * font_size)
        self.bleed = max(2, round(0.22 * font_size))
        self.leading = round(1.62 * font_size)

    def wrap(self, text: str, labels: Sequence) -> list[tuple[int, int]]:
        """Character ranges of the lines; words of over forty characters may be cut."""
        lines: list[tuple[int, int]] = []
        for word in re.finditer(r'\S{1,40}', text):
            begin = lines[-1][0] if lines else None
            if begin is not None and self._measure(text, labels, begin, word.end()) <= (
                self.width - 2 * self.padding
            ):
                lines[-1] = (begin, word.end())
            else:
                lines.append(word.span())
        return lines

    def write(self, text: str, labels: Sequence, lines: Sequence[tuple[int, int]]) -> Image.Image:
        """The strip itself."""
        height = 2 * self.padding + self.leading * len(lines)
        strip = Image.new('RGB', (self.width, height), WHITE)
        draw = ImageDraw.Draw(strip)
        for row, (begin, end) in enumerate(lines):
            x, middle = float(self.padding), self.padding + self.leading * (row + 0.5)
            for label, piece in self._runs(text, labels, begin, end):
                x = self._write_run(draw, x, middle, label, piece)
        return strip

    def _runs(self, text, labels, begin, end):
        """Consecutive characters of one label."""
        for label, run in groupby(range(begin, end), key=lambda i: labels[i]):
            yield label, ''.join(text[i] if text[i].isprintable() else ' ' for i in run)

    def _font(self, label):
        return load_font(self.font_size, bold=label in self.colors)

    def _measure(self, text, labels, begin, end) -> float:
        return sum(
            self._font(label).getlength(piece) + 2 * self.bleed * (label in self.colors)
            for label, piece in self._runs(text, labels, begin, end)
        )

    def _write_run(self, draw, x, middle, label, piece) -> float:
        """Draw one run at ``x`` around the line's ``middle``; return where the next begins."""
        font = self._font(label)
        length = font.getlength(piece)
        # letters without descenders look centred when the x-height is
        baseline = middle + 0.34 * self.font_size
        if label in self.colors:
            half = 0.67 * self.font_size
            draw.rounded_rectangle(
                (
                    round(x),
                    round(middle - half),
                    round(x + length + 2 * self.bleed),
                    round(middle + half),
                ),
                radius=round(0.2 * self.font_size),
                fill=self.colors[label],
            )
            draw.text(
                (x + self.bleed, baseline), piece, ink_on(self.colors[label]), font, anchor='ls'
            )
            return x + length + 2 * self.bleed
        draw.text(
            (x, baseline), piece, OTHER_WORDS if label is None else NOT_FOUND, font, anchor='ls'
        )
        if label is not None:
            y = round(baseline - 0.27 * self.font_size)
            draw.line(
                (round(x), y, round(x + length), y), NOT_FOUND, width=max(1, self.font_size // 14)
            )
        return x + length
