"""Pictures of results: whole, legible and honest about what was not found."""

import numpy as np
import pytest

from fiber_mmdet.apis import GroundingResult, draw_result
from fiber_mmdet.text import category_prompt, parse_prompt
from fiber_mmdet.visualization.caption_strip import draw_strip
from fiber_mmdet.visualization.drawing import _overlap, _place
from fiber_mmdet.visualization.palette import PALETTE, ink_on, load_font, phrase_colors

GREY = 90


def make(prompt, boxes, labels, size=(240, 320)):
    """A result with made-up boxes."""
    return GroundingResult(
        np.array(boxes, np.float32).reshape(-1, 4),
        np.linspace(0.9, 0.5, len(boxes)),
        np.array(labels, np.int64),
        prompt.phrases,
        prompt.spans,
        prompt.caption,
        size,
    )


def blank(size=(240, 320)):
    return np.full((*size, 3), GREY, np.uint8)


def count(picture, color):
    return int((picture == color).all(-1).sum())


@pytest.fixture
def result():
    return make(
        parse_prompt('a red circle, a blue star and a red circle'),
        [[20, 20, 90, 90], [200, 120, 300, 200], [30, 150, 80, 200]],
        [0, 1, 0],
    )


def test_one_colour_a_phrase(result):
    picture = draw_result(blank(), result)
    assert picture.dtype == np.uint8 and picture.shape[1] == 768 and picture.shape[0] > 576
    colors = phrase_colors(result.phrases, [0, 1, 2])
    assert colors[0] == colors[2] != colors[1]
    for color in colors.values():
        assert count(picture[:576], color) > 500 and count(picture[576:], color) > 500
    assert not any(count(picture, color) for color, _ in PALETTE if color not in colors.values())


def test_image_and_result_stay_as_they_are(result):
    image = blank()
    picture = draw_result(image, result, score_thr=0.95)
    assert (image == GREY).all() and len(result) == 3
    assert (picture[:576] == GREY).all() and picture[576:].min() < 200  # a grey caption on white


@pytest.mark.parametrize('size', [(1, 1), (12, 900), (900, 12), (2000, 1500)])
def test_any_size_and_degenerate_boxes(size):
    h, w = size
    boxes = [[0, 0, w, h], [0, 0, 0, 0], [w - 1, h - 1, w, h], [5, 5, 3, 3]]
    result = make(category_prompt(['thing ' * 30, 'b']), boxes, [0, 1, 0, 1], size)
    picture = draw_result(blank(size), result)
    assert picture.shape[1] >= 480 and max(picture.shape[:2]) >= 768


def test_nothing_found():
    result = make(parse_prompt('a dog on a sofa'), [], [])
    assert draw_result(blank(), result).shape[1] == 768


def test_errors(result):
    with pytest.raises(ValueError, match='320x240.*10x20'):
        draw_result(blank((20, 10)), result)
    with pytest.raises(ValueError, match='uint8'):
        draw_result(blank().astype(float), result)
    with pytest.raises(ValueError, match='as pixels'):
        result.draw()


def test_writes_the_picture(result, tmp_path):
    from PIL import Image

    picture = result.draw(blank(), tmp_path / 'new' / 'picture.png')
    np.testing.assert_array_equal(np.asarray(Image.open(tmp_path / 'new' / 'picture.png')), picture)


# ------------------------------------------------------------------ tags
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


# --------------------------------------------------------------- colours
def test_phrases_get_the_colour_they_name_while_it_is_free():
    named = {word: color for color, words in PALETTE for word in words.split()}
    colors = phrase_colors(['a red car', 'the Blue bus', 'a red dog', 'sky'], [0, 1, 2, 3])
    assert colors[0] == named['red'] and colors[1] == named['blue']
    assert len(set(colors.values())) == 4


def test_colours_are_stable_and_distinct():
    names = [f'thing {i}' for i in range(12)]
    everything = phrase_colors(names, list(range(12)))
    assert len(set(everything.values())) == 12
    assert phrase_colors(names, [7]) == {7: everything[7]}
    # of eighty categories those that are drawn get the distinct ones
    many = phrase_colors([f'thing {i}' for i in range(80)], list(range(40, 80, 5)))
    assert len(many) == len(set(many.values())) == 8
    assert len(phrase_colors([f'thing {i}' for i in range(80)], list(range(80)))) == 80


def test_ink_reads_on_every_colour():
    def luminance(color):
        linear = [v / 3294.6 if v <= 10 else ((v / 255 + 0.055) / 1.055) ** 2.4 for v in color]
        return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]

    for color, _ in PALETTE:
        low, high = sorted((luminance(color), luminance(ink_on(color))))
        assert (high + 0.05) / (low + 0.05) > 4.5  # WCAG AA


# --------------------------------------------------------------- caption
def strip(prompt, counts, width=768, size=18):
    colors = phrase_colors(prompt.phrases, list(counts))
    return draw_strip(prompt.caption, prompt.phrases, prompt.spans, counts, colors, width, size)


def test_strip_grows_with_the_caption():
    short = strip(parse_prompt('a dog'), {0: 1})
    long = strip(parse_prompt('a dog and a cat beside a very old table in a room ' * 2), {0: 1})
    assert short.width == long.width == 768 and long.height > short.height


def test_long_vocabulary_lists_what_was_found():
    prompt = category_prompt([f'category number {i}' for i in range(80)])
    assert strip(prompt, {3: 2, 70: 1}).height == strip(parse_prompt('a dog'), {0: 1}).height
    assert strip(prompt, {}).height == strip(parse_prompt('a dog'), {0: 1}).height


def test_words_without_blanks_are_cut_rather_than_lost():
    image = np.asarray(strip(parse_prompt('x' * 150, tokens_positive=-1), {}))
    assert (image[:, -14:] == 255).all() and image.shape[0] > 4 * 18 + 28


def test_unknown_letters_and_newlines_do_no_harm():
    caption = 'a dog\n\tand 一只猫 🐈'
    strip(parse_prompt(caption, tokens_positive=[[[0, 5]], [[10, 13]]]), {0: 1, 1: 3})


def test_fallback_font():
    from unittest.mock import patch

    import matplotlib

    load_font.cache_clear()
    with patch.object(matplotlib, 'get_data_path', lambda: '/nowhere'):
        assert load_font(20).getlength('words') > 20
    load_font.cache_clear()
