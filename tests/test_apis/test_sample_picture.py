"""Pictures of samples: boxes, tokens and legend in the colours of their phrases."""

from dataclasses import replace

import numpy as np
import pytest

from fiber_mmdet.inspection.browsing import SeenPrompt, SeenSample
from fiber_mmdet.visualization.palette import phrase_colors
from fiber_mmdet.visualization.sample_picture import draw_sample, ranges, title_of
from fiber_mmdet.visualization.token_strip import Mark, draw_token_strip, mark_tokens

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
        photo='a/b/c.jpg',
        image=np.full((*size, 3), GREY, np.uint8),
        original_size=(640, 480),
        flipped=True,
        boxes=np.array(boxes, float).reshape(-1, 4),
        labels=tuple(labels),
        prompts=tuple(prompts),
    )


def count(picture, color):
    return int((picture == color).all(-1).sum())


def test_phrases_with_boxes_have_a_colour():
    picture = draw_sample(make())
    colors = phrase_colors(PROMPT.phrases, [0, 1, 2])
    start = 768 * 240 // 320  # below title and photo
    for label in (0, 1):
        assert count(picture[:start], colors[label]) > 500
        assert count(picture[-150:], colors[label]) > 500
    assert count(picture, colors[2]) == 0


def test_title():
    assert title_of(make()) == '7  a/b/c.jpg  640×480 → 320×240, mirrored  2 boxes  8 of 256 tokens'
    many = make(boxes=[[1, 1, 5, 5]], labels=[0], prompts=[PROMPT] * 5)
    assert title_of(many, 'c').endswith('1 box  8 + 8 + 8 + … (5 prompts) of 256 tokens')


@pytest.mark.parametrize('size', [(1, 1), (12, 900), (900, 12), (800, 1333)])
def test_any_size_number_and_label(size):
    h, w = size
    boxes = [[0, 0, w, h], [5, 5, 3, 3]] * 10
    picture = draw_sample(make(boxes, [0, 9] * 10, size=size))  # label 9 has no phrase
    assert picture.dtype == np.uint8 and picture.shape[1] >= 480
    assert draw_sample(make([], [], size=size)).shape[0] < picture.shape[0]
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


def test_a_cut_prompt_is_told():
    cut = replace(PROMPT, length=300, tokens=((1, 2), (4,), ()), pieces=PIECES[:5])
    assert draw_sample(make(prompts=[cut])).shape[0] > draw_sample(make()).shape[0]


def test_marks():
    spans = {0: [(0, 15)], 1: [(12, 15)], 2: [(17, 20)]}
    marks = mark_tokens(CAPTION, PIECES[:5], spans, {1: (1, 2, 3)})
    assert marks[0] == Mark(0, (0,)) and marks[7] == Mark(1, (0,))
    assert marks[11] == Mark(None, (0,))  # a blank inside a phrase
    assert marks[13] == Mark(3, (1, 0))  # the phrase with a colour first
    assert marks[15] == Mark(4, ())
    assert marks[18] == Mark(None, (2,), read=False)


def test_tokens_of_two_phrases_show_both_colours():
    colors = {0: (200, 0, 0), 1: (0, 0, 200)}
    strip = np.asarray(
        draw_token_strip('a dog', [(0, 1), (2, 5)], {0: [(0, 5)], 1: [(2, 5)]}, colors, 400, 20)
    )
    assert count(strip, colors[0]) > 200 and 20 < count(strip, colors[1]) < 200
    words = [np.flatnonzero((strip == color).all(-1).any(0)) for color in colors.values()]
    assert words[0].min() < words[1].min()  # "a" belongs to the first only


def test_neighbouring_tokens_are_apart():
    strip = np.asarray(
        draw_token_strip('skateboard', PIECES[:2], {0: [(0, 10)]}, {0: (200, 0, 0)}, 400, 20)
    )
    inside = (strip == (200, 0, 0)).all(-1).any(0)
    runs = np.flatnonzero(np.diff(inside.astype(int)) == 1)
    assert len(runs) == 2


def test_odd_captions():
    for caption in ('一只猫 🐈 and\n\ta dog', ' ', 'x' * 300):
        draw_token_strip(caption, [(0, 1), (0, 1), (1, 1)], {0: [(0, 400)]}, {}, 300, 18)


def test_ranges():
    assert ranges([1, 2, 3, 7, 9, 10]) == '1–3, 7, 9–10' and ranges([4]) == '4'
