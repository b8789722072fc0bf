"""Captions by maximum likelihood, and what the other caption objectives share with it."""

from typing import TYPE_CHECKING, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from ..batch import EncodedBatch
from ..caption_decoder import CaptionDecoder, ImageMemory

if TYPE_CHECKING:
    from .caption import CaptionHead

SMALL = 1e-9  # added to probabilities and counts, as in the reference


class NextTokens(NamedTuple):
    """How well the next tokens of R captions are predicted.

    Attributes:
        losses: (R, L) float32 cross entropy of the token after each, 0 where that is padding.
        mask: (R, L) bool, True where it is not.
        hits: (M,) bool, of the M that are not, whether the likeliest word is the right one.
    """

    losses: Tensor
    mask: Tensor
    hits: Tensor

    def mean(self) -> Tensor:
        """Mean cross entropy over the tokens of the batch, 0 if there are none."""
        return self.losses.sum() / self.mask.sum().clamp(min=1)

    def accuracy(self) -> Tensor:
        """Share of tokens that are the likeliest word, 0 if there are none."""
        return self.hits.float().sum() / max(len(self.hits), 1)


def next_tokens(
    parts: CaptionDecoder, memory: ImageMemory, ids: Tensor, mask: Tensor
) -> NextTokens:
    """Score captions, each word given the words before.

    Args:
        parts: what writes captions.
        memory: of B images.
        ids: (K * B, L) int64 with ``<s>``, K consecutive captions an image.
        mask: (K * B, L) bool, True at real tokens.
    """
    # the token after the last column is padding
    wanted = torch.cat([mask[:, 1:], torch.zeros_like(mask[:, :1])], 1)
    targets = ids.roll(-1, 1)[wanted]
    logits = parts.words(parts.features(memory, ids, mask)[wanted]).float()
    losses = logits.new_zeros(wanted.shape).masked_scatter(
        wanted, F.cross_entropy(logits, targets, reduction='none')
    )
    return NextTokens(losses, wanted, logits.argmax(-1) == targets)


class MLELoss:
    """Mean cross entropy over all tokens of the batch."""

    def __call__(self, head: 'CaptionHead', batch: EncodedBatch) -> dict[str, Tensor]:
        """``loss``, and ``accuracy``, the share of words guessed rightly."""
        parts = head.parts(batch.model)
        scored = next_tokens(parts, parts.look(batch.image()), *batch.tokens)
        return dict(loss=scored.mean(), accuracy=scored.accuracy())
