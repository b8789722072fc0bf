"""Captions by their CIDEr-D: self-critical sequence training (Rennie et al., CVPR 2017)."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from functools import cached_property
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from fiber_mmdet.arguments import strict_arguments

from ..batch import EncodedBatch
from ..beam_search import SpecialTokens
from ..caption_decoder import CaptionDecoder, ImageMemory, IncrementalDecoder
from ..decoding import Draw, sample, with_replacement
from .caption_mle import SMALL, next_tokens

if TYPE_CHECKING:
    from fiber_mmdet.text.cider_d import CiderD

    from .caption import CaptionHead

LEAVE_ONE_OUT = 'leave-one-out'


@strict_arguments
class CiderLoss:
    """Samples of the model, made likelier where their CIDEr-D is above the baseline.

    The image is encoded once, with drop path, for its caption, for drawing and for
    scoring the samples. In evaluation there are no samples, and the loss is the weighted
    likelihood of the caption alone.

    Args:
        df_file: document frequencies, see :func:`read_document_frequency`.
        samples: captions drawn an image.
        mle_weight: weight of the likelihood of the caption; the rest is that of the samples.
        baseline: reward without effect: a number, or 'leave-one-out', the mean of the
            image's other samples.
        legacy: as the reference: texts go to the scorer split at blanks, neither
            in small letters nor without punctuation but for a last period; dropout
            is on when samples are drawn, and their first words differ; the
            samples' loss is their sum, not their mean, times 100.

    Raises:
        ValueError: no ``df_file``, an unknown ``baseline``, or too few samples.
    """

    def __init__(
        self,
        df_file: str | None = None,
        samples: int = 5,
        mle_weight: float = 0.3,
        baseline: str | float = LEAVE_ONE_OUT,
        legacy: bool = False,
    ) -> None:
        if df_file is None:
            raise ValueError(
                "objective='cider' needs cider=dict(df_file=…), the document "
                'frequencies of n-grams: write them with tools/build_cider_df.py'
            )
        if isinstance(baseline, str) and baseline != LEAVE_ONE_OUT:
            raise ValueError(f'baseline={baseline!r} must be a number or {LEAVE_ONE_OUT!r}')
        least = 2 if baseline == LEAVE_ONE_OUT else 1
        if samples < least:
            raise ValueError(
                f'samples={samples} must be at least {least} with baseline={baseline!r}'
            )
        self.df_file = df_file
        self.samples = samples
        self.mle_weight = mle_weight
        self.baseline = baseline
        self.legacy = legacy

    @cached_property
    def cider(self) -> 'CiderD':
        """The scorer, read when the first batch is trained on."""
        from fiber_mmdet.text.cider_d import CiderD  # metrics are built on models

        return CiderD.load(self.df_file)

    def __call__(self, head: 'CaptionHead', batch: EncodedBatch) -> dict[str, Tensor]:
        """``loss``; for the log its terms ``mle`` and ``policy``, ``reward``, ``accuracy``."""
        parts = head.parts(batch.model)
        memory = parts.look(batch.image())
        scored = next_tokens(parts, memory, *batch.tokens)
        mle = scored.mean()
        if not head.training:
            return dict(loss=self.mle_weight * mle, accuracy=scored.accuracy())
        start, special = head.special_tokens(batch.model)
        texts = self.draw(parts, memory, start, special, head.max_new_tokens)
        log_probs = self.log_probs(parts, memory, start, special, texts)
        rewards = self.rewards(head.decode(batch.model, texts), batch.field('captions'))
        policy = self.policy_loss(log_probs, rewards.to(log_probs))
        return dict(
            loss=self.mle_weight * mle + (1 - self.mle_weight) * policy,
            mle=mle.detach(),
            policy=policy.detach(),
            reward=rewards.mean().to(mle),
            accuracy=scored.accuracy(),
        )

    def draw(
        self,
        parts: CaptionDecoder,
        memory: ImageMemory,
        start: int,
        special: SpecialTokens,
        max_new_tokens: int,
        draw: Draw | None = None,
    ) -> Tensor:
        """Sample captions.

        Args:
            parts: what writes captions.
            memory: of B images.
            start: id of ``<s>``.
            special: token ids.
            max_new_tokens: longest caption, the end counted.
            draw: see :func:`sample`; None for random draws.

        Returns:
            (B * samples, T) int64 without ``<s>``.
        """
        if draw is None:
            draw = torch.multinomial if self.legacy else with_replacement
        first = torch.full((len(memory.tokens),), start, device=memory.tokens.device)
        with nullcontext() if self.legacy else evaluation_mode(parts.backbone.text):
            return sample(
                IncrementalDecoder(parts, memory),
                first,
                special,
                max_new_tokens,
                self.samples,
                draw=draw,
            )

    def words(self, text: str) -> list[str]:
        """A caption as the scorer reads it."""
        from fiber_mmdet.text.cider_d import EOS, caption_words

        if not self.legacy:
            return caption_words(text) + self.cider.ends
        return text.strip().removesuffix('.').split() + [EOS]

    def rewards(self, texts: Sequence[str], references: Sequence[Sequence[str]]) -> Tensor:
        """CIDEr-D, from 0 to 10, of the samples of B images.

        Args:
            texts: B * samples captions.
            references: of each image all its captions.

        Returns:
            (B, samples) float32.
        """
        samples = [self.words(text) for text in texts]
        return torch.tensor(
            [
                self.cider.scores(
                    samples[i * self.samples : (i + 1) * self.samples],
                    [self.words(text) for text in captions],
                )
                for i, captions in enumerate(references)
            ]
        )

    def log_probs(
        self,
        parts: CaptionDecoder,
        memory: ImageMemory,
        start: int,
        special: SpecialTokens,
        texts: Tensor,
    ) -> Tensor:
        """Mean log-probability of the tokens of each sample, with gradient.

        Args:
            parts: what writes captions.
            memory: of B images.
            start: id of ``<s>``.
            special: token ids.
            texts: (B * samples, T) int64 without ``<s>``.

        Returns:
            (B, samples).
        """
        ids = torch.cat([torch.full_like(texts[:, :1], start), texts], 1)
        scored = next_tokens(parts, memory, ids, ids != special.pad)
        logs = torch.log(torch.exp(-scored.losses) + SMALL) * scored.mask  # the reference's floor
        return (logs.sum(1) / scored.mask.sum(1).clamp(min=1)).view(-1, self.samples)

    def policy_loss(self, log_probs: Tensor, rewards: Tensor) -> Tensor:
        """Minus log-probability times reward above the baseline.

        Args:
            log_probs: (B, samples), at least two for 'leave-one-out'.
            rewards: (B, samples).

        Returns:
            The mean; with ``legacy`` 100 times the sum over samples, mean over images.
        """
        baseline = self.baseline
        if baseline == LEAVE_ONE_OUT:
            baseline = (rewards.sum(1, keepdim=True) - rewards) / (rewards.shape[1] - 1)
        loss = -(log_probs * (rewards - baseline)).mean()
        return 100 * rewards.shape[1] * loss if self.legacy else loss


@contextmanager
def evaluation_mode(module: nn.Module) -> Iterator[None]:
    """Evaluation mode inside; afterwards each part is in the mode that it was in."""
    modes = {part: part.training for part in module.modules()}
    module.eval()
    try:
        yield
    finally:
        for part, mode in modes.items():
            part.training = mode
