"""Drawings of detections: boxes, their tags, and the caption underneath."""

from collections import Counter
from collections.abc import Sequence

import numpy as np
from PIL import Image, ImageDraw

from .canvas import enlarge, stack
from .captions import Spans, write_caption
from .palette import RGB, WHITE, Font, ink_on, load_font, phrase_colors
from .writing import printable

# Smaller images are enlarged, or their tags would hide them; crowded ones get more room and
# smaller letters.
MIN_SIDE = 768
MIN_SIDE_CROWDED = 1280
CROWD = 12
MIN_WIDTH = 480

Box = tuple[float, float, float, float]


def draw_detections(
    image: np.ndarray,
    boxes: np.ndarray,
    scores: Sequence[float],
    labels: Sequence[int],
    phrases: Sequence[str],
    spans: Sequence[Spans],
    caption: str,
) -> np.ndarray:
    """Draw detections on their image and the caption below it.

    Every phrase has one colour, shared by its boxes, their tags and its words in the caption; see
    :func:`.captions.write_caption` for the caption. Images whose longer side is below 768 pixels
    are enlarged.

    Args:
        image: (H, W, 3) uint8 RGB, the image that was searched.
        boxes: (N, 4) float xyxy in pixels of the image.
        scores: N scores.
        labels: N indices into ``phrases``.
        phrases: everything that was looked for.
        spans: for each phrase, its half-open character spans in the caption.
        caption: the text that the model read.

    Returns:
        A new (H', W', 3) uint8 RGB array.
    """
    crowded = len(labels) > CROWD
    canvas, scale = enlarge(Image.fromarray(image), MIN_SIDE_CROWDED if crowded else MIN_SIDE)
    size = max(15, round(0.023 * (canvas.width * canvas.height) ** 0.5))
    colors = phrase_colors(phrases, labels)
    tag_size = max(15, round(size * 2 / 3)) if crowded else size
    names = [phrases[label].strip() for label in labels]
    details = [f'{score:.2f}' for score in scores]
    of_boxes = [colors[label] for label in labels]
    draw_tagged_boxes(canvas, (boxes * scale).tolist(), names, details, of_boxes, tag_size)
    width = max(canvas.width, MIN_WIDTH)
    below = write_caption(caption, phrases, spans, Counter(labels), colors, width, size)
    return np.asarray(stack([canvas, below], width)).copy()


def draw_tagged_boxes(
    canvas: Image.Image,
    boxes: Sequence[Sequence[float]],
    names: Sequence[str],
    details: Sequence[str],
    colors: Sequence[RGB],
    tag_size: int,
) -> None:
    """Outline boxes and tag them with a bold name and a plain detail.

    Args:
        canvas: drawn on.
        boxes: xyxy in pixels of the canvas.
        names: of the boxes; shortened where they take more than about half the canvas.
        details: such as scores; may be empty.
        colors: RGB of each box.
        tag_size: of the letters in pixels.
    """
    line = max(3, round(tag_size / 4.5))
    _draw_boxes(canvas, boxes, colors, line)
    _draw_tags(canvas, [_grow(box, line) for box in boxes], names, details, colors, tag_size)


def _draw_boxes(
    canvas: Image.Image, boxes: Sequence[Sequence[float]], colors: Sequence[RGB], line: int
) -> None:
    """Outline the boxes, small ones last, each with a thin white rim on both sides."""
    draw = ImageDraw.Draw(canvas)
    rim = max(1, line // 3)
    for box, color in sorted(zip(boxes, colors), key=lambda item: -_area(item[0])):
        frame = _grow(box, line)
        draw.rectangle(_grow(frame, 2 * rim), outline=WHITE, width=line + 2 * rim)
        draw.rectangle(frame, outline=color, width=line)


def _grow(box: Sequence[float], line: int) -> Box:
    """The box widened to whole pixels by half a line on every side."""
    half = line // 2
    # boxes whose right end is left of their left end cannot be drawn
    return (
        round(box[0]) - half,
        round(box[1]) - half,
        max(round(box[2]), round(box[0])) + half,
        max(round(box[3]), round(box[1])) + half,
    )


def _draw_tags(
    canvas: Image.Image,
    boxes: Sequence[Box],
    names: Sequence[str],
    details: Sequence[str],
    colors: Sequence[RGB],
    size: int,
) -> None:
    """Tag the boxes; the first ones choose their place first."""
    draw = ImageDraw.Draw(canvas)
    bold, plain = load_font(size, bold=True), load_font(size)
    gap, padding = round(0.35 * size), round(0.3 * size)
    height = round(1.45 * size)
    taken: list[Box] = []
    for box, name, detail, color in zip(boxes, names, details, colors):
        extra = gap + plain.getlength(detail) if detail else 0
        name = _shorten(printable(name), bold, max(0.6 * canvas.width - extra, 4 * size))
        length = bold.getlength(name)
        width = round(length + extra + 2 * padding)
        tag = _place(box, (width, height), canvas.size, taken, boxes)
        taken.append(tag)
        draw.rectangle((tag[0] - 1, tag[1] - 1, tag[2], tag[3]), fill=color, outline=WHITE)
        baseline = tag[1] + height / 2 + 0.35 * size
        ink = ink_on(color)
        draw.text((tag[0] + padding, baseline), name, ink, bold, anchor='ls')
        draw.text((tag[0] + padding + length + gap, baseline), detail, ink, plain, anchor='ls')


def _shorten(text: str, font: Font, room: float) -> str:
    """``text`` with an ellipsis where it needs more than ``room`` pixels."""
    if font.getlength(text) <= room:
        return text
    while text and font.getlength(text + '…') > room:
        text = text[:-1]
    return text.rstrip() + '…'


def _place(
    box: Box,
    size: tuple[int, int],
    canvas: tuple[int, int],
    taken: Sequence[Box],
    boxes: Sequence[Box],
) -> Box:
    """The best place for a tag at its box: inside the canvas, hiding little that matters.

    Args:
        box: the box to name, xyxy in pixels.
        size: width and height of the tag.
        canvas: width and height of the canvas.
        taken: the tags placed so far.
        boxes: all boxes; what they frame should stay visible.

    Returns:
        The tag as xyxy in whole pixels.
    """
    x1, y1, x2, y2 = box
    width, height = size
    places = [
        (x1, y1 - height),
        (x1, y2),
        (x2 - width, y1 - height),
        (x2 - width, y2),
        (x2, y1),
        (x1 - width, y1),
        (x2, y2 - height),
        (x1 - width, y2 - height),
        (x1, y1),
        (x2 - width, y2 - height),
    ]
    tags: list[Box] = []
    for x, y in places:
        left = round(min(max(x, 1), max(canvas[0] - width - 1, 1)))
        top = round(min(max(y, 1), max(canvas[1] - height - 1, 1)))
        tags.append((left, top, left + width, top + height))

    def cost(place: int) -> float:
        # another tag must not be covered, a small object less than a part of a large one
        tag = tags[place]
        found = 0.03 * place + sum(20 * _overlap(tag, other) / _area(tag) for other in taken)
        for other in boxes:
            shared = _overlap(tag, other)
            found += shared / max(_area(other), 1.0) + 0.3 * shared / _area(tag)
        return found

    return tags[min(range(len(tags)), key=cost)]


def _area(box: Sequence[float]) -> float:
    return max(box[2] - box[0], 0.0) * max(box[3] - box[1], 0.0)


def _overlap(a: Box, b: Box) -> float:
    """Area two boxes share, in square pixels."""
    return _area((max(a[0], b[0]), max(a[1], b[1]), min(a[2], b[2]), min(a[3], b[3])))
