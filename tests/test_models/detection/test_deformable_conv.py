"""The deformable convolution gives the values and gradients of mmcv's kernel."""

import pytest
import torch
from mmcv.ops import modulated_deform_conv2d

from fiber_mmdet.models.detection import deformable_conv
from fiber_mmdet.models.detection.deformable_conv import DeformableConv


def case(batch, channels, height, width, stride, spread=3.0, dtype=torch.float64):
    """A layer, and input, offsets (many of them off the map) and mask that need gradients."""
    torch.manual_seed(0)
    layer = DeformableConv(channels, stride).to(dtype)
    torch.nn.init.normal_(layer.bias)
    size = (height - 1) // stride + 1, (width - 1) // stride + 1
    inputs = (
        torch.randn(batch, channels, height, width),
        torch.randn(batch, 18, *size) * spread,
        torch.rand(batch, 9, *size),
    )
    return layer, [value.to(dtype).requires_grad_() for value in inputs]


@pytest.mark.parametrize('shape', [(2, 8, 7, 9), (1, 4, 1, 1), (3, 4, 2, 11), (1, 8, 16, 5)])
@pytest.mark.parametrize('stride', [1, 2])
def test_values_and_gradients_are_those_of_mmcv(shape, stride):
    layer, inputs = case(*shape, stride)
    expected = modulated_deform_conv2d(*inputs, layer.weight, layer.bias, stride, 1, 1, 1, 1)
    found = layer(*inputs)
    torch.testing.assert_close(found, expected)
    direction = torch.randn_like(expected)
    wanted = [*inputs, layer.weight, layer.bias]
    for ours, theirs in zip(
        torch.autograd.grad(found, wanted, direction),
        torch.autograd.grad(expected, wanted, direction),
    ):
        torch.testing.assert_close(ours, theirs)


@pytest.mark.parametrize('at', [-2.0, -1.0, -0.5, 0.0, 3.0, 3.5, 4.0, 40.0])
def test_samples_at_and_beyond_the_border(at):
    layer, (x, offset, mask) = case(1, 2, 4, 4, 1)
    offset = torch.full_like(offset, at)
    torch.testing.assert_close(
        layer(x, offset, mask),
        modulated_deform_conv2d(x, offset, mask, layer.weight, layer.bias, 1, 1, 1, 1),
    )


def test_blocks_do_not_show(monkeypatch):
    layer, inputs = case(2, 4, 9, 6, 1)
    whole = layer(*inputs)
    gradients = torch.autograd.grad(whole.square().sum(), inputs)
    monkeypatch.setattr(deformable_conv, 'BLOCK', 12)  # two rows of six at a time
    parts = layer(*inputs)
    torch.testing.assert_close(parts, whole)
    for ours, theirs in zip(torch.autograd.grad(parts.square().sum(), inputs), gradients):
        torch.testing.assert_close(ours, theirs)


def test_single_precision_stays_close():
    layer, inputs = case(2, 16, 20, 24, 1, dtype=torch.float32)
    expected = modulated_deform_conv2d(*inputs, layer.weight, layer.bias, 1, 1, 1, 1, 1)
    torch.testing.assert_close(layer(*inputs), expected, atol=1e-5, rtol=1e-5)


def test_offsets_of_another_size_are_refused():
    layer, (x, offset, mask) = case(1, 2, 6, 6, 2)
    with pytest.raises(ValueError, match=r'stride 2 takes offsets and masks of \(3, 3\)'):
        layer(x, offset[..., :2, :], mask)


def test_weights_are_named_as_in_mmcv():
    layer, _ = case(1, 2, 4, 4, 1)
    assert sorted(layer.state_dict()) == ['bias', 'weight']
