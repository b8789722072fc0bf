"""Gated cross-attention: the fusion in the backbone (FIBER paper, section 3.1)."""

import torch
from mmengine.model import BaseModule
from torch import Tensor, nn

from ..linear import Linear
from .attention import attention


class GatedCrossAttention(BaseModule):
    """Cross-attention whose output is scaled by a learned gate that starts at zero.

    ``out = gate * proj(softmax(q(x) k(context)^T / sqrt(d)) v(context))``

    At initialisation the towers are therefore exactly their unimodal selves.
    The same module serves both directions: image queries over text tokens and
    text queries over image positions. An image query meets every text token, so
    the attention runs over all positions of the map at once, without windows.

    Args:
        dim: channels of the queries and of the output.
        context_dim: channels of the other modality.
        num_heads: heads; ``dim`` must be divisible by it.
        query_norm: LayerNorm on the query (the layout used for referring
            expressions and for the image-text stage).
        attn_drop: dropout of the attention weights.
        proj_drop: dropout after the output projection.
    """

    def __init__(
        self,
        dim: int,
        context_dim: int,
        num_heads: int,
        query_norm: bool = False,
        attn_drop: float = 0.0,
        proj_drop: float = 0.0,
    ) -> None:
        super().__init__()
        self.num_heads = num_heads
        self.attn_drop = attn_drop
        self.query_norm = nn.LayerNorm(dim) if query_norm else nn.Identity()
        self.query = Linear(dim, dim)
        self.key = Linear(context_dim, dim)
        self.value = Linear(context_dim, dim)
        self.proj = Linear(dim, dim)
        self.proj_drop = nn.Dropout(proj_drop)
        self.gate = nn.Parameter(torch.zeros(1))

    def forward(self, x: Tensor, context: Tensor, mask: Tensor | None = None) -> Tensor:
        """Read from the other modality.

        Args:
            x: (K * B, N, dim) queries; K consecutive rows read the same context.
            context: (B, M, context_dim) keys and values.
            mask: (B, M) bool, True where a context position is real; None for all.

        Returns:
            (K * B, N, dim), gated; the caller adds it to ``x``.
        """
        return self.read(x, *self.keys_values(context), mask)

    def keys_values(self, context: Tensor) -> tuple[Tensor, Tensor]:
        """(B, M, context_dim) to keys and values, (B, heads, M, dim / heads) each."""
        return tuple(
            layer(context).unflatten(-1, (self.num_heads, -1)).transpose(1, 2)
            for layer in (self.key, self.value)
        )

    def read(self, x: Tensor, keys: Tensor, values: Tensor, mask: Tensor | None = None) -> Tensor:
        """The rest of :meth:`forward`.

        Args:
            x: (K * B, N, dim) queries; K consecutive rows read the same context.
            keys: (B, heads, M, dim / heads).
            values: as the keys.
            mask: (B, M) bool, True where a context position is real; None for all.

        Returns:
            (K * B, N, dim), gated.
        """
        # queries do not see each other, so those of one context can be one row
        rows = x.reshape(keys.shape[0], -1, x.shape[-1])
        query = self.query(self.query_norm(rows)).unflatten(-1, (self.num_heads, -1))
        out = attention(
            query.transpose(1, 2),
            keys,
            values,
            None if mask is None else mask[:, None, None, :],
            self.attn_drop if self.training else 0.0,
        )
        out = out.transpose(1, 2).flatten(2)
        return (self.gate * self.proj_drop(self.proj(out))).view_as(x)
