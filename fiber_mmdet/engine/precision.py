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
    """Forward passes under bfloat16 autocast, on the CPU too.

    Weights, gradients and optimizer stay in fp32. bfloat16 has the range of fp32,
    so that no loss scaling is needed (mmengine's ``AmpOptimWrapper`` scales,
    and refuses CPUs). Deformable convolutions, sampling offsets and losses are
    computed in fp32 by the model itself.

    A CPU without products of bfloat16 (older than AVX-512) only imitates them, several
    times slower than those of fp32: there all is computed in fp32, and the log says so.

    On CPUs, images should be more than 64 pixels wide: torch (seen in 2.13) returns
    uninitialised memory as the weight gradient of a bfloat16 convolution of
    stride 2 whose input is one position wide, as the top of the pyramid then is.

    Args:
        **kwargs: as for mmengine's ``OptimWrapper``.
    """

    def __init__(self, *args, **kwargs) -> None:
        super().__init__(*args, **kwargs)
        self.enabled = get_device() != 'cpu' or has_bfloat16_products()
        if not self.enabled:
            print_log(
                'This CPU only imitates bfloat16, slowly: training in float32 instead.',
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
    """Mixed precision as the paper trains: fp16 with loss scaling on a GPU, bfloat16 on a CPU.

    A config with it runs on both.

    Args:
        optimizer: the optimizer.
        loss_scale: as for mmengine's ``AmpOptimWrapper``; bfloat16 needs none.
        use_fsdp: scale the losses of a sharded model.
        **kwargs: as for mmengine's ``OptimWrapper`` (``clip_grad``, ``accumulative_counts``).

    Returns:
        An ``AmpOptimWrapper`` or a :class:`Bf16OptimWrapper`.
    """
    if is_cuda_available():
        return AmpOptimWrapper(
            optimizer=optimizer, loss_scale=loss_scale, use_fsdp=use_fsdp, **kwargs
        )
    return Bf16OptimWrapper(optimizer=optimizer, **kwargs)
