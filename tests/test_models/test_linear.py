"""The linear layer computes what torch's does."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from fiber_mmdet.models import linear
from fiber_mmdet.models.linear import Linear


def pair(bias=True):
    """Ours and torch's with the same weights."""
    torch.manual_seed(0)
    ours, theirs = Linear(24, 40, bias=bias), nn.Linear(24, 40, bias=bias)
    theirs.load_state_dict(ours.state_dict())
    return ours, theirs


@pytest.mark.parametrize('shape', [(24,), (0, 24), (3, 24), (2, 150, 24), (2, 10, 30, 24)])
@pytest.mark.parametrize('bias', [True, False])
@pytest.mark.parametrize('gelu', [True, False])
def test_outputs_with_and_without_gradients(shape, bias, gelu):
    ours, theirs = pair(bias)
    x = torch.randn(shape)
    expected = F.gelu(theirs(x)) if gelu else theirs(x)
    torch.testing.assert_close(ours(x, gelu=gelu), expected)
    with torch.no_grad():
        torch.testing.assert_close(ours(x, gelu=gelu), expected)


@pytest.mark.parametrize('rows', [4, 600])
@pytest.mark.parametrize('expanded', [True, False])
def test_gradients(rows, expanded):
    ours, theirs = pair()
    found = []
    x = torch.randn(2, rows // 2, 24)
    direction = (
        torch.ones(()).expand(2, rows // 2, 40) if expanded else torch.randn(2, rows // 2, 40)
    )
    for layer in (ours, theirs):
        inputs = x.clone().requires_grad_()
        found.append(
            torch.autograd.grad(
                layer(inputs, gelu=True) if layer is ours else F.gelu(layer(inputs)),
                [inputs, *layer.parameters()],
                direction,
            )
        )
    for mine, other in zip(*found):
        torch.testing.assert_close(mine, other, atol=1e-4, rtol=1e-4)


def test_inputs_that_are_views():
    ours, theirs = pair()
    x = torch.randn(24, 700)
    torch.testing.assert_close(ours(x.t()), theirs(x.t()))
    torch.testing.assert_close(
        ours(x.t().reshape(2, 350, 24)[:, ::2]), theirs(x.t().reshape(2, 350, 24)[:, ::2])
    )


def test_frozen_weights_get_no_gradient():
    ours, _ = pair()
    ours.requires_grad_(False)
    x = torch.randn(600, 24, requires_grad=True)
    ours(x).sum().backward()
    assert x.grad is not None and ours.weight.grad is None and ours.bias.grad is None


@pytest.mark.parametrize('dtype', [torch.bfloat16, torch.float64])
def test_other_types_are_left_to_torch(dtype):
    ours, theirs = pair()
    x = torch.randn(600, 24, dtype=dtype)
    torch.testing.assert_close(ours.to(dtype)(x), theirs.to(dtype)(x))
    with torch.autocast('cpu', torch.bfloat16):
        assert pair()[0](torch.randn(600, 24)).dtype == torch.bfloat16


def test_without_onednn_torch_does_all(monkeypatch):
    ours, theirs = pair()
    monkeypatch.setattr(linear, '_ONEDNN', None)
    x = torch.randn(600, 24)
    assert ours(x).equal(theirs(x))


def test_tracers_see_an_ordinary_linear_layer():
    layer, x = Linear(24, 40).requires_grad_(False), torch.randn(2, 150, 24)
    traced = torch.jit.trace(layer, x)
    assert 'aten::linear' in {node.kind() for node in traced.inlined_graph.nodes()}
    torch.testing.assert_close(traced(x), layer(x))
    exported = torch.export.export(layer, (x,))
    assert torch.ops.aten.linear.default in {node.target for node in exported.graph.nodes}
    torch.testing.assert_close(exported.module()(x), layer(x))
