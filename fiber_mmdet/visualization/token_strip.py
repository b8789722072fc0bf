"""A caption cut into the tokens that the model reads, those of phrases in their colours."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from PIL import Image

from .caption_strip import NOT_FOUND, OTHER_WORDS, StripWriter
from .palette import BLACK, RGB, WHITE, ink_on, load_font

PLAIN: RGB = (236, 236, 236)
RIM: RGB = (120, 120, 120)


@dataclass(frozen=True)
class Mark:
    """What a character belongs to.

    Attributes:
        token: index of its token, None for blanks.
        labels: its phrases, those with a colour first.
        read: whether the model reads it, or the caption was cut before.
    """

    token: int | None
    labels: tuple[int, ...]
    read: bool = True


def draw_token_strip(
    caption: str,
    pieces: Sequence[tuple[int, int]],
    spans: Mapping[int, Sequence[tuple[int, int]]],
    colors: Mapping[int, RGB],
    width: int,
    font_size: int,
) -> Image.Image:
    """Write a caption, word-wrapped, each token on a background of its own.

    Tokens of a phrase with a colour stand on it, those of other phrases have a
    rim, those of no phrase are plain grey; a token of several phrases shows the
    colours of the others as bars below. Characters behind the last token are
    struck out: the model does not read them.

    Args:
        caption: the text.
        pieces: character span of every token, in order.
        spans: label -> character spans of the words that its tokens cover.
        colors: label -> RGB, for the labels to be coloured.
        width: of the strip in pixels.
        font_size: in pixels.

    Returns:
        An RGB image of that width, as high as the text needs.
    """
    writer = TokenWriter(width, font_size, colors)
    marks = mark_tokens(caption, pieces, spans, colors)
    return writer.write(caption, marks, writer.wrap(caption, marks))


def mark_tokens(
    caption: str,
    pieces: Sequence[tuple[int, int]],
    spans: Mapping[int, Sequence[tuple[int, int]]],
    colors: Mapping[int, RGB],
) -> list[Mark]:
    """The mark of every character of a caption; arguments as for :func:`draw_token_strip`."""
    token: list[int | None] = [None] * len(caption)
    for i, (begin, end) in enumerate(pieces):
        token[begin:end] = [i] * (end - begin)
    owners: list[list[int]] = [[] for _ in caption]
    for label in sorted(spans, key=lambda label: (label not in colors, label)):
        for begin, end in spans[label]:
            for character in range(begin, min(end, len(caption))):
                owners[character].append(label)
    last = max((end for _, end in pieces), default=0)
    return [
        Mark(None if caption[i].isspace() else token[i], tuple(owners[i]), i < last)
        for i in range(len(caption))
    ]


class TokenWriter(StripWriter):
    """Writes runs of characters with one :class:`Mark`."""

    def _bold(self, mark: Mark) -> bool:
        return any(label in self.colors for label in mark.labels)

    def _room(self, mark: Mark) -> float:
        """Pixels on both sides of a run."""
        return self.bleed if mark.token is not None else 0

    def _runs(self, text, labels, begin, end):
        # a blank between two words of a phrase is a blank like any other
        blank = Mark(None, ())
        marks = [blank if text[i].isspace() else labels[i] for i in range(begin, end)]
        yield from super()._runs(text[begin:end], marks, 0, end - begin)

    def _font(self, label):
        return load_font(self.font_size, bold=self._bold(label))

    def _measure(self, text, labels, begin, end) -> float:
        return sum(
            self._font(mark).getlength(piece) + 2 * self._room(mark)
            for mark, piece in self._runs(text, labels, begin, end)
        )

    def _write_run(self, draw, x, middle, label, piece) -> float:
        font, room = self._font(label), self._room(label)
        length = font.getlength(piece)
        baseline = middle + 0.34 * self.font_size
        ink = OTHER_WORDS
        if label.token is not None:
            ink = self._paint(draw, x, x + length + 2 * room, middle, label.labels)
        draw.text((x + room, baseline), piece, ink if label.read else NOT_FOUND, font, anchor='ls')
        if not label.read:
            y = round(baseline - 0.27 * self.font_size)
            draw.line(
                (round(x), y, round(x + length), y), NOT_FOUND, width=max(1, self.font_size // 14)
            )
        return x + length + 2 * room

    def _paint(self, draw, left, right, middle, labels) -> RGB:
        """The background of a token; returns the colour of its letters."""
        colored = [self.colors[label] for label in labels if label in self.colors]
        fill = colored[0] if colored else WHITE if labels else PLAIN
        half, radius = 0.67 * self.font_size, round(0.2 * self.font_size)
        # neighbours keep a gap of one pixel
        box = (round(left) + 1, round(middle - half), round(right) - 1, round(middle + half))
        draw.rounded_rectangle(
            box, radius=radius, fill=fill, outline=None if colored or not labels else RIM
        )
        bar = max(2, self.font_size // 7)
        for i, color in enumerate(dict.fromkeys(colored[1:])):
            top = box[3] + 1 + i * bar
            draw.rectangle((box[0], top, box[2], top + bar - 1), fill=color)
        return ink_on(colored[0]) if colored else BLACK if labels else OTHER_WORDS
