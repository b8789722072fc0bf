"""Beam search over any model that gives the logits of the next token."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

# step(tokens (R,), rows (R,) or None) -> (R, vocabulary) logits: append a token to each
# sequence, where sequence r continues number rows[r] of the call before.
Step = Callable[[Tensor, Tensor | None], Tensor]
SUPPRESSED = -10000.0


@dataclass(frozen=True)
class SpecialTokens:
    """Token ids that generation has to know.

    Attributes:
        end: ends a text.
        pad: ends a text too, and fills it up.
        mask: never generated; None if there is no such token.
    """

    end: int
    pad: int
    mask: int | None = None

    def is_end(self, tokens: Tensor) -> Tensor:
        """bool, where a token ends its text."""
        return (tokens == self.end) | (tokens == self.pad)

    def log_probs(self, logits: Tensor) -> Tensor:
        """(R, vocabulary) logits to log-probabilities."""
        if self.mask is not None:
            logits = logits.clone()
            logits[:, self.mask] = SUPPRESSED
        return logits.log_softmax(-1)


@torch.no_grad()
def beam_search(
    step: Step,
    first: Tensor,
    special: SpecialTokens,
    beam_size: int = 5,
    max_new_tokens: int = 49,
    legacy: bool = False,
) -> Tensor:
    """The text with the highest mean log-probability that a beam finds.

    In each step the ``beam_size`` best continuations of an image's beams become
    its new beams, ranked by log-probability per token. Beams that ended stay in
    the race unchanged. It is over when all beams of all images ended.

    Args:
        step: the model, see ``Step``; called for N sequences, then for all beams.
        first: (N,) int64, the token that each text begins with.
        special: token ids.
        beam_size: beams an image.
        max_new_tokens: most tokens after the first, the end counted.
        legacy: as the reference does: an ended beam has as many equal
            continuations as there are words, so that it fills all beams once it is
            best, and a beam inherits its length from the beam in its place, not
            from the one that it continues. As the ranking goes on until all
            images are done, their texts then depend on the others in the batch.

    Returns:
        (N, T) int64, T at most ``max_new_tokens``; padding after the end.

    Raises:
        ValueError: no beams or tokens, or ``legacy`` with more beams than words.
    """
    if beam_size < 1 or max_new_tokens < 1:
        raise ValueError(
            f'beam_size={beam_size} and max_new_tokens={max_new_tokens} must be at least 1'
        )
    log_probs = special.log_probs(step(first, None))
    per_beam = min(beam_size, log_probs.shape[1])  # more continuations of one beam cannot win
    if legacy and per_beam < beam_size:
        raise ValueError(f'legacy beam search needs as many words as beams, {beam_size}')
    scores, words = log_probs.topk(per_beam)
    texts, ended = words[..., None], special.is_end(words)
    lengths = torch.ones_like(words)
    image = torch.arange(len(first), device=first.device)[:, None]
    rows = image.expand_as(words)
    for _ in range(max_new_tokens - 1):
        if ended.all():
            break
        log_probs = special.log_probs(step(texts[..., -1].flatten(), rows.flatten()))
        gains, words = log_probs.unflatten(0, ended.shape).topk(per_beam)
        words[ended] = special.pad
        gains[ended] = 0.0
        if not legacy:
            gains[..., 1:][ended] = -torch.inf  # the only continuation is padding
        lengths = lengths + ~ended
        totals = scores[..., None] + gains
        means = totals / (lengths[..., None] + 1e-9)
        best = means.flatten(1).topk(min(beam_size, means[0].numel())).indices
        parents = best // per_beam
        scores = totals.flatten(1).gather(1, best)
        words = words.flatten(1).gather(1, best)
        rows = image * ended.shape[1] + parents
        texts = torch.cat([texts.flatten(0, 1)[rows], words[..., None]], -1)
        ended = ended.gather(1, parents) | special.is_end(words)
        lengths = lengths if legacy else lengths.gather(1, parents)
    return texts[:, 0]
