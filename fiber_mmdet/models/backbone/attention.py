"""Scaled dot-product attention, in the fastest way on each device."""

import torch
import torch.nn.functional as F
from torch import Tensor


def attention(
    query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None = None, dropout: float = 0.0
) -> Tensor:
    """``softmax(query key^T / sqrt(d) + mask) value``.

    By torch's fused attention, except for bfloat16 on CPUs: there, its backward pass takes
    two to ten times as long as the matrix products that it consists of.

    Args:
        query: (…, L, d).
        key: (…, M, d).
        value: (…, M, d').
        mask: broadcastable to (…, L, M), bool (True where a key is seen) or of the
            queries' type and added; None for none.
        dropout: probability of dropping a weight.

    Returns:
        (…, L, d').
    """
    if query.device.type != 'cpu' or query.dtype != torch.bfloat16:
        return F.scaled_dot_product_attention(query, key, value, mask, dropout)
    with torch.autocast('cpu', enabled=False):
        scores = (query * query.shape[-1] ** -0.5) @ key.transpose(-2, -1)
        if mask is not None:
            scores = (
                scores.masked_fill(~mask, -torch.inf) if mask.dtype == torch.bool else scores + mask
            )
        weights = scores.softmax(-1, dtype=torch.float32).to(value.dtype)
        return F.dropout(weights, dropout) @ value
