"""Mixed precision on any device."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from mmdet.registry import OPTIM_WRAPPERS
from mmengine.device import get_device, is_cuda_available
from mmengine.logging import print_log
from mmengine.optim import AmpOptimWrapper, OptimWrapper
from mmengine.runner.amp import autocast
from torch import nn
from torch.optim import Optimizer

from fiber_mmdet.host import has_bfloat16_products


@OPTIM_WRAPPERS.register_module()
class Bf16OptimWrapper(OptimWrapper):
    """Forward passes in bfloat16 autocast, including on CPUs.

    Weights, gradients and optimizer states remain in fp32. bfloat16 has the range of fp32,
    so no loss scaling is needed (mmengine's ``AmpOptimWrapper`` scales losses
    and rejects CPUs). The model itself computes deformable convolutions, sampling offsets and
    losses in fp32.

    A device without bfloat16 products of its own (:func:`has_bfloat16_products`) emulates them,
    slower than in fp32: there everything is computed in fp32, and a warning is logged.

    On CPUs, images should be more than 64 pixels wide: torch (seen in 2.13) returns
    uninitialised memory as the weight gradient of a bfloat16 convolution with
    stride 2 whose input is one position wide, as the top of the pyramid would be.

    Args:
        **kwargs: as for mmengine's ``OptimWrapper``.
    """

    def __init__(self, *args, **kwargs) -> None:
        super().__init__(*args, **kwargs)
        self.enabled = has_bfloat16_products(get_device())
        if not self.enabled:
            print_log(
                'This device only imitates bfloat16, slowly: training in float32 instead.',
                'current',
                logging.WARNING,
            )

    @contextmanager
    def optim_context(self, model: nn.Module) -> Iterator[None]:
        """Autocast around the forward pass of ``model``."""
        with (
            super().optim_context(model),
            autocast(get_device(), torch.bfloat16, enabled=self.enabled),
        ):
            yield


@OPTIM_WRAPPERS.register_module(name='MixedPrecisionOptimWrapper')
def mixed_precision_optim_wrapper(
    optimizer: Optimizer,
    loss_scale: str | float | dict = 'dynamic',
    use_fsdp: bool = False,
    **kwargs,
) -> OptimWrapper:
    """Mixed precision as in the paper: fp16 with loss scaling on a GPU; bfloat16 on a CPU.

    So the same config runs on both.

    Args:
        optimizer: the optimizer.
        loss_scale: as for mmengine's ``AmpOptimWrapper``; unused with bfloat16.
        use_fsdp: whether the model is sharded, which needs another loss scaler.
        **kwargs: as for mmengine's ``OptimWrapper`` (``clip_grad``, ``accumulative_counts``).

    Returns:
        An ``AmpOptimWrapper`` or a :class:`Bf16OptimWrapper`.
    """
    if is_cuda_available():
        return AmpOptimWrapper(
            optimizer=optimizer, loss_scale=loss_scale, use_fsdp=use_fsdp, **kwargs
        )
    return Bf16OptimWrapper(optimizer=optimizer, **kwargs)
