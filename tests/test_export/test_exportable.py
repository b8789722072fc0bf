"""Parts that are computed in another way for export give what the model's own parts give."""

import pytest
import torch
from torch.export import Dim

from fiber_mmdet.export.exportable import (
    AnyMapAttention,
    AnyMapPositions,
    GatheredConv,
    exportable,
)
from fiber_mmdet.models.backbone.image_tower import PositionEmbed
from fiber_mmdet.models.backbone.windows import WindowAttention
from fiber_mmdet.models.detection.deformable_conv import DeformableConv


@pytest.mark.parametrize('shift', [0, 2])
@pytest.mark.parametrize('always', [True, False])
@pytest.mark.parametrize('size', [(4, 4), (3, 2), (9, 4), (8, 12), (5, 13)])
def test_window_attention(build, size, shift, always):
    part = build(WindowAttention(16, 2, 4, shift, always))
    x = torch.randn(2, *size, 16)
    with torch.no_grad():
        torch.testing.assert_close(AnyMapAttention(part)(x), part(x), atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize('size', [(6, 6), (6, 4), (3, 11), (12, 7)])
def test_vectors_of_places(build, size):
    part = build(PositionEmbed(8, 6))
    x = torch.randn(2, *size, 8)
    with torch.no_grad():
        torch.testing.assert_close(AnyMapPositions(part)(x), part(x), atol=1e-6, rtol=0)


@pytest.mark.parametrize(
    'replaced, make',
    [
        (AnyMapAttention, lambda: WindowAttention(16, 2, 4, 2, True)),
        (AnyMapAttention, lambda: WindowAttention(16, 2, 4, 2, False)),
        (AnyMapPositions, lambda: PositionEmbed(16, 6)),
    ],
)
def test_one_recorded_program_serves_maps_of_all_sizes(build, replaced, make):
    part = build(make())
    sides = {1: 1 + Dim('rows', min=1), 2: 1 + Dim('columns', min=1)}
    with torch.no_grad():
        recorded = torch.export.export(
            replaced(part), (torch.randn(2, 9, 13, 16),), dynamic_shapes=(sides,), strict=False
        ).module(check_guards=False)
        for size in ((2, 3), (4, 4), (6, 6), (5, 3), (12, 9)):
            x = torch.randn(2, *size, 16)
            torch.testing.assert_close(recorded(x), part(x), atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize('stride', [1, 2])
@pytest.mark.parametrize('reach', [0.0, 0.7, 20.0])  # of the offsets: none, some, mostly outside
def test_deformable_convolution(build, stride, reach):
    part = build(DeformableConv(8, stride))
    x = torch.randn(2, 8, 7, 10)
    size = -(-7 // stride), -(-10 // stride)
    offset, mask = torch.randn(2, 18, *size) * reach, torch.rand(2, 9, *size)
    if reach == 20.0:
        offset[:, ::3] = -1.0  # exactly beside the map
    with torch.no_grad():
        torch.testing.assert_close(
            GatheredConv(part)(x, offset, mask), part(x, offset, mask), atol=1e-5, rtol=1e-5
        )


def test_a_copy_shares_the_weights_and_leaves_the_model_as_it_is(build, tiny_model_cfg):
    model = build(tiny_model_cfg)
    before = [type(part) for part in model.modules()]
    copied = exportable(model)
    assert [type(part) for part in model.modules()] == before
    ours = {id(value) for value in (*model.parameters(), *model.buffers())}
    assert {id(value) for value in (*copied.parameters(), *copied.buffers())} <= ours
    kinds = {type(part) for part in copied.modules()}
    assert AnyMapAttention in kinds and GatheredConv in kinds and DeformableConv not in kinds
