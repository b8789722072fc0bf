"""GOLD: likelihood weighted by what the model expected (Pang and He, ICLR 2021)."""

import copy

import torch
from mmdet.registry import MODELS
from torch import Tensor, nn

from fiber_mmdet.arguments import strict_arguments

from ...weights_version import weights_version
from ..batch import EncodedBatch
from ..caption_decoder import CaptionDecoder
from ..captioner import Captioner
from .caption_objective import SMALL, CaptionObjective, refuse_shards


@MODELS.register_module()
@strict_arguments
class GoldLoss(CaptionObjective):
    """Off-policy policy gradient: tokens that a copy of the model expects weigh more.

    Args:
        refresh_every: see :class:`PeriodicCopy`.
        min_weight: least weight of a token.
        legacy_denominator: reproduce the reference: divide the sum over a caption by
            the number of padding tokens up to ``max_tokens``, not by the number of its
            words, so that longer captions count more; in evaluation divide by
            ``max_tokens``.

    Raises:
        ValueError: ``refresh_every`` is less than 1.
    """

    def __init__(
        self, refresh_every: int = 1000, min_weight: float = 0.1, legacy_denominator: bool = False
    ) -> None:
        super().__init__()
        self.min_weight = min_weight
        self.legacy_denominator = legacy_denominator
        self.copy = PeriodicCopy(refresh_every)

    def counts(self, mask: Tensor, max_tokens: int) -> Tensor:
        """(R,) divisor of each caption's sum in training.

        Args:
            mask: (R, L) bool, False at padding.
            max_tokens: length to which the reference pads.
        """
        words = mask.sum(1)
        return max_tokens - words + SMALL if self.legacy_denominator else words.clamp(min=1)

    @torch.no_grad()
    def probabilities(self, captioner: Captioner, batch: EncodedBatch) -> Tensor:
        """(R, L) probabilities of the next tokens under the copy, 0 at padding."""
        decoder = self.copy(captioner.decoder)
        states = decoder.encode(decoder.backbone.encode_image(batch.pixels()))
        scored = decoder.score(captioner.for_captions(states, batch), *batch.tokens)
        return (torch.exp(-scored.losses) + SMALL) * scored.mask

    def loss(self, captioner: Captioner, batch: EncodedBatch) -> dict[str, Tensor]:
        """``loss``; for the log ``accuracy`` and, in training, the mean ``weight`` of tokens.

        In evaluation the loss is the unweighted cross entropy.

        Raises:
            RuntimeError: the weights are sharded over processes.
        """
        if self.training:
            refuse_shards(self, captioner, 'copies the weights, of which each process has a shard')
        states = captioner.for_captions(captioner.states(batch), batch)
        scored = captioner.score(states, *batch.tokens)
        max_tokens = batch.model.max_tokens
        if not self.training:
            loss = (
                scored.losses.sum() / (len(batch) * max_tokens)
                if self.legacy_denominator
                else scored.mean()
            )
            return dict(loss=loss, accuracy=scored.accuracy())
        weights = gold_weights(self.probabilities(captioner, batch), scored.mask, self.min_weight)
        loss = gold_loss(scored.losses, weights, self.counts(scored.mask, max_tokens))
        mean = (weights * scored.mask).sum() / scored.mask.sum().clamp(min=1)
        return dict(loss=loss, accuracy=scored.accuracy(), weight=mean)


def suffix_means(probs: Tensor, mask: Tensor) -> Tensor:
    """Mean probability of the tokens from each position to the end.

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
    """(R, L) weights: each token's probability times the mean from it on, bounded below.

    Args:
        probs: (R, L) probabilities under the copy, 0 at padding.
        mask: (R, L) bool, False at padding.
        min_weight: least weight.
    """
    return (probs * suffix_means(probs, mask)).clamp(min=min_weight)


def gold_loss(losses: Tensor, weights: Tensor, counts: Tensor) -> Tensor:
    """Weighted cross entropy, mean over captions.

    Args:
        losses: (R, L), 0 at padding.
        weights: (R, L).
        counts: (R,) divisor of each caption's sum.
    """
    return ((losses * weights).sum(1) / counts).mean()


class PeriodicCopy:
    """The decoder as it was some steps ago, in evaluation mode, without gradient.

    It is not part of the model: not trained, moved, averaged or saved with it.
    It is made at first use, also after resuming, and takes as much memory as the
    weights. Each process has its own; they are equal.

    Args:
        refresh_every: optimiser steps after which the weights are copied again.

    Raises:
        ValueError: ``refresh_every`` is less than 1.
    """

    def __init__(self, refresh_every: int = 1000) -> None:
        if refresh_every < 1:
            raise ValueError(f'refresh_every={refresh_every} must be at least 1')
        self.refresh_every = refresh_every
        self.decoder: CaptionDecoder | None = None
        self.steps = 0
        self._state: tuple[int, Tensor] | None = None

    def __call__(self, decoder: CaptionDecoder) -> CaptionDecoder:
        """The copy for the training iteration of ``decoder`` that begins."""
        # accumulated gradients are one step: only steps of an optimiser change weights
        before, now = self._state, weights_version(decoder)
        self._state = now
        self.steps += before is None or not (before[0] == now[0] and torch.equal(before[1], now[1]))
        if self.decoder is None:
            self.decoder = _frozen_copy(decoder)
            self.steps = 0
        elif self.steps >= self.refresh_every:
            parts: tuple[nn.Module, ...] = self.decoder
            current: tuple[nn.Module, ...] = decoder
            for mine, part in zip(parts, current):
                mine.load_state_dict(part.state_dict())
            self.steps = 0
        return self.decoder

    def __deepcopy__(self, memo: dict) -> 'PeriodicCopy':
        """Without the weights, which an average of the model does not need."""
        return PeriodicCopy(self.refresh_every)


def _frozen_copy(decoder: CaptionDecoder) -> CaptionDecoder:
    frozen = copy.deepcopy(decoder)
    for part in frozen:
        part.eval().requires_grad_(False)
        for parameter in part.parameters():
            parameter.grad = None
    return frozen
