"""Ranks of what is looked for in lists by score."""

import torch
from torch import Tensor

BLOCK = 2**22  # scores looked at together


def first_ranks(scores: Tensor, queries: Tensor, candidates: Tensor) -> Tensor:
    """Rank, from 0, of the best candidate that belongs to each query.

    Candidates are listed by falling score, equal ones in the order in which they
    come. A score that is not a number counts as the lowest of all.

    Args:
        scores: (Q, C) float, higher for a better match.
        queries: (Q,) int64, what each query belongs to.
        candidates: (C,) int64, the same of candidates; each query has one at least.

    Returns:
        (Q,) int64.
    """
    order = torch.arange(scores.shape[1])
    ranks = []
    for rows, owners in zip(
        *(x.split(max(BLOCK // max(scores.shape[1], 1), 1)) for x in (scores, queries))
    ):
        rows = rows.nan_to_num(nan=-torch.inf, posinf=torch.inf, neginf=-torch.inf)
        own = owners[:, None] == candidates[None]
        # of equal scores argmax may take any, so the first is looked for
        best = rows.masked_fill(~own, -torch.inf).amax(1, keepdim=True)
        place = (own & (rows == best)).int().argmax(1, keepdim=True)
        ahead = (rows > best) | (rows == best) & (order[None] < place)
        ranks.append(ahead.sum(1))
    return torch.cat(ranks) if ranks else torch.zeros(0, dtype=torch.int64)
