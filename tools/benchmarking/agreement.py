"""How far apart the results of two ways are."""

from collections.abc import Sequence

import torch
from torch import Tensor

from parity_suite.compare import OUTPUTS

from .measure import Difference

DETECTIONS = 1e-3  # of scores, and of boxes as a share of their size
UNMATCHED = 0.01  # of all detections: near a threshold, only one way may find a box


def tensors(theirs, ours, what: str, expected: bool = False) -> Difference:
    """Largest difference of tensors, as a share of their standard deviation.

    Args:
        theirs: a tensor or nested sequences of tensors.
        ours: the same.
        what: name of the comparison.
        expected: a drift is expected, so there is no tolerance.
    """
    worst = 0.0
    for a, b in zip(flat(theirs), flat(ours), strict=True):
        a, b = a.detach().double().cpu(), b.detach().double().cpu()
        scale = float(a.std()) if a.numel() > 1 else float(a.abs().max())
        gap = float((a - b).abs().max()) / (scale or 1.0)
        worst = gap if gap != gap else max(worst, gap)
    return Difference(worst, None if expected else OUTPUTS, what)


def flat(x) -> list[Tensor]:
    """Tensors of nested sequences, in order."""
    return [x] if isinstance(x, Tensor) else [tensor for part in x for tensor in flat(part)]


def detections(theirs: Sequence, ours: Sequence, expected: bool = False) -> Difference:
    """Largest difference of matched detections.

    A detection of one way is matched with the nearest one of the other that has its label; the
    difference of boxes is a share of their size. If more than 1 % find no match, the difference
    is infinite. Where a drift is expected, it is the share of unmatched detections.

    Args:
        theirs: per image, an object with ``bboxes``, ``scores`` and ``labels``.
        ours: the same.
        expected: a drift is expected.
    """
    total, unmatched, worst = 0, 0, 0.0
    limit = 0.1 if expected else DETECTIONS
    for a, b in zip(theirs, ours, strict=True):
        total += len(a.scores) + len(b.scores)
        if not len(a.scores) or not len(b.scores):
            unmatched += len(a.scores) + len(b.scores)
            continue
        gap = distances(a, b)
        near = torch.cat([gap.min(1).values, gap.min(0).values])
        unmatched += int((near > limit).sum())
        near = near[near <= limit]
        worst = max(worst, float(near.max()) if len(near) else 0.0)
    share = unmatched / total if total else 0.0
    if expected:
        return Difference(share, None, f'unmatched of {total} detections')
    if share > UNMATCHED:
        return Difference(float('inf'), DETECTIONS, f'{share:.1%} of {total} detections unmatched')
    return Difference(worst, DETECTIONS, f'of {total} detections')


def distances(a, b) -> Tensor:
    """(M, N): the larger of the differences of scores and of boxes, infinite across labels."""
    boxes, others = a.bboxes.double().cpu(), b.bboxes.double().cpu()
    size = (boxes[:, 2:] - boxes[:, :2]).abs().max(1).values.clamp(min=1)
    gap = (boxes[:, None] - others[None]).abs().max(-1).values / size[:, None]
    scores = (a.scores.double().cpu()[:, None] - b.scores.double().cpu()[None]).abs()
    gap = torch.maximum(gap, scores)
    gap[a.labels.cpu()[:, None] != b.labels.cpu()[None]] = torch.inf
    return gap
