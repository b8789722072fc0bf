"""Attention is the same by every way of computing it."""

import pytest
import torch
import torch.nn.functional as F

from fiber_mmdet.models.backbone.attention import attention


def masks():
    """None, a boolean mask of keys, an additive bias."""
    seen = torch.rand(2, 1, 1, 7) > 0.3
    seen[..., 0] = True
    return dict(none=None, keys=seen, bias=torch.randn(1, 3, 5, 7))


@pytest.mark.parametrize('kind', ['none', 'keys', 'bias'])
def test_bfloat16_on_cpu_is_attention_in_lower_precision(kind):
    torch.manual_seed(0)
    mask = masks()[kind]
    query, key, value = (torch.randn(2, 3, length, 8, requires_grad=True) for length in (5, 7, 7))
    exact = F.scaled_dot_product_attention(query, key, value, mask)
    half = mask.bfloat16() if kind == 'bias' else mask
    found = attention(*(x.bfloat16() for x in (query, key, value)), half)
    assert found.dtype == torch.bfloat16
    torch.testing.assert_close(found.float(), exact, atol=0.03, rtol=0.03)
    for ours, theirs in zip(
        torch.autograd.grad(found.float().square().sum(), (query, key, value)),
        torch.autograd.grad(exact.square().sum(), (query, key, value)),
    ):
        torch.testing.assert_close(ours, theirs, atol=0.1, rtol=0.1)


def test_weights_are_dropped_in_bfloat16_too():
    torch.manual_seed(0)
    ones = torch.ones(1, 1, 64, 64, dtype=torch.bfloat16)
    found = attention(ones, ones, ones, dropout=0.5)
    assert found.std() > 0.01 and abs(found.float().mean() - 1) < 0.1
    assert (attention(ones, ones, ones) == 1).all()


def test_float32_is_torchs_fused_attention():
    torch.manual_seed(0)
    query, key, value = torch.randn(3, 2, 3, 5, 8)
    assert attention(query, key, value).equal(F.scaled_dot_product_attention(query, key, value))
