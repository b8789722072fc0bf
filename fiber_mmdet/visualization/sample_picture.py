"""Pictures of samples: what the model sees after the pipeline, and which tokens are positive."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

from .caption_strip import StripWriter
from .drawing import (
    CROWD,
    MIN_SIDE,
    MIN_SIDE_CROWDED,
    MIN_WIDTH,
    draw_boxes,
    draw_tags,
    enlarge,
    grow_box,
)
from .palette import RGB, WHITE, phrase_colors
from .token_strip import draw_token_strip

if TYPE_CHECKING:
    from fiber_mmdet.inspection.browsing import SeenPrompt, SeenSample

MAX_PROMPTS = 3
NAME_LENGTH = 24


def draw_sample(sample: 'SeenSample') -> np.ndarray:
    """Draw a sample: title, picture with numbered boxes, prompts cut into tokens, legend.

    Every phrase with a box has one colour, shared by its boxes and its tokens. Of
    a vocabulary in chunks the prompts that have boxes are shown.

    Args:
        sample: what to draw.

    Returns:
        (H', W', 3) uint8 RGB.
    """
    crowded = len(sample.boxes) > CROWD
    picture, scale = enlarge(
        Image.fromarray(sample.image), MIN_SIDE_CROWDED if crowded else MIN_SIDE
    )
    width = max(picture.width, MIN_WIDTH)
    size = max(15, round(0.019 * (picture.width * picture.height) ** 0.5))
    names = {
        label: phrase
        for prompt in sample.prompts
        for label, phrase in zip(prompt.labels, prompt.phrases)
    }
    colors = _colors(names, sample.labels)
    _draw_frames(picture, sample, scale, names, colors, size, crowded)
    shown = _shown(sample)
    body = [
        write_text(title_of(sample, '/'.join(Path(sample.photo).parts[-2:])), width, size),
        picture,
    ]
    for prompt in shown:
        spans = {label: spans for label, spans in zip(prompt.labels, prompt.spans)}
        body.append(draw_token_strip(prompt.caption, prompt.pieces, spans, colors, width, size))
        if prompt.length > prompt.limit:
            body.append(write_text(words_cut(prompt), width, size))
    more = len(sample.prompts) - len(shown)
    if more:
        body.append(write_text(f'and {more} more prompt{"s" * (more > 1)}', width, size))
    if sample.labels:
        body.append(_legend(sample, names, colors, width, size))
    return np.asarray(stack_strips(body, width)).copy()


def words_cut(prompt: 'SeenPrompt') -> str:
    """What is said below a caption that is too long."""
    return f'{prompt.length} tokens: the model reads {prompt.limit}, what is struck out is cut off'


def title_of(sample: 'SeenSample', photo: str | None = None) -> str:
    """One line about a sample: photo (under another name, if given), sizes, boxes, tokens."""
    height, width = sample.image.shape[:2]
    tokens = ' + '.join(str(prompt.length) for prompt in sample.prompts[:MAX_PROMPTS])
    if len(sample.prompts) > MAX_PROMPTS:
        tokens += f' + … ({len(sample.prompts)} prompts)'
    limit = sample.prompts[0].limit if sample.prompts else 0
    count = len(sample.boxes)
    return (
        f'{sample.index}  {photo or sample.photo}  '
        f'{sample.original_size[0]}×{sample.original_size[1]} → {width}×{height}'
        f'{", mirrored" * sample.flipped}  {count} box{"es" * (count != 1)}  '
        f'{tokens} of {limit} tokens'
    )


def _colors(names: Mapping[int, str], labels: Sequence[int]) -> dict[int, RGB]:
    """Label -> colour of the labels that have boxes and a phrase."""
    order = sorted(names)
    row = {label: i for i, label in enumerate(order)}
    known = sorted({label for label in labels if label in names})
    chosen = phrase_colors([names[label] for label in order], [row[label] for label in known])
    return {label: chosen[row[label]] for label in known}


def _draw_frames(
    picture: Image.Image,
    sample: 'SeenSample',
    scale: float,
    names: Mapping[int, str],
    colors: Mapping[int, RGB],
    size: int,
    crowded: bool,
) -> None:
    tag_size = max(13, round(size * 2 / 3)) if crowded else size
    line = max(3, round(tag_size / 4.5))
    boxes = [tuple(box) for box in (sample.boxes * scale).tolist()]
    of_box = [colors.get(label, (0, 0, 0)) for label in sample.labels]
    draw_boxes(picture, boxes, of_box, line)
    tags = [
        str(i) if crowded else f'{i} {_short(names.get(label, "?").strip())}'
        for i, label in enumerate(sample.labels, 1)
    ]
    draw_tags(
        picture, [grow_box(box, line) for box in boxes], tags, [''] * len(tags), of_box, tag_size
    )


def _short(name: str) -> str:
    return name if len(name) <= NAME_LENGTH else name[: NAME_LENGTH - 1].rstrip() + '…'


def _shown(sample: 'SeenSample') -> list['SeenPrompt']:
    """A few prompts in their order, those with boxes rather than others."""
    asked = set(sample.labels)
    chosen = sorted(
        range(len(sample.prompts)), key=lambda i: not asked.intersection(sample.prompts[i].labels)
    )[:MAX_PROMPTS]
    return [sample.prompts[i] for i in sorted(chosen)]


def _legend(
    sample: 'SeenSample', names: Mapping[int, str], colors: Mapping[int, RGB], width: int, size: int
) -> Image.Image:
    """Numbers of boxes, their phrase in its colour, and its tokens."""
    several = len(sample.prompts) > 1
    tokens = {
        label: (f'prompt {i}, ' * several, of_label)
        for i, prompt in enumerate(sample.prompts, 1)
        for label, of_label in zip(prompt.labels, prompt.tokens)
    }
    writer = StripWriter(width, size, colors)
    text, labels, lines = '', [], []
    for label in sorted(set(sample.labels)):
        numbers = [i for i, other in enumerate(sample.labels, 1) if other == label]
        where, found = tokens.get(label, ('', ()))
        where += (
            f'token{"s" * (len(found) > 1)} {ranges(found)}'
            if found
            else 'no token: nothing is learned from it'
        )
        pieces = [
            (f'box{"es" * (len(numbers) > 1)} {ranges(numbers)}  ', None),
            (names.get(label, '?').strip(), label),
            (f'  {where}', None),
        ]
        entry = ''.join(piece for piece, _ in pieces)
        of_entry = [owner for piece, owner in pieces for _ in piece]
        lines += [
            (begin + len(text), end + len(text)) for begin, end in writer.wrap(entry, of_entry)
        ]
        text += entry
        labels += of_entry
    return writer.write(text, labels, lines)


def ranges(numbers: Sequence[int]) -> str:
    """Ascending numbers in short: 1–3, 7."""
    runs: list[list[int]] = []
    for number in numbers:
        if runs and number == runs[-1][1] + 1:
            runs[-1][1] = number
        else:
            runs.append([number, number])
    return ', '.join(str(a) if a == b else f'{a}–{b}' for a, b in runs)


def write_text(text: str, width: int, size: int) -> Image.Image:
    """A strip of plain words, wrapped."""
    writer, labels = StripWriter(width, size, {}), [None] * len(text)
    return writer.write(text, labels, writer.wrap(text, labels))


def stack_strips(strips: Sequence[Image.Image], width: int) -> Image.Image:
    """Pictures one below the other, centred."""
    sheet = Image.new('RGB', (width, sum(strip.height for strip in strips)), WHITE)
    top = 0
    for strip in strips:
        sheet.paste(strip, ((width - strip.width) // 2, top))
        top += strip.height
    return sheet
