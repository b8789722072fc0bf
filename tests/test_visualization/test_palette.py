"""Colours of phrases and letters that can be read on them."""

import logging
from pathlib import Path
from unittest.mock import patch

import matplotlib
import pytest

from fiber_mmdet.visualization import palette
from fiber_mmdet.visualization.palette import PALETTE, ink_on, load_font, phrase_colors
from fiber_mmdet.visualization.writing import printable


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


@pytest.fixture
def fresh_font(monkeypatch):
    """No font and no warning remembered."""
    monkeypatch.setattr(palette, '_told', set())
    for remembered in (load_font, palette.lacks):
        remembered.cache_clear()
    yield monkeypatch
    for remembered in (load_font, palette.lacks):
        remembered.cache_clear()


def test_letters_that_the_font_lacks(fresh_font, caplog):
    """DejaVu has no Chinese: its labels are empty boxes, which is said once."""
    with caplog.at_level(logging.WARNING):
        for _ in range(2):
            assert printable('狗 und é, жук … 😀') == '狗 und é, жук … 😀'
    (record,) = caplog.records
    assert 'no 狗: set the environment variable FIBER_FONT' in record.getMessage()


def test_a_font_of_ones_own(fresh_font, tmp_path):
    serif = Path(matplotlib.get_data_path(), 'fonts/ttf/DejaVuSerif.ttf')
    fresh_font.setenv('FIBER_FONT', str(serif))
    assert load_font(20).getname()[0] == load_font(20, bold=True).getname()[0] == 'DejaVu Serif'
    load_font.cache_clear()
    (tmp_path / 'font.ttf').write_text('no font')
    fresh_font.setenv('FIBER_FONT', str(tmp_path / 'font.ttf'))
    with pytest.raises(ValueError, match='FIBER_FONT=.*font.ttf.* cannot be read as a font'):
        load_font(20)
