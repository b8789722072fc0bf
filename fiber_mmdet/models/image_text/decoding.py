"""Texts from a model's next-token probabilities: the likeliest, or drawn."""

from collections.abc import Callable

import torch
from torch import Tensor

from .beam_search import SpecialTokens, Step

# draw(probabilities (R, vocabulary), number) -> (R, number) tokens
Draw = Callable[[Tensor, int], Tensor]


def with_replacement(probs: Tensor, number: int) -> Tensor:
    """Independent draws."""
    return torch.multinomial(probs, number, replacement=True)


def most_likely(probs: Tensor, number: int) -> Tensor:
    """The likeliest tokens instead of draws."""
    return probs.topk(number).indices


def nucleus(probs: Tensor, top_p: float) -> Tensor:
    """Keep the smallest set of words that has probability ``top_p`` (Holtzman et al. 2020).

    Args:
        probs: (R, vocabulary).
        top_p: in (0, 1]; 1 keeps all.

    Returns:
        (R, vocabulary), zero elsewhere, not normalised.
    """
    if top_p >= 1:
        return probs
    ordered, words = probs.sort(dim=-1, descending=True)
    before = ordered.cumsum(-1) - ordered
    return torch.zeros_like(probs).scatter(-1, words, ordered * (before < top_p))


@torch.no_grad()
def sample(
    step: Step,
    first: Tensor,
    special: SpecialTokens,
    max_new_tokens: int = 49,
    samples: int = 1,
    temperature: float = 1.0,
    top_p: float = 1.0,
    draw: Draw = with_replacement,
) -> Tensor:
    """Draw texts token by token.

    Args:
        step: the model, see ``Step``; called for N sequences, then for all samples.
        first: (N,) int64, the token that each text begins with.
        special: token ids.
        max_new_tokens: most tokens after the first, the end counted.
        samples: texts an image.
        temperature: divides the logits.
        top_p: see :func:`nucleus`.
        draw: called for ``samples`` first tokens of an image, then for one token of each text.

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

    def choose(logits: Tensor, number: int) -> Tensor:
        probs = (special.log_probs(logits) / temperature).softmax(-1)
        return draw(nucleus(probs, top_p), number).flatten()

    words = choose(step(first, None), samples)
    rows = torch.arange(len(first), device=first.device).repeat_interleave(samples)
    texts, ended = [words], special.is_end(words)
    while len(texts) < max_new_tokens and not ended.all():
        words = choose(step(words, rows), 1).masked_fill(ended, special.pad)
        texts.append(words)
        ended, rows = ended | special.is_end(words), None
    return torch.stack(texts, 1)


def greedy(step: Step, first: Tensor, special: SpecialTokens, max_new_tokens: int = 49) -> Tensor:
    """The likeliest token at each step; see :func:`sample` for the arguments."""
    return sample(step, first, special, max_new_tokens, draw=most_likely)
