"""Layers of RoBERTa, which can read the image and keep what they computed of earlier tokens."""

import torch
from mmengine.model import BaseModule
from torch import Tensor, nn

from ..linear import Linear
from .attention import attention
from .cross_attention import GatedCrossAttention
from .image_tower import MLP


class TextEmbeddings(BaseModule):
    """Word, position and type embeddings, LayerNorm, dropout (RoBERTa).

    Positions of real tokens count from ``pad_id + 1``; pads keep position ``pad_id``.

    Args:
        vocab_size: rows of the word table.
        dim: channels.
        max_positions: rows of the position table (``pad_id + 1`` more than the longest text).
        pad_id: id of the padding token.
        dropout: dropout after the norm.
        norm_eps: epsilon of the LayerNorm.
    """

    def __init__(
        self,
        vocab_size: int,
        dim: int,
        max_positions: int,
        pad_id: int,
        dropout: float,
        norm_eps: float,
    ) -> None:
        super().__init__()
        self.pad_id = pad_id
        self.word = nn.Embedding(vocab_size, dim, padding_idx=pad_id)
        self.position = nn.Embedding(max_positions, dim, padding_idx=pad_id)
        self.token_type = nn.Embedding(1, dim)
        self.norm = nn.LayerNorm(dim, eps=norm_eps)
        self.dropout = nn.Dropout(dropout)

    def forward(self, ids: Tensor, start: int = 0) -> Tensor:
        """Embed tokens.

        Args:
            ids: (B, L) int64 token ids.
            start: number of tokens before them.

        Returns:
            (B, L, dim).
        """
        real = (ids != self.pad_id).long()
        positions = (real.cumsum(1) + start) * real + self.pad_id
        x = self.word(ids) + self.position(positions) + self.token_type.weight[0]
        return self.dropout(self.norm(x))


class LayerCache:
    """Keys and values that a :class:`TextLayer` keeps from call to call.

    Attributes:
        past: of the tokens so far, (B, heads, L, C) each; None before the first.
        image: of the image, (B', heads, N, C) each, computed in the first call; B'
            divides B, and B / B' consecutive texts share an image.
    """

    def __init__(self) -> None:
        self.past: tuple[Tensor, Tensor] | None = None
        self.image: tuple[Tensor, Tensor] | None = None

    def extend(self, keys: Tensor, values: Tensor) -> tuple[Tensor, Tensor]:
        """Append keys and values of new tokens.

        Args:
            keys: (B, heads, L, C).
            values: (B, heads, L, C).

        Returns:
            Keys and values of all tokens so far, (B, heads, M, C) each.
        """
        if self.past is not None:
            keys, values = (torch.cat(pair, dim=2) for pair in zip(self.past, (keys, values)))
        self.past = keys, values
        return self.past

    def select(self, rows: Tensor) -> None:
        """Continue with other texts.

        Args:
            rows: (B,) int64, the texts to keep, in order; repetition allowed.
        """
        if self.past is not None:
            keys, values = self.past
            self.past = keys.index_select(0, rows), values.index_select(0, rows)


class SelfAttention(BaseModule):
    """Multi-head self-attention over tokens with its output projection.

    Args:
        dim: channels.
        num_heads: heads.
        dropout: dropout of the weights and after the projection.
    """

    def __init__(self, dim: int, num_heads: int, dropout: float) -> None:
        super().__init__()
        self.num_heads = num_heads
        self.query = Linear(dim, dim)
        self.key = Linear(dim, dim)
        self.value = Linear(dim, dim)
        self.proj = Linear(dim, dim)
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: Tensor, mask: Tensor | None, cache: LayerCache | None = None) -> Tensor:
        """Attend among tokens.

        Args:
            x: (B, L, dim).
            mask: bool, broadcastable to (B, heads, L, M), True where a key is seen;
                None for all.
            cache: tokens that came before these, M - L of them; these are appended.

        Returns:
            (B, L, dim), projected, without the residual.
        """
        query, key, value = (
            layer(x).unflatten(-1, (self.num_heads, -1)).transpose(1, 2)
            for layer in (self.query, self.key, self.value)
        )
        if cache is not None:
            key, value = cache.extend(key, value)
        x = attention(query, key, value, mask, self.dropout.p if self.training else 0.0)
        return self.dropout(self.proj(x.transpose(1, 2).flatten(2)))

    @torch.no_grad()
    def attend_locally(self, first: int) -> None:
        """Set queries and keys to one map of the channels from ``first`` on.

        Args:
            first: where the channels that hold positions begin; they have unit variance.
        """
        peak = 8.0  # logit of a token with itself: enough against hundreds of others at zero
        width = len(self.query.weight) // self.num_heads
        for query, key in zip(self.query.weight.split(width), self.key.weight.split(width)):
            rows = nn.init.orthogonal_(torch.empty_like(query[:, first:]))
            # of first..dim, width directions are compared, and sqrt(width) divides the logits
            rows *= (peak / min(rows.shape)) ** 0.5 * width**0.25
            query.zero_(), key.zero_()
            query[:, first:], key[:, first:] = rows, rows


class TextLayer(BaseModule):
    """RoBERTa layer (post-norm), optionally fused with the image.

    ``h = attention(x); h = h + gate * cross(h, image); x = norm(h + x);
    x = norm(ffn(x) + x)``. The query of the cross-attention is the projected
    self-attention output, without residual or norm.

    Args:
        dim: channels.
        num_heads: heads.
        ffn_dim: inner channels of the feed-forward network.
        dropout: dropout everywhere.
        norm_eps: epsilon of the LayerNorms.
        image_dim: channels of the image map it can read, or None if unfused.
    """

    def __init__(
        self,
        dim: int,
        num_heads: int,
        ffn_dim: int,
        dropout: float,
        norm_eps: float,
        image_dim: int | None = None,
    ) -> None:
        super().__init__()
        self.attention = SelfAttention(dim, num_heads, dropout)
        if image_dim is not None:
            self.image_attention = GatedCrossAttention(
                dim, image_dim, num_heads, attn_drop=dropout, proj_drop=dropout
            )
        self.attention_norm = nn.LayerNorm(dim, eps=norm_eps)
        self.ffn = MLP(dim, ffn_dim)
        self.dropout = nn.Dropout(dropout)
        self.ffn_norm = nn.LayerNorm(dim, eps=norm_eps)

    def forward(
        self,
        x: Tensor,
        mask: Tensor | None,
        image: Tensor | None = None,
        last_norm: bool = True,
        cache: LayerCache | None = None,
    ) -> Tensor:
        """Run the layer, with cross-attention when ``image`` is given.

        Args:
            x: (K * B, L, dim); K = 1 but in captioning.
            mask: bool, broadcastable to (K * B, heads, L, M), True where a key is
                seen; None for all.
            image: (B, N, image_dim) map positions, or None for the unimodal path; K
                consecutive texts read the same image.
            last_norm: apply the layer's final LayerNorm.
            cache: of the same texts and images, M - L tokens long; updated in place.

        Returns:
            (K * B, L, dim).
        """
        attended = self.attention(x, mask, cache)
        if image is not None:
            attended = attended + self._read_image(attended, image, cache)
        x = self.attention_norm(attended + x)
        x = self.dropout(self.ffn(x)) + x
        return self.ffn_norm(x) if last_norm else x

    def _read_image(self, x: Tensor, image: Tensor, cache: LayerCache | None) -> Tensor:
        if cache is None:
            return self.image_attention(x, image)
        if cache.image is None:
            cache.image = self.image_attention.keys_values(image)
        return self.image_attention.read(x, *cache.image)
