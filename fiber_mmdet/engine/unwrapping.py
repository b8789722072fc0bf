"""The model inside its wrappers."""

from typing import Any

from mmengine.model import BaseTTAModel, is_model_wrapper
from torch import nn


def inner_model(model: nn.Module) -> Any:
    """The model of a run without what distributes it or augments its tests.

    Args:
        model: of a runner.
    """
    found: Any = model
    while is_model_wrapper(found) or isinstance(found, BaseTTAModel):
        found = found.module
    return found
