"""How many category names a prompt can hold, in tokens."""

from collections.abc import Sequence
from functools import lru_cache
from itertools import accumulate
from typing import Any

from fiber_mmdet.text import PromptTokenizer, tokenizer_class

COUNTS = ('exact', 'reference')


@lru_cache(maxsize=2**17)
def count_tokens(kind: type[PromptTokenizer], name: str, text: str) -> int:
    """Tokens of a text without ``<s>`` and ``</s>``; cached for the life of the process."""
    return len(kind.load(name)(text, add_special_tokens=False)['input_ids'])


class TokenBudget:
    """Chooses the names that fit into a prompt ``'person. bicycle. car'``.

    A separator begins with punctuation, which never shares a token with the blank after it. The
    tokens of a prompt are therefore exactly the sum of those of its names, each taken with the
    blank before it and the period behind it, and these terms can be cached. The tokenizer is
    loaded at first use.

    Args:
        name_or_path: tokenizer, see ``type``.
        max_tokens: largest number of tokens in a prompt, with ``<s>`` and ``</s>``.
        count: 'exact', or 'reference' as in the reference: it counts ``'name. '`` with the final
            blank, which is a token of its own there, and keeps one token free when it adds
            negatives, so that prompts are shorter than necessary.
        type: the class of the tokenizer, that of the model's text tower; see
            :func:`fiber_mmdet.text.tokenizer_class`.

    Raises:
        ValueError: an unknown ``count``.
    """

    def __init__(
        self,
        name_or_path: str,
        max_tokens: int = 256,
        count: str = 'exact',
        type: str | type[PromptTokenizer] = PromptTokenizer,
    ) -> None:
        if count not in COUNTS:
            raise ValueError(
                f'count_tokens={count!r} is unknown: use {" or ".join(map(repr, COUNTS))}'
            )
        self.kind: Any = tokenizer_class(type)  # mypy does not take classes to be hashable
        self.name_or_path = str(name_or_path)
        self.max_tokens = max_tokens
        self.count = count

    def fit(self, names: Sequence[str], order: Sequence[int], positives: int) -> int:
        """How many of the names, counted from the first, fit into a prompt.

        Args:
            names: as written in the prompt, the most important first.
            order: permutation of their indices: their order in the prompt, from which those that do
                not fit are left out.
            positives: how many of the names are positive; these come first.

        Returns:
            The number of names kept.
        """
        if self.count == 'reference':
            return self._fit_reference(names, positives)
        return self._fit_exactly(names, order)

    def tokens(self, text: str) -> int:
        """Tokens of a text without ``<s>`` and ``</s>``."""
        return count_tokens(self.kind, self.name_or_path, text)

    def length(self, names: Sequence[str]) -> int:
        """Tokens of the prompt of these names, in this order, with ``<s>`` and ``</s>``."""
        last = len(names) - 1
        return 2 + sum(self._tokens(name, i == 0, i == last) for i, name in enumerate(names))

    def _tokens(self, name: str, first: bool, last: bool) -> int:
        return count_tokens(
            self.kind, self.name_or_path, ('' if first else ' ') + name + ('' if last else '.')
        )

    def _fit_exactly(self, names: Sequence[str], order: Sequence[int]) -> int:
        inside = [self._tokens(name, False, False) for name in names]
        sums = list(accumulate(inside, initial=2))
        for kept in range(len(names), 0, -1):
            first = next(i for i in order if i < kept)
            last = next(i for i in reversed(order) if i < kept)
            if first == last:
                total = self.length([names[first]])
            else:
                total = (
                    sums[kept]
                    - inside[first]
                    + self._tokens(names[first], True, False)
                    - inside[last]
                    + self._tokens(names[last], False, True)
                )
            if total <= self.max_tokens:
                return kept
        return 0

    def _fit_reference(self, names: Sequence[str], positives: int) -> int:
        room = self.max_tokens - 2
        for i, name in enumerate(names):
            room -= count_tokens(self.kind, self.name_or_path, f'{name}. ')
            # an excess stays subtracted, so no negative follows an overflow of positives
            if room < 0 or (room == 0 and i >= positives):
                return i
        return len(names)
