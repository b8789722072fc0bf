"""Boxes of a set on one square."""

import numpy as np
import pytest
from PIL import Image

from fiber_mmdet.visualization.box_places import draw_box_places


def test_a_panel_for_each_of_the_most_frequent_names(tmp_path):
    some = np.tile([0.25, 0.25, 0.75, 0.75], (3, 1))
    draw_box_places({'a': some}, tmp_path / 'one.png')
    draw_box_places({f'{i}': some for i in range(20)} | {'none': some[:0]}, tmp_path / 'many.png')
    one, many = (Image.open(tmp_path / f'{name}.png') for name in ('one', 'many'))
    assert many.size == (4 * one.width, 3 * one.height)
    pixels = np.asarray(one.convert('RGB')).astype(int)
    red = (abs(pixels - (0xD5, 0x5E, 0)) < 40).all(-1)
    rows, columns = np.nonzero(red)
    # the median box: a square, in the middle of a square
    assert abs(np.ptp(rows) - np.ptp(columns)) < 5 and np.ptp(rows) > 100
    with pytest.raises(ValueError, match='no box'):
        draw_box_places({'none': some[:0]}, tmp_path / 'x.png')
