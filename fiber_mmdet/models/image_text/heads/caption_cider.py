"""CIDEr-D as a reward: self-critical sequence training (Rennie et al., CVPR 2017)."""

from collections.abc import Sequence
from contextlib import nullcontext
from functools import cached_property
from itertools import accumulate

import torch
from mmdet.registry import MODELS
from torch import Tensor

from fiber_mmdet.arguments import strict_arguments
from fiber_mmdet.text.cider_d import EOS, CiderD, caption_words

from ..batch import EncodedBatch
from ..caption_decoder import EncoderStates
from ..captioner import Captioner
from ..decoding import Draw
from .caption_objective import SMALL, CaptionObjective, refuse_shards

LEAVE_ONE_OUT = 'leave-one-out'


@MODELS.register_module()
@strict_arguments
class CiderLoss(CaptionObjective):
    """Captions sampled from the model become likelier where their CIDEr-D beats the baseline.

    The image is encoded once, with drop path, for the likelihood of its captions, for
    sampling and for scoring the samples, which are as many for an image with several captions in
    the batch as for one with one. In evaluation nothing is sampled, and the loss
    is the weighted likelihood of the caption alone.

    Args:
        df_file: document frequencies, see :func:`read_document_frequency`.
        samples: captions sampled per image.
        mle_weight: weight of the likelihood of the caption; the samples have the rest.
        baseline: reward that leaves a sample's likelihood unchanged: a number, or
            'leave-one-out', the mean reward of the image's other samples.
        legacy: reproduce the reference, in five ways: words of the scorer are split at
            blanks; they keep their case and their punctuation, except for a final period;
            dropout is on while captions are sampled; the samples of an image begin with
            different words; the samples' loss is 100 times their sum instead of their mean.

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
        super().__init__()
        if df_file is None:
            raise ValueError(
                "objective=dict(type='CiderLoss') needs df_file=…, the document "
                'frequencies of n-grams: write them with `fiber build-cider-df`'
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
    def cider(self) -> CiderD:
        """The scorer, read when the first batch is trained on."""
        return CiderD.load(self.df_file)

    def loss(self, captioner: Captioner, batch: EncodedBatch) -> dict[str, Tensor]:
        """``loss``; for the log its terms ``mle`` and ``policy``, ``reward`` and ``accuracy``.

        Raises:
            RuntimeError: the model is sharded.
            FileNotFoundError: no ``df_file``.
            KeyError: samples have no ``captions``.
            ValueError: the frequencies are those of one image, with which all rewards are 0.
        """
        if self.training and self.cider.ref_len < 2:
            raise ValueError(
                f'{self.df_file}: frequencies of {self.cider.ref_len:g} image, with which CIDEr-D '
                'is 0 for all captions and there is no reward: write those of a whole training '
                'split with `fiber build-cider-df`'
            )
        if self.training:
            refuse_shards(
                self,
                captioner,
                'samples captions, which end at another word in each process, and a process that '
                'goes on would wait for the weights of the others',
            )
        states = captioner.states(batch)
        scored = captioner.score(captioner.for_captions(states, batch), *batch.tokens)
        mle = scored.mean()
        if not self.training:
            return dict(loss=self.mle_weight * mle, accuracy=scored.accuracy())
        tokens = self.draw(captioner, states)
        log_probs = self.log_probs(captioner, states, tokens)
        captions = batch.field('captions')
        references = [captions[end - 1] for end in accumulate(batch.texts_of_image)]
        rewards = self.rewards(captioner.texts(tokens), references)
        policy = self.policy_loss(log_probs, rewards.to(log_probs))
        return dict(
            loss=self.mle_weight * mle + (1 - self.mle_weight) * policy,
            mle=mle.detach(),
            policy=policy.detach(),
            reward=rewards.mean().to(mle),
            accuracy=scored.accuracy(),
        )

    def draw(self, captioner: Captioner, states: EncoderStates, draw: Draw | None = None) -> Tensor:
        """(B * samples, T) int64 sampled captions of B images, without ``<s>``.

        Args:
            captioner: samples.
            states: of B images.
            draw: see :func:`sample`; None for random draws.
        """
        if draw is None and self.legacy:
            draw = torch.multinomial  # without replacement
        with nullcontext() if self.legacy else captioner.evaluation_mode():
            return captioner.sample(states, self.samples, draw=draw)

    def words(self, text: str) -> list[str]:
        """A caption's words as the scorer reads them."""
        if not self.legacy:
            return caption_words(text) + self.cider.ends
        return text.strip().removesuffix('.').split() + [EOS]

    def rewards(self, texts: Sequence[str], references: Sequence[Sequence[str]]) -> Tensor:
        """(B, samples) float32 CIDEr-D, from 0 to 10, of the samples of B images.

        Args:
            texts: B * samples captions.
            references: for each image all its captions.

        Raises:
            FileNotFoundError: no ``df_file``.
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

    def log_probs(self, captioner: Captioner, states: EncoderStates, tokens: Tensor) -> Tensor:
        """(B, samples) mean log-probability of the tokens of each sample, with gradient.

        Args:
            captioner: scores.
            states: of B images.
            tokens: (B * samples, T) int64 without ``<s>``.
        """
        scored = captioner.score_generated(states, tokens)
        logs = torch.log(torch.exp(-scored.losses) + SMALL) * scored.mask  # the reference's floor
        return (logs.sum(1) / scored.mask.sum(1).clamp(min=1)).view(-1, self.samples)

    def policy_loss(self, log_probs: Tensor, rewards: Tensor) -> Tensor:
        """Minus log-probability times reward above the baseline.

        Args:
            log_probs: (B, samples), at least two samples for 'leave-one-out'.
            rewards: (B, samples).

        Returns:
            The mean; with ``legacy`` 100 times the sum over samples, mean over images.
        """
        if isinstance(self.baseline, str):
            others = rewards.sum(1, keepdim=True) - rewards
            advantages = rewards - others / (rewards.shape[1] - 1)
        else:
            advantages = rewards - self.baseline
        loss = -(log_probs * advantages).mean()
        return 100 * rewards.shape[1] * loss if self.legacy else loss
