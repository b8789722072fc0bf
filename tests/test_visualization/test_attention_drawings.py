"""Drawings of attention maps."""

import numpy as np
import pytest

from fiber_mmdet.visualization.attention import DARKEST, draw_attention, shade_cells


def test_cells_are_as_bright_as_their_weight():
    white = np.full((60, 120, 3), 255, np.uint8)
    cells = np.array([[0.1, 0.4, 0.0], [0.0, 0.2, 0.0]])
    shaded = shade_cells(white, cells, side=300)
    assert shaded.shape == (150, 300, 3)
    middles = shaded[[37, 112]][:, [50, 150, 250], 0] / 255
    assert middles == pytest.approx(DARKEST + (1 - DARKEST) * cells / 0.4, abs=0.01)
    dark = shade_cells(np.zeros_like(white), cells, side=300)
    assert (dark[20, :, 0] > 0).nonzero()[0].tolist() == [100, 200]
    assert (dark[:, 20, 0] > 0).nonzero()[0].tolist() == [75]


def test_directions():
    image = np.full((60, 60, 3), 200, np.uint8)
    looks, reads = np.random.default_rng(0).random((2, 2, 4, 4))
    maps = 'a red ring', ['red', 'ring'], looks, reads, 'mean of heads'
    drawn = {name: draw_attention(image, *maps, name) for name in ('looks', 'reads', 'both')}
    assert drawn['looks'].shape == drawn['reads'].shape
    assert (drawn['looks'] != drawn['reads']).any()
    assert drawn['both'].shape[0] > 1.8 * drawn['looks'].shape[0]
    with pytest.raises(ValueError, match="'sees'.*'looks', 'reads' or 'both'"):
        draw_attention(image, *maps, 'sees')
