"""Linear probes: how much of something a linear classifier reads from features that stay fixed."""

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

L2 = 1e-3  # of the weights, beside the mean loss of a sample
STEPS = 100


class LinearProbe(NamedTuple):
    """A linear classifier of standardised features.

    Attributes:
        mean: (C,) of the features it was fitted to.
        scale: (C,) their standard deviation; 1 for those that are constant.
        weight: (K, C).
        bias: (K,).
    """

    mean: Tensor
    scale: Tensor
    weight: Tensor
    bias: Tensor

    def __call__(self, features: Tensor) -> Tensor:
        """(N, K) float64 logits of (N, C) features."""
        return F.linear((features.double() - self.mean) / self.scale, self.weight, self.bias)


def fit_probe(features: Tensor, targets: Tensor, classes: int) -> LinearProbe:
    """Fit a probe: L-BFGS in float64 from zero, so that equal features give equal probes.

    Args:
        features: (N, C), of any precision.
        targets: (N,) int64, the class of each, for a softmax over classes; or (N, K) bool, those
            that are present, for a logistic regression of each.
        classes: K.

    Raises:
        ValueError: there is nothing to fit to, or features are not finite.
    """
    if not len(features) or len(features) != len(targets):
        raise ValueError(f'a probe of {len(features)} features and {len(targets)} targets')
    x = features.detach().double()
    if not x.isfinite().all():
        raise ValueError('some features are infinite or NaN: the model has diverged')
    mean, scale = x.mean(0), x.std(0, unbiased=False)
    scale = torch.where(scale > 1e-9 * (1 + mean.abs()), scale, torch.ones_like(scale))
    x = (x - mean) / scale
    weight = x.new_zeros(classes, x.shape[1]).requires_grad_()
    bias = x.new_zeros(classes).requires_grad_()
    solver = torch.optim.LBFGS([weight, bias], max_iter=STEPS, line_search_fn='strong_wolfe')

    def loss() -> Tensor:
        logits = F.linear(x, weight, bias)
        if targets.dtype == torch.bool:
            each = F.binary_cross_entropy_with_logits(logits, targets.double(), reduction='none')
            value = each.mean(0).sum()
        else:
            value = F.cross_entropy(logits, targets)
        return value + L2 / 2 * weight.square().sum()

    def closure() -> Tensor:
        solver.zero_grad()
        with torch.enable_grad():
            value = loss()
            value.backward()
        return value

    solver.step(closure)
    return LinearProbe(mean, scale, weight.detach(), bias.detach())


def accuracy(logits: Tensor, targets: Tensor) -> float:
    """Share of (N, K) logits whose largest is that of the (N,) target."""
    return (logits.argmax(1) == targets).double().mean().item()


def average_precisions(scores: Tensor, present: Tensor) -> Tensor:
    """Average precision of each class: precision at each sample that has it, averaged over these.

    Args:
        scores: (N, K), higher for samples that rather have the class; ties keep their order.
        present: (N, K) bool.

    Returns:
        (K,) float64, 0 to 1, without interpolation; NaN for classes that no sample has. Random
        scores reach about the share of samples that have the class.
    """
    order = scores.argsort(dim=0, descending=True, stable=True)
    hits = present.gather(0, order).double()
    ranks = torch.arange(1, len(hits) + 1, dtype=torch.float64)[:, None]
    return (hits.cumsum(0) / ranks * hits).sum(0) / hits.sum(0)
