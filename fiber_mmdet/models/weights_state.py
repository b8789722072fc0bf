"""Noticing that weights were changed."""

from collections.abc import Iterable

import torch
from torch import Tensor, nn


def weights_state(modules: Iterable[nn.Module]) -> tuple[int, Tensor]:
    """What tells whether weights were changed: versions, and the first value of each tensor.

    Versions alone do not: fused optimisers leave them as they are. Values alone
    do not see a step at learning rate 0.

    Args:
        modules: whose weights, none of them made under ``torch.inference_mode``.

    Returns:
        The sum of the versions, and the (n, ) float32 values.
    """
    parameters = [p for module in modules for p in module.parameters()]
    return (
        sum(p._version for p in parameters),
        torch.cat([p.detach().flatten()[:1].float() for p in parameters]),
    )
