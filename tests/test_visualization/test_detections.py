"""Drawings of detections: whole, legible, and clear about what was not found."""

import numpy as np
import pytest

from fiber_mmdet.text import category_prompt, parse_prompt
from fiber_mmdet.visualization.detections import _overlap, _place, draw_detections
from fiber_mmdet.visualization.palette import PALETTE, phrase_colors

GREY = 90
PROMPT = parse_prompt('a red circle, a blue star and a red circle')


def draw(prompt, boxes, labels, size=(240, 320)):
    """Made-up detections on a grey image."""
    return draw_detections(
        np.full((*size, 3), GREY, np.uint8),
        np.array(boxes, np.float32).reshape(-1, 4),
        np.linspace(0.9, 0.5, len(boxes)).tolist(),
        labels,
        prompt.phrases,
        prompt.spans,
        prompt.caption,
    )


def count(drawing, color):
    return int((drawing == color).all(-1).sum())


def test_one_colour_per_phrase():
    boxes = [[20, 20, 90, 90], [200, 120, 300, 200], [30, 150, 80, 200]]
    drawing = draw(PROMPT, boxes, [0, 1, 0])
    assert drawing.dtype == np.uint8 and drawing.shape[1] == 768 and drawing.shape[0] > 576
    colors = phrase_colors(PROMPT.phrases, [0, 1, 2])
    assert colors[0] == colors[2] != colors[1]
    for color in colors.values():
        assert count(drawing[:576], color) > 500 and count(drawing[576:], color) > 500
    assert not any(count(drawing, color) for color, _ in PALETTE if color not in colors.values())


def test_nothing_found():
    drawing = draw(PROMPT, [], [])
    assert drawing.shape[1] == 768
    assert (drawing[:576] == GREY).all() and drawing[576:].min() < 200  # a grey caption on white


@pytest.mark.parametrize('size', [(1, 1), (12, 900), (900, 12), (2000, 1500)])
def test_any_size_and_degenerate_boxes(size):
    h, w = size
    boxes = [[0, 0, w, h], [0, 0, 0, 0], [w - 1, h - 1, w, h], [5, 5, 3, 3]]
    drawing = draw(category_prompt(['thing ' * 30, 'b']), boxes, [0, 1, 0, 1], size)
    assert drawing.shape[1] >= 480 and max(drawing.shape[:2]) >= 768


def test_tags_stay_inside_and_apart():
    boxes = [(x, y, x + 30, y + 30) for x in (0, 200, 370) for y in (0, 150, 370)]
    taken = []
    for box in boxes:
        tag = _place(box, (90, 20), (400, 400), taken, boxes)
        assert 0 <= tag[0] and 0 <= tag[1] and tag[2] <= 400 and tag[3] <= 400
        assert not any(_overlap(tag, other) for other in taken + boxes)
        # and the tag touches the box it names
        assert _overlap((tag[0] - 2, tag[1] - 2, tag[2] + 2, tag[3] + 2), box)
        taken.append(tag)
