"""How many statements a caption prompt has, and how many of them are true: kept in balance."""

import math
from collections import Counter

LONGEST = 35  # statements in a prompt
MEAN, DEVIATION = 20.0, 4.0
SLACK = 10.0

Mix = tuple[int, int]  # statements in all, true ones


class StatementMix:
    """Chooses the numbers of statements, so that all mixes get their share of the prompts.

    A prompt of t statements, k of them true, lies in the bin (t, k) with 1 <= t <= 35 and
    0 <= k <= t, whose share shall be proportional to the probability of [t - 1/2, t + 1/2] under
    a normal distribution of mean 20 and deviation 4. Of the bins that the statements at hand
    allow, those are considered whose count, divided by that probability, exceeds the smallest by
    at most 10; of these, the one with the most true statements, as far as available, is taken. So
    true statements are kept where possible, and yet prompts of all mixes occur, those without any
    true statement included (DesCo's V4).

    Attributes:
        counts: (t, k) -> prompts made.
    """

    def __init__(self) -> None:
        self.counts: Counter[Mix] = Counter()

    def choose(self, true: int, false: int, most: int = LONGEST) -> Mix:
        """Numbers for the next prompt.

        Args:
            true: true statements at hand, at least one.
            false: false ones at hand.
            most: statements that a prompt may have; at least one is allowed.

        Returns:
            Statements in all, and true ones: (t, k) with k <= true and t - k <= false.
        """
        longest = max(1, min(true + false, most, LONGEST))
        bins = [
            (t, k)
            for t in range(1, longest + 1)
            for k in range(max(0, t - false), min(t, true) + 1)
        ]
        load = {mix: self.counts[mix] / SHARES[mix[0]] for mix in bins}
        limit = min(load.values()) + SLACK
        fair = [mix for mix in bins if load[mix] <= limit]
        return min(fair, key=lambda mix: (abs(true - mix[1]), mix[0]))

    def count(self, statements: int, true: int) -> None:
        """Count a prompt as it was made.

        Args:
            statements: in all.
            true: true ones among them.
        """
        self.counts[statements, true] += 1


def _normal(x: float) -> float:
    """The cumulative distribution at x."""
    return 0.5 * (1 + math.erf((x - MEAN) / (DEVIATION * math.sqrt(2))))


SHARES = {t: _normal(t + 0.5) - _normal(t - 0.5) for t in range(1, LONGEST + 1)}
