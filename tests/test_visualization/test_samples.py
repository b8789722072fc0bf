"""Drawings of samples: boxes, tokens and legend in the colours of their phrases."""

from dataclasses import replace

import numpy as np
import pytest

from fiber_mmdet.inspection.seen import SeenPrompt, SeenSample
from fiber_mmdet.visualization.palette import phrase_colors
from fiber_mmdet.visualization.samples import draw_sample, ranges, sample_title

CAPTION = 'skateboard. dog. cat'
PIECES = ((0, 5), (5, 10), (10, 11), (12, 15), (15, 16), (17, 20))
PROMPT = SeenPrompt(
    CAPTION,
    labels=(0, 1, 2),
    phrases=('skateboard', 'dog', 'cat'),
    spans=(((0, 10),), ((12, 15),), ((17, 20),)),
    tokens=((1, 2), (4,), (6,)),
    pieces=PIECES,
    length=8,
    limit=256,
)
GREY = 90


def make(
    boxes=((20, 20, 90, 90), (200, 120, 300, 200)),
    labels=(0, 1),
    prompts=(PROMPT,),
    size=(240, 320),
):
    return SeenSample(
        index=7,
        path='a/b/c.jpg',
        image=np.full((*size, 3), GREY, np.uint8),
        original_size=(640, 480),
        flipped=True,
        boxes=np.array(boxes, float).reshape(-1, 4),
        labels=tuple(labels),
        prompts=tuple(prompts),
    )


def count(drawing, color):
    return int((drawing == color).all(-1).sum())


def test_phrases_with_boxes_have_a_colour():
    drawing = draw_sample(make())
    colors = phrase_colors(PROMPT.phrases, [0, 1, 2])
    start = 768 * 240 // 320  # below title and image
    for label in (0, 1):
        assert count(drawing[:start], colors[label]) > 500
        assert count(drawing[-150:], colors[label]) > 500
    assert count(drawing, colors[2]) == 0


def test_title():
    assert (
        sample_title(make())
        == '7  a/b/c.jpg  640×480 → 320×240, mirrored  2 boxes  8 of 256 tokens'
    )
    many = make(boxes=[[1, 1, 5, 5]], labels=[0], prompts=[PROMPT] * 5)
    assert sample_title(many, short=True).endswith('1 box  8 + 8 + 8 + … (5 prompts) of 256 tokens')


@pytest.mark.parametrize('size', [(1, 1), (12, 900), (900, 12), (800, 1333)])
def test_any_size_number_and_label(size):
    h, w = size
    boxes = [[0, 0, w, h], [5, 5, 3, 3]] * 10
    drawing = draw_sample(make(boxes, [0, 9] * 10, size=size))  # label 9 has no phrase
    assert drawing.dtype == np.uint8 and drawing.shape[1] >= 480
    assert draw_sample(make([], [], size=size)).shape[0] < drawing.shape[0]
    assert draw_sample(make([], [], prompts=(), size=size)).shape[1] >= 480


def test_of_many_prompts_those_with_boxes_are_shown():
    asked = [replace(PROMPT, labels=tuple(range(3 * i, 3 * i + 3))) for i in range(5)]
    few, all_of_them = (
        draw_sample(make(labels=(9, 12), prompts=asked)),
        draw_sample(make(labels=(9, 12), prompts=asked[2:])),
    )
    assert few.shape[0] > all_of_them.shape[0]  # one line more: and 2 more prompts
    colors = phrase_colors(PROMPT.phrases, [0])
    assert count(few[600:], colors[0]) > 1000


def test_a_cut_prompt_has_a_note():
    cut = replace(PROMPT, length=300, tokens=((1, 2), (4,), ()), pieces=PIECES[:5])
    assert draw_sample(make(prompts=[cut])).shape[0] > draw_sample(make()).shape[0]


def test_ranges():
    assert ranges([1, 2, 3, 7, 9, 10]) == '1–3, 7, 9–10' and ranges([4]) == '4'
