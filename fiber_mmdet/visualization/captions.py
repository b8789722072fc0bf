"""Captions with marked phrases: of a result, and cut into the tokens that the model reads."""

from collections.abc import Mapping, Sequence

from PIL import Image

from .palette import BLACK, GREY, RGB, WHITE, ink_on
from .writing import QUIET, WIDE_WITH_GAPS, Line, Style, Writer, on_color

NOT_FOUND: RGB = (165, 165, 165)
TOKEN: RGB = (236, 236, 236)
RIM: RGB = (120, 120, 120)
MAX_LINES = 6
MAX_PHRASES = 24

Spans = Sequence[tuple[int, int]]


def write_caption(
    caption: str,
    phrases: Sequence[str],
    spans: Sequence[Spans],
    counts: Mapping[int, int],
    colors: Mapping[int, RGB],
    width: int,
    font_size: int,
) -> Image.Image:
    """Write the caption of a result, word-wrapped.

    Phrases with detections stand on their colour, phrases without are grey and struck out, and
    words outside phrases are plain. A caption of more than six lines or 24 phrases, such as a
    vocabulary, is replaced by the phrases that were found and the number of the others.

    Args:
        caption: the text.
        phrases: the phrases; a label is an index into them.
        spans: for each label, the half-open character spans of its phrase in the caption.
        counts: label -> number of detections drawn, for labels that have any.
        colors: label -> RGB, for every label in ``counts``.
        width: of the block in pixels.
        font_size: in pixels.

    Returns:
        An RGB image of that width, as high as the text needs.
    """
    writer = Writer(width, font_size)
    lines = writer.wrap(_mark_phrases(caption, spans, colors))
    if len(lines) > MAX_LINES or len(phrases) > MAX_PHRASES:
        lines = writer.wrap(_list_found(phrases, counts, colors))
    return writer.write(lines)


def phrase_style(label: int, colors: Mapping[int, RGB]) -> Style:
    """Letters of a phrase: on its colour, or struck out if it has none."""
    if label in colors:
        return on_color(colors[label], bold=True, group=label)
    return Style(NOT_FOUND, struck=True, group=label)


def _mark_phrases(caption: str, spans: Sequence[Spans], colors: Mapping[int, RGB]) -> Line:
    styles = [QUIET] * len(caption)
    # where phrases share characters, those with detections win, then the earlier ones
    for label in sorted(range(len(spans)), key=lambda i: (i in colors, -i)):
        for begin, end in spans[label]:
            styles[begin:end] = [phrase_style(label, colors)] * (end - begin)
    return list(zip(caption, styles))


def _list_found(
    phrases: Sequence[str], counts: Mapping[int, int], colors: Mapping[int, RGB]
) -> Line:
    """Write "dog ×2  person  and 78 others not found"."""
    line = []
    for label in sorted(counts):
        name = phrases[label].strip() + (f' ×{counts[label]}' if counts[label] > 1 else '')
        line += [(name, phrase_style(label, colors)), ('  ', QUIET)]
    others = len(phrases) - len(counts)
    if others:
        rest = f'and {others} other{"s" * (others > 1)} not found' if counts else 'nothing found'
        line.append((rest, QUIET))
    return line


def write_tokens(
    caption: str,
    tokens: Spans,
    spans: Mapping[int, Spans],
    colors: Mapping[int, RGB],
    width: int,
    font_size: int,
) -> Image.Image:
    """Write a caption, word-wrapped, each token on a background of its own.

    Tokens of a phrase with a colour stand on it, those of other phrases have a rim, and those
    outside phrases are plain grey; a token of several phrases shows the colours of the others as
    bars below. Characters behind the last token are struck out: the model does not read them.

    Args:
        caption: the text.
        tokens: half-open character span of every token, in order.
        spans: label -> character spans of the words that its tokens cover.
        colors: label -> RGB, for the labels to be coloured.
        width: of the block in pixels.
        font_size: in pixels.

    Returns:
        An RGB image of that width, as high as the text needs.
    """
    writer = Writer(width, font_size, WIDE_WITH_GAPS)
    styles = token_styles(caption, tokens, spans, colors)
    return writer.write(writer.wrap(list(zip(caption, styles))))


def token_styles(
    caption: str, tokens: Spans, spans: Mapping[int, Spans], colors: Mapping[int, RGB]
) -> list[Style]:
    """The style of every character of a caption; see :func:`write_tokens`."""
    token: list[int | None] = [None] * len(caption)
    for i, (begin, end) in enumerate(tokens):
        token[begin:end] = [i] * (end - begin)
    owners: list[list[int]] = [[] for _ in caption]
    for label in sorted(spans, key=lambda label: (label not in colors, label)):
        for begin, end in spans[label]:
            for character in range(begin, min(end, len(caption))):
                owners[character].append(label)
    last = max((end for _, end in tokens), default=0)
    return [
        # a blank between two words of a phrase looks like any other
        _style(None, (), colors)
        if character.isspace()
        else _style(token[i], tuple(owners[i]), colors, read=i < last)
        for i, character in enumerate(caption)
    ]


def _style(
    token: int | None, labels: tuple[int, ...], colors: Mapping[int, RGB], read: bool = True
) -> Style:
    """The style of a character of a token and of phrases, those with a colour first."""
    colored = [colors[label] for label in labels if label in colors]
    group = token, labels
    if token is None:
        return Style(GREY if read else NOT_FOUND, bool(colored), struck=not read, group=group)
    if colored:
        bars = tuple(dict.fromkeys(colored[1:]))
        return Style(ink_on(colored[0]), True, colored[0], bars=bars, group=group)
    if labels:
        return Style(BLACK, fill=WHITE, outline=RIM, group=group)
    return Style(GREY, fill=TOKEN, group=group)
