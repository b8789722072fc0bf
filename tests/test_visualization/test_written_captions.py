"""Captions of results, and captions cut into tokens."""

import numpy as np

from fiber_mmdet.text import category_prompt, parse_prompt
from fiber_mmdet.visualization.captions import NOT_FOUND, token_styles, write_caption, write_tokens
from fiber_mmdet.visualization.palette import phrase_colors

CAPTION = 'skateboard. dog. cat'
TOKENS = ((0, 5), (5, 10), (10, 11), (12, 15), (15, 16), (17, 20))
RED, BLUE = (200, 0, 0), (0, 0, 200)


def count(image, color):
    return int((image == color).all(-1).sum())


def write(prompt, counts, width=768, size=18):
    colors = phrase_colors(prompt.phrases, list(counts))
    return write_caption(prompt.caption, prompt.phrases, prompt.spans, counts, colors, width, size)


# ------------------------------------------------------------------------- of a result
def test_block_grows_with_the_caption():
    short = write(parse_prompt('a dog'), {0: 1})
    long = write(parse_prompt('a dog and a cat beside a very old table in a room ' * 2), {0: 1})
    assert short.width == long.width == 768 and long.height > short.height


def test_long_vocabulary_lists_what_was_found():
    prompt = category_prompt([f'category number {i}' for i in range(80)])
    line = write(parse_prompt('a dog'), {0: 1}).height
    assert write(prompt, {3: 2, 70: 1}).height == line
    assert write(prompt, {}).height == line


def test_phrases_that_were_not_found_are_grey():
    prompt = parse_prompt('a red circle and a blue star')
    found, color = np.asarray(write(prompt, {0: 1})), phrase_colors(prompt.phrases, [0])[0]
    assert count(found, color) > 500 and count(found, NOT_FOUND) > 50
    assert count(np.asarray(write(prompt, {0: 1, 1: 1})), NOT_FOUND) == 0


def test_words_without_blanks_are_cut_rather_than_lost():
    image = np.asarray(write(parse_prompt('x' * 150, tokens_positive=-1), {}))
    assert (image[:, -14:] == 255).all() and image.shape[0] > 4 * 18 + 28


def test_unknown_letters_and_newlines_do_no_harm():
    caption = 'a dog\n\tand 一只猫 🐈'
    write(parse_prompt(caption, tokens_positive=[[[0, 5]], [[10, 13]]]), {0: 1, 1: 3})


# --------------------------------------------------------------------------- in tokens
def test_styles_of_characters():
    spans = {0: [(0, 15)], 1: [(12, 15)], 2: [(17, 20)]}
    styles = token_styles(CAPTION, TOKENS[:5], spans, {1: BLUE})
    assert styles[0].fill == (255, 255, 255) and styles[0].outline  # a phrase without a colour
    assert styles[0] == styles[4] != styles[5]  # its second token
    assert styles[11].fill is None  # a blank inside a phrase
    assert styles[13].fill == BLUE and styles[13].bold  # the phrase with a colour first
    assert styles[15].fill and not styles[15].outline  # a token of no phrase
    assert styles[18].struck and not any(style.struck for style in styles[:17])


def test_tokens_of_two_phrases_show_both_colours():
    spans = {0: [(0, 5)], 1: [(2, 5)]}
    block = np.asarray(write_tokens('a dog', [(0, 1), (2, 5)], spans, {0: RED, 1: BLUE}, 400, 20))
    assert count(block, RED) > 200 and 20 < count(block, BLUE) < 200
    words = [np.flatnonzero((block == color).all(-1).any(0)) for color in (RED, BLUE)]
    assert words[0].min() < words[1].min()  # "a" belongs to the first only


def test_neighbouring_tokens_are_apart():
    block = np.asarray(write_tokens('skateboard', TOKENS[:2], {0: [(0, 10)]}, {0: RED}, 400, 20))
    inside = (block == RED).all(-1).any(0)
    assert len(np.flatnonzero(np.diff(inside.astype(int)) == 1)) == 2


def test_odd_captions():
    for caption in ('一只猫 🐈 and\n\ta dog', ' ', 'x' * 300):
        write_tokens(caption, [(0, 1), (0, 1), (1, 1)], {0: [(0, 400)]}, {}, 300, 18)
