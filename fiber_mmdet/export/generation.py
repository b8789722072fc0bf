"""Captions from an exported model, by beam search in numpy."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from fiber_mmdet.fields import WHOLE, check_record

SUPPRESSED = -10000.0  # logit of a token that is never generated
FIELDS = {'beam_size': WHOLE, 'max_new_tokens': WHOLE, 'mask_id': WHOLE | None}


@dataclass(frozen=True)
class BeamSearch:
    """The beam search of ``fiber_mmdet.models.image_text.decoding``, for one image.

    Attributes:
        beam_size: beams; with 1, the most likely token is taken in each step.
        max_new_tokens: longest caption in tokens, the end included.
        mask_id: token that is never generated; None if there is none.
    """

    beam_size: int
    max_new_tokens: int
    mask_id: int | None = None

    @classmethod
    def read(cls, record: Any, where: str) -> 'BeamSearch':
        """From an object of json.

        Raises:
            ValueError: it lacks a field, or one is of another kind.
        """
        check_record(record, FIELDS, where)
        return cls(**{key: record.get(key) for key in FIELDS})

    def __call__(
        self, step: Callable[[np.ndarray], np.ndarray], start: int, end: int, pad: int
    ) -> np.ndarray:
        """Generate a caption.

        Args:
            step: (R, L) int64 beginnings of captions to (R, vocabulary) logits of the next token.
            start: the first token.
            end: the token that ends a caption.
            pad: ends a caption, too.

        Returns:
            (T,) int64, without the start.
        """
        texts = np.full((1, 1), start, np.int64)
        scores, ended = np.zeros(1, np.float32), np.zeros(1, bool)
        lengths = np.zeros(1, np.int64)
        for _ in range(self.max_new_tokens):
            if ended.all():
                break
            gains = self._log_probs(step(texts))
            per_beam = min(self.beam_size, gains.shape[1])
            words = np.argsort(-gains, axis=1, kind='stable')[:, :per_beam]
            gains = np.take_along_axis(gains, words, 1)
            words[ended], gains[ended] = pad, -np.inf
            gains[ended, 0] = 0  # the only continuation is padding
            lengths = lengths + ~ended
            totals = scores[:, None] + gains
            means = totals / (lengths[:, None] + np.float32(1e-9))
            best = np.argsort(-means.ravel(), kind='stable')[: self.beam_size]
            parents = best // per_beam
            scores = totals.ravel()[best]
            words = words.ravel()[best]
            texts = np.concatenate([texts[parents], words[:, None]], 1)
            ended = ended[parents] | (words == end) | (words == pad)
            lengths = lengths[parents]
        return texts[0, 1:]

    def _log_probs(self, logits: np.ndarray) -> np.ndarray:
        logits = logits.astype(np.float32)
        if self.mask_id is not None:
            logits[:, self.mask_id] = SUPPRESSED
        shifted = logits - logits.max(1, keepdims=True)
        return shifted - np.log(np.exp(shifted).sum(1, keepdims=True))
