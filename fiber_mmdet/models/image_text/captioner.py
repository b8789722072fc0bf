"""Captions of a model: images encoded, captions generated, scored and written out."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import cached_property

import torch
from torch import Tensor, nn

from ..backbone import ImagePrefix
from .batch import EncodedBatch, PairEncoder
from .caption_decoder import CaptionDecoder, EncoderStates, IncrementalDecoder, NextTokens
from .decoding import Draw, SpecialTokens, beam_search, greedy, sample


class Captioner:
    """What :class:`CaptionHead` predicts with, and what captioning objectives work on.

    Args:
        model: the model; its tokenizer is loaded when it is first needed.
        adapters: see :class:`CaptionDecoder`.
        max_new_tokens: longest generated caption in tokens, the end token included.
    """

    def __init__(self, model: PairEncoder, adapters: nn.ModuleDict, max_new_tokens: int) -> None:
        self.decoder = CaptionDecoder(model.backbone, model.fused.text_proj, model.words, adapters)
        self.max_new_tokens = max_new_tokens
        self._model = model

    @cached_property
    def start(self) -> int:
        """Id of the token that begins every caption, ``<s>`` or ``[CLS]``."""
        return self._model.tokenizer.start_id

    @cached_property
    def special(self) -> SpecialTokens:
        """The other special tokens."""
        words = self._model.tokenizer
        return SpecialTokens(words.end_id, words.pad_id, words.mask_id)

    def encode(self, image: ImagePrefix) -> EncoderStates:
        """States of B images, used by all of their captions."""
        return self.decoder.encode(image)

    def states(self, batch: EncodedBatch) -> EncoderStates:
        """States of the B images of a batch, whose last map other objectives share."""
        return self.decoder.states(batch.finished())

    @staticmethod
    def for_captions(states: EncoderStates, batch: EncodedBatch) -> EncoderStates:
        """States with which the captions of a batch are scored.

        Args:
            states: of the B images of the batch.
            batch: its n captions are ``batch.tokens``.

        Returns:
            The same, if all images have equally many captions; otherwise one for each caption.
        """
        equal = len(set(batch.texts_of_image)) == 1
        return states if equal else states.select(batch.image_rows)

    # --------------------------------------------------------------- scores
    def score(self, states: EncoderStates, ids: Tensor, mask: Tensor) -> NextTokens:
        """Losses of given captions, with gradient.

        Args:
            states: of B images.
            ids: (K * B, L) int64 with ``<s>``, K consecutive captions per image.
            mask: (K * B, L) bool, True at real tokens.
        """
        return self.decoder.score(states, ids, mask)

    def score_generated(self, states: EncoderStates, tokens: Tensor) -> NextTokens:
        """Losses of generated captions, with gradient.

        Args:
            states: of B images.
            tokens: (K * B, T) int64 without ``<s>``, K consecutive captions per image.
        """
        ids = torch.cat([torch.full_like(tokens[:, :1], self.start), tokens], 1)
        return self.score(states, ids, ids != self.special.pad)

    # ----------------------------------------------------------- generation
    def beam_search(
        self, states: EncoderStates, beam_size: int = 5, legacy: bool = False
    ) -> Tensor:
        """(B, T) int64 tokens without ``<s>``, see :func:`beam_search`."""
        return beam_search(
            *self._begin(states), self.special, beam_size, self.max_new_tokens, legacy
        )

    def greedy(self, states: EncoderStates) -> Tensor:
        """(B, T) int64 tokens without ``<s>``, the most likely one at each step."""
        return greedy(*self._begin(states), self.special, self.max_new_tokens)

    def sample(
        self,
        states: EncoderStates,
        samples: int = 1,
        temperature: float = 1.0,
        top_p: float = 1.0,
        draw: Draw | None = None,
    ) -> Tensor:
        """(B * samples, T) int64 tokens without ``<s>``, see :func:`sample`."""
        return sample(
            *self._begin(states),
            self.special,
            self.max_new_tokens,
            samples,
            temperature,
            top_p,
            draw,
        )

    def _begin(self, states: EncoderStates) -> tuple[IncrementalDecoder, Tensor]:
        """A decoder at its first step, and the (B,) first tokens."""
        images = len(states.tokens)
        first = torch.full((images,), self.start, device=states.tokens.device)
        return IncrementalDecoder(self.decoder, states), first

    @contextmanager
    def evaluation_mode(self) -> Iterator[None]:
        """A context without dropout in the text tower; afterwards each part has its former mode."""
        text = self.decoder.backbone.text
        modes = {part: part.training for part in text.modules()}
        text.eval()
        try:
            yield
        finally:
            for part, mode in modes.items():
                part.training = mode

    def texts(self, tokens: Tensor) -> list[str]:
        """(R, T) int64 tokens as R texts, without special tokens, spaces as generated."""
        texts: Sequence[str] = self._model.tokenizer.tokenizer.batch_decode(
            tokens, skip_special_tokens=True, clean_up_tokenization_spaces=False
        )
        return [text.strip() for text in texts]
