"""Captions by GOLD: likelihood weighted by what the model expected (Pang and He, ICLR 2021)."""

from typing import TYPE_CHECKING

import torch
from torch import Tensor

from fiber_mmdet.arguments import strict_arguments

from ..batch import EncodedBatch
from .caption_copy import EMACopy
from .caption_mle import SMALL, next_tokens

if TYPE_CHECKING:
    from .caption import CaptionHead


def suffix_means(probs: Tensor, mask: Tensor) -> Tensor:
    """Mean probability of the tokens from each on.

    Args:
        probs: (R, L), 0 at padding.
        mask: (R, L) bool, False at padding.

    Returns:
        (R, L): sum of ``probs`` from t on, over the number of tokens from t on, at least 1.
    """

    def suffix_sums(x: Tensor) -> Tensor:
        return x.flip(1).cumsum(1).flip(1)

    return suffix_sums(probs) / suffix_sums(mask.to(probs)).clamp(min=1)


def gold_weights(probs: Tensor, mask: Tensor, min_weight: float) -> Tensor:
    """Weight of each token: its probability times the mean from it on, at least ``min_weight``.

    Args:
        probs: (R, L) probabilities under the lagging copy, 0 at padding.
        mask: (R, L) bool, False at padding.
        min_weight: least weight.

    Returns:
        (R, L).
    """
    return (probs * suffix_means(probs, mask)).clamp(min=min_weight)


def gold_loss(losses: Tensor, weights: Tensor, counts: Tensor) -> Tensor:
    """Weighted cross entropy, mean over captions.

    Args:
        losses: (R, L), 0 at padding.
        weights: (R, L).
        counts: (R,) what the sum over a caption is divided by.
    """
    return ((losses * weights).sum(1) / counts).mean()


@strict_arguments
class GoldLoss:
    """Off-policy policy gradient: tokens that a copy of the model expects weigh more.

    Args:
        refresh_every: see :class:`EMACopy`.
        min_weight: least weight of a token.
        legacy_denominator: as in the reference, divide the sum over a caption by
            the number of padding tokens up to ``max_tokens``, not by that of its
            words, so that longer captions count more; and in evaluation by
            ``max_tokens``.
    """

    def __init__(
        self, refresh_every: int = 1000, min_weight: float = 0.1, legacy_denominator: bool = False
    ) -> None:
        self.min_weight = min_weight
        self.legacy_denominator = legacy_denominator
        self.copy = EMACopy(refresh_every)

    def counts(self, mask: Tensor, max_tokens: int) -> Tensor:
        """What the sums over captions are divided by in training.

        Args:
            mask: (R, L) bool, False at padding.
            max_tokens: to how many tokens the reference pads.

        Returns:
            (R,).
        """
        words = mask.sum(1)
        return max_tokens - words + SMALL if self.legacy_denominator else words.clamp(min=1)

    @torch.no_grad()
    def probabilities(self, head: 'CaptionHead', batch: EncodedBatch) -> Tensor:
        """(R, L) probabilities of the next tokens under the lagging copy, 0 at padding."""
        copy = self.copy(head.parts(batch.model))
        memory = copy.look(copy.backbone.encode_image(batch.inputs['image']))
        scored = next_tokens(copy, memory, *batch.tokens)
        return (torch.exp(-scored.losses) + SMALL) * scored.mask

    def __call__(self, head: 'CaptionHead', batch: EncodedBatch) -> dict[str, Tensor]:
        """``loss``, and for the log ``accuracy`` and the mean ``weight`` of tokens.

        In evaluation the loss is the unweighted cross entropy.
        """
        parts = head.parts(batch.model)
        scored = next_tokens(parts, parts.look(batch.image()), *batch.tokens)
        max_tokens = batch.model.max_tokens
        if not head.training:
            loss = (
                scored.losses.sum() / (len(batch) * max_tokens)
                if self.legacy_denominator
                else scored.mean()
            )
            return dict(loss=loss, accuracy=scored.accuracy())
        weights = gold_weights(self.probabilities(head, batch), scored.mask, self.min_weight)
        loss = gold_loss(scored.losses, weights, self.counts(scored.mask, max_tokens))
        mean = (weights * scored.mask).sum() / scored.mask.sum().clamp(min=1)
        return dict(loss=loss, accuracy=scored.accuracy(), weight=mean)
