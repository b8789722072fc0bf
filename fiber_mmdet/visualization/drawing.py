"""Pictures of grounding results: boxes, their tags, and the caption underneath."""

from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image, ImageDraw

from .caption_strip import draw_strip
from .palette import RGB, WHITE, ink_on, load_font, phrase_colors

if TYPE_CHECKING:
    from fiber_mmdet.apis.result import GroundingResult

# Smaller pictures are enlarged, or their tags would hide them; crowded ones get more room and
# smaller letters.
MIN_SIDE = 768
MIN_SIDE_CROWDED = 1280
CROWD = 12
MIN_WIDTH = 480

Box = tuple[float, float, float, float]


def draw_result(image: np.ndarray, result: 'GroundingResult', score_thr: float = 0.0) -> np.ndarray:
    """Draw detections on their image and the caption below it.

    Every phrase has one colour, shared by its boxes, their tags and its words in the caption;
    see :func:`fiber_mmdet.visualization.caption_strip.draw_strip` for the caption. Images whose longer
    side is below 768 pixels are enlarged.

    Args:
        image: (H, W, 3) uint8 RGB, the image the result belongs to.
        result: what was found in it.
        score_thr: detections below this score are left out.

    Returns:
        A new (H', W', 3) uint8 RGB picture.

    Raises:
        ValueError: the image is no such array, or not of the size the boxes refer to.
    """
    if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3:
        raise ValueError(
            f'image must be a (H, W, 3) uint8 RGB array, got {image.dtype} of shape {image.shape}'
        )
    if image.shape[:2] != tuple(result.image_size):
        raise ValueError(
            'the boxes are in pixels of an image of {1}x{0}, but this one is {3}x{2}: draw on the '
            'image that was searched'.format(*result.image_size, *image.shape[:2])
        )
    result = result.above(score_thr)
    crowded = len(result) > CROWD
    picture, scale = enlarge(Image.fromarray(image), MIN_SIDE_CROWDED if crowded else MIN_SIDE)
    size = max(15, round(0.023 * (picture.width * picture.height) ** 0.5))
    labels = result.labels.tolist()
    colors = phrase_colors(result.phrases, labels)
    boxes = [tuple(box) for box in (result.boxes * scale).tolist()]
    tag_size = max(15, round(size * 2 / 3)) if crowded else size
    line = max(3, round(tag_size / 4.5))
    draw_boxes(picture, boxes, [colors[label] for label in labels], line)
    texts = [f'{score:.2f}' for score in result.scores.tolist()]
    draw_tags(
        picture,
        [grow_box(box, line) for box in boxes],
        [result.phrases[label].strip() for label in labels],
        texts,
        [colors[label] for label in labels],
        tag_size,
    )
    width = max(picture.width, MIN_WIDTH)
    strip = draw_strip(
        result.caption, result.phrases, result.spans, Counter(labels), colors, width, size
    )
    sheet = Image.new('RGB', (width, picture.height + strip.height), WHITE)
    sheet.paste(picture, ((width - picture.width) // 2, 0))
    sheet.paste(strip, (0, picture.height))
    return np.asarray(sheet).copy()


def enlarge(picture: Image.Image, min_side: int) -> tuple[Image.Image, float]:
    """The picture with a longer side of at least ``min_side`` pixels, and the factor."""
    scale = max(1.0, min_side / max(picture.size))
    if scale == 1.0:
        return picture, scale
    size = tuple(max(1, round(side * scale)) for side in picture.size)
    return picture.resize(size, Image.Resampling.BICUBIC), scale


def draw_boxes(
    picture: Image.Image, boxes: Sequence[Box], colors: Sequence[RGB], line: int
) -> None:
    """Outline the boxes, small ones last, each with a thin white rim on both sides."""
    draw = ImageDraw.Draw(picture)
    rim = max(1, line // 3)
    for box, color in sorted(zip(boxes, colors), key=lambda item: -_area(item[0])):
        frame = grow_box(box, line)
        draw.rectangle(grow_box(frame, 2 * rim), outline=WHITE, width=line + 2 * rim)
        draw.rectangle(frame, outline=color, width=line)


def grow_box(box: Box, line: int) -> Box:
    """The box widened to whole pixels by half a line on every side."""
    half = line // 2
    # boxes narrower than nothing cannot be drawn
    return (
        round(box[0]) - half,
        round(box[1]) - half,
        max(round(box[2]), round(box[0])) + half,
        max(round(box[3]), round(box[1])) + half,
    )


def draw_tags(
    picture: Image.Image,
    boxes: Sequence[Box],
    names: Sequence[str],
    details: Sequence[str],
    colors: Sequence[RGB],
    size: int,
) -> None:
    """Tag the boxes with a bold name and a plain detail; the first ones choose their place first.

    Args:
        picture: drawn on.
        boxes: xyxy in pixels of the picture.
        names: shortened where they take more than about half the picture.
        details: such as scores; may be empty.
        colors: RGB of each tag.
        size: of the letters in pixels.
    """
    draw = ImageDraw.Draw(picture)
    bold, plain = load_font(size, bold=True), load_font(size)
    gap, padding = round(0.35 * size), round(0.3 * size)
    height = round(1.45 * size)
    taken: list[Box] = []
    for box, name, detail, color in zip(boxes, names, details, colors):
        extra = gap + plain.getlength(detail) if detail else 0
        name = _shorten(name, bold, max(0.6 * picture.width - extra, 4 * size))
        length = bold.getlength(name)
        width = round(length + extra + 2 * padding)
        tag = _place(box, (width, height), picture.size, taken, boxes)
        taken.append(tag)
        draw.rectangle((tag[0] - 1, tag[1] - 1, tag[2], tag[3]), fill=color, outline=WHITE)
        baseline = tag[1] + height / 2 + 0.35 * size
        ink = ink_on(color)
        draw.text((tag[0] + padding, baseline), name, ink, bold, anchor='ls')
        draw.text((tag[0] + padding + length + gap, baseline), detail, ink, plain, anchor='ls')


def _shorten(text: str, font, room: float) -> str:
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
    """The best place for a tag at its box: inside the canvas, over little that matters.

    Args:
        box: the box to name, xyxy in pixels.
        size: width and height of the tag.
        canvas: width and height of the picture.
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
    best, lowest = None, float('inf')
    for rank, (x, y) in enumerate(places):
        left = round(min(max(x, 1), max(canvas[0] - width - 1, 1)))
        top = round(min(max(y, 1), max(canvas[1] - height - 1, 1)))
        tag = (left, top, left + width, top + height)
        # another tag must not be covered, a small object less than a part of a large one
        cost = 0.03 * rank + sum(20 * _overlap(tag, other) / _area(tag) for other in taken)
        for other in boxes:
            shared = _overlap(tag, other)
            cost += shared / max(_area(other), 1.0) + 0.3 * shared / _area(tag)
        if cost < lowest:
            best, lowest = tag, cost
    return best


def _area(box: Box) -> float:
    return max(box[2] - box[0], 0.0) * max(box[3] - box[1], 0.0)


def _overlap(a: Box, b: Box) -> float:
    """Area two boxes share, in square pixels."""
    return _area((max(a[0], b[0]), max(a[1], b[1]), min(a[2], b[2]), min(a[3], b[3])))
