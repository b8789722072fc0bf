"""From tower outputs to the joint space: projections, poolers and the LM head."""

from typing import NamedTuple

import torch
from mmengine.model import BaseModule
from torch import Tensor, nn

from ..linear import Linear, init_linears


class PairFeatures(NamedTuple):
    """Fused image-text pairs in the joint space.

    Attributes:
        text: (B, L, dim) text tokens.
        image: (B, N, dim) positions of the last map, row by row.
        pooled: (B, 2 * dim), the pooled text, then the pooled image.
        mask: (B, L) bool, True at real tokens.
    """

    text: Tensor
    image: Tensor
    pooled: Tensor
    mask: Tensor


class Pooler(BaseModule):
    """Linear layer and tanh.

    Args:
        dim: channels in and out.
    """

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.dense = nn.Linear(dim, dim)

    def forward(self, x: Tensor) -> Tensor:
        """(B, dim) to (B, dim)."""
        return torch.tanh(self.dense(x))


class JointProjection(BaseModule):
    """Projections of both towers to one width, and their poolers.

    Text is pooled at its first token, an image as the mean of its positions. The model
    has two of these: ``fused`` for fused pairs, ``contrast`` for each modality alone.

    Args:
        text_dim: channels of the text tower.
        image_dim: channels of the last image stage.
        dim: channels of the joint space.
    """

    def __init__(self, text_dim: int, image_dim: int, dim: int) -> None:
        super().__init__()
        self.text_proj = nn.Linear(text_dim, dim)
        self.image_proj = nn.Linear(image_dim, dim)
        self.text_pooler = Pooler(dim)
        self.image_pooler = Pooler(dim)

    def text(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """(B, L, text_dim) states to (B, L, dim) tokens and their (B, dim) summary."""
        x = self.text_proj(x)
        return x, self.text_pooler(x[:, 0])

    def image(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """(B, H, W, image_dim) map to (B, H * W, dim) positions and their (B, dim) summary."""
        x = self.image_proj(x.flatten(1, 2))
        return x, self.image_pooler(x.mean(1))

    def init_weights(self) -> None:
        """See :func:`init_linears`."""
        init_linears(self)


class LMHead(BaseModule):
    """Logits over the vocabulary, for masked and causal language modelling.

    Not tied to the word embeddings.

    Args:
        dim: channels of the tokens.
        vocab_size: words.
    """

    def __init__(self, dim: int, vocab_size: int) -> None:
        super().__init__()
        self.dense = Linear(dim, dim)
        self.norm = nn.LayerNorm(dim, eps=1e-12)  # the reference's, unlike RoBERTa's own 1e-5
        self.decoder = Linear(dim, vocab_size, bias=False)
        self.bias = nn.Parameter(torch.zeros(vocab_size))

    def forward(self, x: Tensor) -> Tensor:
        """(…, dim) to (…, vocab_size)."""
        return self.decoder(self.norm(self.dense(x, gelu=True))) + self.bias

    def init_weights(self) -> None:
        """See :func:`init_linears`."""
        init_linears(self)
