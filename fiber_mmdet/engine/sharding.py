"""Sharding a model that does not fit one device (FSDP)."""
from typing import Optional, Union

import torch
from mmdet.registry import MODEL_WRAPPERS
from mmengine.device import is_cuda_available
from mmengine.model.wrappers import MMFullyShardedDataParallel
from mmengine.registry import FUNCTIONS
from torch import nn

from fiber_mmdet.models.backbone.image_tower import SwinBlock
from fiber_mmdet.models.backbone.text_tower import TextLayer


@FUNCTIONS.register_module()
def tower_blocks(module: nn.Module, recurse: bool, nonwrapped_numel: int) -> bool:
    """What is sharded as a unit: the blocks of both towers, and all else together.

    A policy for ``auto_wrap_policy``. The rest of the model is used in pieces
    (prefixes, tails), which units that gather their weights when called would miss.

    Args:
        module: a part of the model.
        recurse: whether to look into the part, rather than at it.
        nonwrapped_numel: its parameters that are in no unit yet.

    Returns:
        Whether to look into the part, or to make it a unit.
    """
    return recurse or isinstance(module, (SwinBlock, TextLayer))


@MODEL_WRAPPERS.register_module()
class AnyDeviceFSDP(MMFullyShardedDataParallel):
    """mmengine's FSDP wrapper, also for processes without a GPU.

    Differs in the default of ``device_id``: without CUDA it is the CPU, whatever
    the strategy passes. Trains there with gloo, which serves tests.

    Args:
        module: the model.
        device_id: the GPU of this process.
        **kwargs: as for ``MMFullyShardedDataParallel``.
    """

    def __init__(self, module: nn.Module, device_id: Optional[Union[int, torch.device]] = None,
                 **kwargs) -> None:
        device = device_id if is_cuda_available() else torch.device('cpu')
        super().__init__(module, device_id=device, **kwargs)
