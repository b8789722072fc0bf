"""From characters of a caption to tokens of the model."""

from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING

from .prompts import Prompt, PromptError, Span

if TYPE_CHECKING:  # exported models find tokens without torch
    from torch import Tensor

    from .tokenizer import TokenizedPrompts


def span_to_tokens(char_to_token: Callable[[int], int | None], begin: int, end: int) -> list[int]:
    """The tokens of one span, by the rule of MDETR, GLIP and FIBER.

    A blank owns no token in RoBERTa, so the first token is looked up at ``begin``, else one, else
    two characters later, and the last token at ``end - 1``, else one, else two characters earlier.
    A character written as several tokens counts with its first.

    Args:
        char_to_token: character index to token index or None, for instance
            ``encoding.char_to_token`` of transformers.
        begin: first character.
        end: character after the last.

    Returns:
        The tokens from first to last, both included; empty where either end finds none.
    """
    first = _first_token(char_to_token, range(begin, begin + 3))
    last = _first_token(char_to_token, range(end - 1, end - 4, -1))
    if first is None or last is None:
        return []
    return list(range(first, last + 1))


def label_tokens(
    tokenized: 'TokenizedPrompts',
    index: int,
    spans_per_label: Prompt | Sequence[Sequence[Span]],
    num_tokens: int | None = None,
    strict: bool = True,
) -> list[list[int]]:
    """The tokens of every label of one prompt.

    Args:
        tokenized: a tokenized batch.
        index: which prompt of the batch.
        spans_per_label: a prompt, or the character spans of every label; for a training target,
            those of every box.
        num_tokens: tokens the model reads; by default the length of the batch.
        strict: whether a span without tokens is an error (a prompt someone is waiting for) or
            leaves its label without tokens (a training caption that was truncated).

    Returns:
        Ascending token indices of every label; labels may share tokens.

    Raises:
        PromptError: with ``strict``, a phrase whose span maps to no token or lies beyond
            ``num_tokens``.
    """
    if num_tokens is None:
        num_tokens = tokenized.ids.shape[1]
    char_to_token = tokenized.encodings[index].char_to_token
    labels = []
    if isinstance(spans_per_label, Prompt):
        spans_per_label = spans_per_label.spans
    for spans in spans_per_label:
        tokens: set[int] = set()
        for begin, end in spans:
            found = span_to_tokens(char_to_token, begin, end)
            kept = [token for token in found if token < num_tokens]
            if strict and (not kept or len(kept) < len(found)):
                phrase = tokenized.captions[index][begin:end]
                raise PromptError(
                    f'phrase {phrase!r} (characters {begin} to {end}) has no '
                    f'token among the {num_tokens} the model reads: mark '
                    'letters rather than blanks, and shorten the caption or '
                    'set chunked_size if it was cut.'
                )
            tokens.update(kept)
        labels.append(sorted(tokens))
    return labels


def positive_map(
    tokenized: 'TokenizedPrompts',
    index: int,
    spans_per_label: Prompt | Sequence[Sequence[Span]],
    num_tokens: int | None = None,
    strict: bool = True,
) -> 'Tensor':
    """:func:`label_tokens` as a table, the target of FIBER's token loss.

    Args:
        tokenized: as for :func:`label_tokens`, like the others.
        index: which prompt of the batch.
        spans_per_label: a prompt, or the character spans of every label.
        num_tokens: tokens the model reads.
        strict: whether a span without tokens is an error.

    Returns:
        (labels, num_tokens) bool, on the CPU; the row of a label without tokens is False
        throughout. FIBER trains on this binary map, not on rows divided by their sum.

    Raises:
        PromptError: as :func:`label_tokens`.
    """
    import torch

    if num_tokens is None:
        num_tokens = tokenized.ids.shape[1]
    labels = label_tokens(tokenized, index, spans_per_label, num_tokens, strict)
    table = torch.zeros(len(labels), num_tokens, dtype=torch.bool)
    for row, tokens in zip(table, labels):
        row[tokens] = True
    return table


def _first_token(
    char_to_token: Callable[[int], int | None], characters: Iterable[int]
) -> int | None:
    for character in characters:
        # transformers refuses negative characters instead of finding nothing
        token = char_to_token(character) if character >= 0 else None
        if token is not None:
            return token
    return None
