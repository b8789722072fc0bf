"""Generation of texts from next-token logits: beam search, greedy decoding, sampling."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

# step(tokens (R,), rows (R,) or None) -> (R, vocabulary) logits: appends a token to each
# sequence; sequence r continues number rows[r] of the previous call, or number r if None.
Step = Callable[[Tensor, Tensor | None], Tensor]
# draw(probabilities (R, vocabulary), number) -> (R, number) tokens
Draw = Callable[[Tensor, int], Tensor]
SUPPRESSED = -10000.0  # logit of a token that is never generated


@dataclass(frozen=True)
class SpecialTokens:
    """Token ids that generation treats specially.

    Attributes:
        end: ends a text.
        pad: ends a text too, and fills the rest of its row.
        mask: never generated; None if the vocabulary has no such token.
    """

    end: int
    pad: int
    mask: int | None = None

    def is_end(self, tokens: Tensor) -> Tensor:
        """Bool tensor of the shape of ``tokens``, True where a token ends its text."""
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
    """The text with the highest mean log-probability that a beam search finds.

    In each step the ``beam_size`` best continuations of an image's beams become
    its new beams, ranked by log-probability per token. Finished beams keep
    competing unchanged. The search ends when all beams of all images are finished.

    Args:
        step: the model, see ``Step``; called for N sequences, then for all beams.
        first: (N,) int64, the token that each text begins with.
        special: token ids.
        beam_size: beams per image.
        max_new_tokens: maximum number of tokens after the first, the end included.
        legacy: reproduce the reference: a finished beam has as many equal
            continuations as there are words, so that it fills all beams once it is
            the best, and a beam inherits its length from the beam that had its
            place, not from the one that it continues. As the ranking goes on until all
            images are finished, their texts then depend on the others in the batch.

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


@torch.no_grad()
def sample(
    step: Step,
    first: Tensor,
    special: SpecialTokens,
    max_new_tokens: int = 49,
    samples: int = 1,
    temperature: float = 1.0,
    top_p: float = 1.0,
    draw: Draw | None = None,
) -> Tensor:
    """Texts drawn token by token.

    Args:
        step: the model, see ``Step``; called for N sequences, then for all samples.
        first: (N,) int64, the token that each text begins with.
        special: token ids.
        max_new_tokens: maximum number of tokens after the first, the end included.
        samples: texts per image.
        temperature: divides the logits.
        top_p: see :func:`nucleus`.
        draw: how tokens are chosen, None for :func:`with_replacement`; called for
            ``samples`` first tokens of an image, then for one token of each text.

    Returns:
        (N * samples, T) int64, the samples of an image in consecutive rows, T at
        most ``max_new_tokens``; padding after the end.

    Raises:
        ValueError: ``samples``, ``max_new_tokens``, ``temperature`` or ``top_p`` out of range.
    """
    if samples < 1 or max_new_tokens < 1:
        raise ValueError(
            f'samples={samples} and max_new_tokens={max_new_tokens} must be at least 1'
        )
    if temperature <= 0 or not 0 < top_p <= 1:
        raise ValueError(f'temperature={temperature} must be positive and top_p={top_p} in (0, 1]')
    draw = draw or with_replacement

    def choose(logits: Tensor, number: int) -> Tensor:
        probs = (special.log_probs(logits) / temperature).softmax(-1)
        return draw(nucleus(probs, top_p), number).flatten()

    words = choose(step(first, None), samples)
    rows: Tensor | None = torch.arange(len(first), device=first.device).repeat_interleave(samples)
    texts, ended = [words], special.is_end(words)
    while len(texts) < max_new_tokens and not ended.all():
        words = choose(step(words, rows), 1).masked_fill(ended, special.pad)
        texts.append(words)
        ended, rows = ended | special.is_end(words), None
    return torch.stack(texts, 1)


def greedy(step: Step, first: Tensor, special: SpecialTokens, max_new_tokens: int = 49) -> Tensor:
    """The most likely token at each step: (N, T) int64; see :func:`sample` for the arguments.

    Args:
        step: the model.
        first: (N,) int64.
        special: token ids.
        max_new_tokens: maximum number of tokens after the first.
    """
    return sample(step, first, special, max_new_tokens, draw=most_likely)


def with_replacement(probs: Tensor, number: int) -> Tensor:
    """Independent draws: (R, vocabulary) probabilities to (R, number) int64 tokens."""
    return torch.multinomial(probs, number, replacement=True)


def most_likely(probs: Tensor, number: int) -> Tensor:
    """The most likely tokens instead of draws: (R, vocabulary) to (R, number) int64."""
    return probs.topk(number).indices


def nucleus(probs: Tensor, top_p: float) -> Tensor:
    """The smallest set of words that has probability ``top_p`` (Holtzman et al., ICLR 2020).

    Args:
        probs: (R, vocabulary).
        top_p: in (0, 1]; 1 keeps all.

    Returns:
        (R, vocabulary), zero outside the set, not normalised.
    """
    if top_p >= 1:
        return probs
    ordered, words = probs.sort(dim=-1, descending=True)
    before = ordered.cumsum(-1) - ordered
    return torch.zeros_like(probs).scatter(-1, words, ordered * (before < top_p))
