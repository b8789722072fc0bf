"""Drawings of samples: what the model sees after the pipeline, and what is known about it."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

from .canvas import GAP, enlarge, side_by_side, stack
from .captions import phrase_style, write_tokens
from .detections import CROWD, MIN_SIDE, MIN_SIDE_CROWDED, MIN_WIDTH, draw_tagged_boxes
from .palette import RGB, phrase_colors
from .writing import QUIET, Writer, write_text

if TYPE_CHECKING:
    from fiber_mmdet.inspection.seen import SeenPair, SeenPrompt, SeenSample

MAX_PROMPTS = 3
NAME_LENGTH = 24
VIEW_SIDE = 480  # least longer side of each view of a pair


def draw_sample(sample: 'SeenSample') -> np.ndarray:
    """Draw a sample of the detector: title, image with numbered boxes, prompts in tokens, legend.

    Every phrase with a box has one colour, shared by its boxes and its tokens. Of a vocabulary in
    chunks, the prompts that have boxes are shown.

    Args:
        sample: what to draw.

    Returns:
        (H', W', 3) uint8 RGB.
    """
    crowded = len(sample.boxes) > CROWD
    canvas, scale = enlarge(
        Image.fromarray(sample.image), MIN_SIDE_CROWDED if crowded else MIN_SIDE
    )
    width = max(canvas.width, MIN_WIDTH)
    size = max(15, round(0.019 * (canvas.width * canvas.height) ** 0.5))
    names = {
        label: phrase
        for prompt in sample.prompts
        for label, phrase in zip(prompt.labels, prompt.phrases)
    }
    colors = _colors(names, sample.labels)
    draw_tagged_boxes(
        canvas,
        (sample.boxes * scale).tolist(),
        [
            str(i) if crowded else f'{i} {_short(names.get(label, "?").strip())}'
            for i, label in enumerate(sample.labels, 1)
        ],
        [''] * len(sample.labels),
        [colors.get(label, (0, 0, 0)) for label in sample.labels],
        max(13, round(size * 2 / 3)) if crowded else size,
    )
    shown = _shown(sample)
    parts = [write_text(sample_title(sample, short=True), width, size), canvas]
    for prompt in shown:
        parts += _write_prompt(prompt, colors, width, size)
    more = len(sample.prompts) - len(shown)
    if more:
        parts.append(write_text(f'and {more} more prompt{"s" * (more > 1)}', width, size))
    if sample.labels:
        parts.append(_legend(sample, names, colors, width, size))
    return np.asarray(stack(parts, width)).copy()


def draw_pair(pair: 'SeenPair') -> np.ndarray:
    """Draw an image-text sample: title, views side by side, the text in tokens, known facts.

    Args:
        pair: what to draw.

    Returns:
        (H', W', 3) uint8 RGB.
    """
    views = [enlarge(Image.fromarray(view.image), VIEW_SIDE)[0] for view in pair.views]
    row = side_by_side(views, GAP)
    width = max(row.width, MIN_WIDTH)
    size = max(15, round(0.026 * (views[0].width * views[0].height) ** 0.5))
    parts = [
        write_text(pair_title(pair, short=True), width, size),
        row,
        *_write_prompt(pair.text, {}, width, size),
        *(write_text(fact, width, size) for fact in pair.facts),
    ]
    return np.asarray(stack(parts, width)).copy()


def sample_title(sample: 'SeenSample', short: bool = False) -> str:
    """One line about a sample: file (its last two parts if ``short``), sizes, boxes, tokens."""
    tokens = ' + '.join(str(prompt.length) for prompt in sample.prompts[:MAX_PROMPTS])
    if len(sample.prompts) > MAX_PROMPTS:
        tokens += f' + … ({len(sample.prompts)} prompts)'
    limit = sample.prompts[0].limit if sample.prompts else 0
    count = len(sample.boxes)
    return (
        f'{sample.index}  {_origin(sample, short)}  {count} box{"es" * (count != 1)}  '
        f'{tokens} of {limit} tokens'
    )


def pair_title(pair: 'SeenPair', short: bool = False) -> str:
    """One line about a sample: each view (file, its last two parts if ``short``, sizes), tokens."""
    views = '  |  '.join(
        f'{view.name} ' * (len(pair.views) > 1) + _origin(view, short) for view in pair.views
    )
    return f'{pair.index}  {views}  {pair.text.length} of {pair.text.limit} tokens'


def _origin(seen, short: bool) -> str:
    """File of an image, and its size before and after the pipeline."""
    path = '/'.join(Path(seen.path).parts[-2:]) if short else seen.path
    (width, height), (new_height, new_width) = seen.original_size, seen.image.shape[:2]
    return f'{path}  {width}×{height} → {new_width}×{new_height}{", mirrored" * seen.flipped}'


def _write_prompt(
    prompt: 'SeenPrompt', colors: Mapping[int, RGB], width: int, size: int
) -> list[Image.Image]:
    """The caption in tokens, and a note if the model does not read all of them."""
    spans = dict(zip(prompt.labels, prompt.spans))
    parts = [write_tokens(prompt.caption, prompt.pieces, spans, colors, width, size)]
    if prompt.length > prompt.limit:
        note = (
            f'{prompt.length} tokens: the model reads {prompt.limit}, what is struck out is cut off'
        )
        parts.append(write_text(note, width, size))
    return parts


def _colors(names: Mapping[int, str], labels: Sequence[int]) -> dict[int, RGB]:
    """Label -> colour of the labels that have boxes and a phrase."""
    order = sorted(names)
    row = {label: i for i, label in enumerate(order)}
    known = sorted({label for label in labels if label in names})
    chosen = phrase_colors([names[label] for label in order], [row[label] for label in known])
    return {label: chosen[row[label]] for label in known}


def _short(name: str) -> str:
    return name if len(name) <= NAME_LENGTH else name[: NAME_LENGTH - 1].rstrip() + '…'


def _shown(sample: 'SeenSample') -> list['SeenPrompt']:
    """A few prompts in their order, preferably those with boxes."""
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
    writer, lines = Writer(width, size), []
    for label in sorted(set(sample.labels)):
        numbers = [i for i, other in enumerate(sample.labels, 1) if other == label]
        where, found = tokens.get(label, ('', ()))
        where += (
            f'token{"s" * (len(found) > 1)} {ranges(found)}'
            if found
            else 'no token: nothing is learned from it'
        )
        lines += writer.wrap(
            [
                (f'box{"es" * (len(numbers) > 1)} {ranges(numbers)}  ', QUIET),
                (names.get(label, '?').strip(), phrase_style(label, colors)),
                (f'  {where}', QUIET),
            ]
        )
    return writer.write(lines)


def ranges(numbers: Sequence[int]) -> str:
    """Ascending numbers in short: 1–3, 7."""
    runs: list[list[int]] = []
    for number in numbers:
        if runs and number == runs[-1][1] + 1:
            runs[-1][1] = number
        else:
            runs.append([number, number])
    return ', '.join(str(a) if a == b else f'{a}–{b}' for a, b in runs)
