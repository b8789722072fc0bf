"""Order by score, with ties broken by content: predictions of an image, and ranks of a search."""

import numpy as np
import torch
from torch import Tensor

BLOCK = 2**22  # scores that are ranked together


def in_order(sample: dict) -> dict:
    """A sample with its predictions by falling score, ties by label, then by box.

    Metrics break ties by position. With this order they depend on what was
    predicted alone, not on how a detector or a dump happened to list it.

    Args:
        sample: a data sample as a dict; ``pred_instances`` has ``bboxes``
            (N, 4) as x1, y1, x2, y2, ``scores`` (N,) and ``labels`` (N,), and
            possibly other fields of N entries.

    Returns:
        A copy of the sample whose ``pred_instances`` are on the CPU and in
        order. Fields that already are so are shared, not copied.
    """
    pred = {
        key: value.detach().cpu() if isinstance(value, Tensor) else value
        for key, value in sample['pred_instances'].items()
    }
    x1, y1, x2, y2 = pred['bboxes'].numpy().T
    order = np.lexsort((y2, x2, y1, x1, pred['labels'].numpy(), -pred['scores'].numpy()))
    if not np.array_equal(order, np.arange(len(order))):
        pred = {
            key: [value[i] for i in order] if isinstance(value, (list, tuple)) else value[order]
            for key, value in pred.items()
        }
    return {**sample, 'pred_instances': pred}


def first_ranks(scores: Tensor, queries: Tensor, candidates: Tensor) -> Tensor:
    """Rank, from 0, of each query's best own candidate.

    Candidates are ranked by falling score, ties in the order of the candidates. A score that
    is not a number counts as the lowest.

    Args:
        scores: (Q, C) float, higher for a better match.
        queries: (Q,) int64, owner of each query.
        candidates: (C,) int64, owner of each candidate; each query's owner has at least one.

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
        # argmax alone may return any of several equal scores, not the first
        best = rows.masked_fill(~own, -torch.inf).amax(1, keepdim=True)
        place = (own & (rows == best)).int().argmax(1, keepdim=True)
        ahead = (rows > best) | (rows == best) & (order[None] < place)
        ranks.append(ahead.sum(1))
    return torch.cat(ranks) if ranks else torch.zeros(0, dtype=torch.int64)
