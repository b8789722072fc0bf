"""Colours of phrases and letters that can be read on them."""

from unittest.mock import patch

import matplotlib

from fiber_mmdet.visualization.palette import PALETTE, ink_on, load_font, phrase_colors


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


def test_letters_contrast_with_every_colour():
    def luminance(color):
        linear = [v / 3294.6 if v <= 10 else ((v / 255 + 0.055) / 1.055) ** 2.4 for v in color]
        return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]

    for color, _ in PALETTE:
        low, high = sorted((luminance(color), luminance(ink_on(color))))
        assert (high + 0.05) / (low + 0.05) > 4.5  # WCAG AA


def test_fallback_font():
    load_font.cache_clear()
    with patch.object(matplotlib, 'get_data_path', lambda: '/nowhere'):
        assert load_font(20).getlength('words') > 20
    load_font.cache_clear()
