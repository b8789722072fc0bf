"""Captions by maximum likelihood, and what the other caption objectives share with it."""
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from ..causal_text import CausalText, ImageMemory


class NextTokens(NamedTuple):
    """Losses of the next tokens of R captions.

    Attributes:
        losses: (R, L) float32 cross entropy of the token after each, 0 where that is padding.
        mask: (R, L) bool, True where it is none.
        hits: (M,) bool, whether the likeliest word is the right one, of the M that are none.
    """
    losses: Tensor
    mask: Tensor
    hits: Tensor


def next_tokens(parts: CausalText, memory: ImageMemory, ids: Tensor, mask: Tensor) -> NextTokens:
    """Score captions, their words given the words before.

    Args:
        parts: what writes captions.
        memory: of B images.
        ids: (K * B, L) int64 with ``<s>``, K consecutive captions an image.
        mask: (K * B, L) bool, True at real tokens.
    """
    # the last column's next token is padding
    wanted = torch.cat([mask[:, 1:], torch.zeros_like(mask[:, :1])], 1)
    targets = ids.roll(-1, 1)[wanted]
    logits = parts.words(parts.features(memory, ids, mask)[wanted]).float()
    losses = logits.new_zeros(wanted.shape).masked_scatter(
        wanted, F.cross_entropy(logits, targets, reduction='none'))
    return NextTokens(losses, wanted, logits.argmax(-1) == targets)


def mean_over_tokens(scored: NextTokens) -> Tensor:
    """Mean cross entropy over all tokens of the batch, 0 if there are none."""
    return scored.losses.sum() / scored.mask.sum().clamp(min=1)


def accuracy(scored: NextTokens) -> Tensor:
    """Share of tokens that are the likeliest word, 0 if there are none."""
    return scored.hits.float().sum() / max(len(scored.hits), 1)
