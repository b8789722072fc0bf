"""Detecting that weights have changed, for what is computed from them and kept."""

from collections.abc import Iterable

import torch
from torch import Tensor, nn


def weights_version(modules: Iterable[nn.Module]) -> tuple[int, Tensor]:
    """A fingerprint of weights: the count of their changes, and the first value of each tensor.

    The count alone misses fused optimisers, which do not increase it; values alone miss a step
    at learning rate 0.

    Args:
        modules: whose weights; none of them may be created under ``torch.inference_mode``.

    Returns:
        The sum of the versions, and the (n,) float32 values.
    """
    parameters = [p for module in modules for p in module.parameters()]
    return (
        sum(p._version for p in parameters),
        torch.cat([p.detach().flatten()[:1].float() for p in parameters]),
    )
