"""Sharding of a model that does not fit on one device (FSDP)."""

import torch
from mmdet.registry import MODEL_WRAPPERS
from mmengine._strategy import FSDPStrategy
from mmengine.device import is_cuda_available
from mmengine.model.wrappers import MMFullyShardedDataParallel
from mmengine.optim import OptimWrapper
from mmengine.registry import FUNCTIONS, STRATEGIES
from torch import nn
from torch.distributed.fsdp import FullyShardedDataParallel

from fiber_mmdet.models.backbone.fusion import FusionLayer
from fiber_mmdet.models.backbone.image_tower import SwinBlock
from fiber_mmdet.models.backbone.text_layers import TextLayer


@FUNCTIONS.register_module()
def tower_blocks(module: nn.Module, recurse: bool, nonwrapped_numel: int) -> bool:
    """Wrap policy: each block of the towers and of the fusion is a unit, the rest is another one.

    For FSDP's ``auto_wrap_policy``. Other modules cannot be units: the model calls parts of them
    (prefixes, tails), whereas a unit gathers its weights only when called itself.

    Args:
        module: a part of the model.
        recurse: whether the question is to descend into the part, or to make it a unit.
        nonwrapped_numel: number of its parameters that are not in a unit yet.

    Returns:
        The answer to that question.
    """
    return recurse or isinstance(module, (SwinBlock, TextLayer, FusionLayer))


def lift_scalars(module: nn.Module) -> None:
    """Turn scalar parameters into vectors of length one, which can be sharded.

    State dicts keep the original shapes.

    Args:
        module: the model, changed in place.
    """
    for part in module.modules():
        names = [name for name, p in part.named_parameters(recurse=False) if p.dim() == 0]
        if not names:
            continue
        for name in names:
            old = getattr(part, name)
            setattr(part, name, nn.Parameter(old.detach().reshape(1), old.requires_grad))

        def reshape(state: dict, prefix: str, shape: tuple, names=tuple(names)) -> None:
            for key in (prefix + name for name in names):
                if key in state:
                    state[key] = state[key].reshape(shape)

        part.register_state_dict_post_hook(
            lambda _, state, prefix, *args, reshape=reshape: reshape(state, prefix, ())
        )
        part.register_load_state_dict_pre_hook(
            lambda _, state, prefix, *args, reshape=reshape: reshape(state, prefix, (1,))
        )


class WholeModel:
    """Names and shapes of a model's state before it was sharded.

    Args:
        module: the model.
    """

    def __init__(self, module: nn.Module) -> None:
        self._state = {
            key: torch.empty_like(value, device='meta')
            for key, value in module.state_dict().items()
        }

    def state_dict(self) -> dict[str, torch.Tensor]:
        """The state, as tensors without values."""
        return self._state


@MODEL_WRAPPERS.register_module()
class AnyDeviceFSDP(MMFullyShardedDataParallel):
    """mmengine's FSDP wrapper for models with scalar parameters, and for processes without a GPU.

    Differs from mmengine's in two points: scalar parameters (the scales of the box
    branch), which FSDP rejects, are sharded as vectors of length one; without CUDA
    ``device_id`` is the CPU, whatever the strategy passes. Training on CPUs, with
    gloo, is meant for tests. Gradients cannot be clipped.

    Args:
        module: the model.
        device_id: the GPU of this process.
        **kwargs: as for ``MMFullyShardedDataParallel``.

    Attributes:
        whole: the unsharded state, with which :class:`CheckpointCheckHook` compares checkpoints.
    """

    def __init__(
        self, module: nn.Module, device_id: int | torch.device | None = None, **kwargs
    ) -> None:
        whole = WholeModel(module)
        lift_scalars(module)
        device = device_id if is_cuda_available() else torch.device('cpu')
        super().__init__(module, device_id=device, **kwargs)
        self.whole = whole

    def train_step(self, data: dict, optim_wrapper: OptimWrapper) -> dict[str, torch.Tensor]:
        """One training step.

        Raises:
            ValueError: gradients are to be clipped, which mmengine would do shard by shard.
        """
        if optim_wrapper.clip_grad_kwargs:
            raise ValueError(
                'optim_wrapper.clip_grad: each process would clip its shards by their '
                'own norm. Set optim_wrapper.clip_grad=None with sharding'
            )
        return super().train_step(data, optim_wrapper)


@STRATEGIES.register_module()
class ResumableFSDPStrategy(FSDPStrategy):
    """mmengine's strategy, able to resume trainings.

    Differs from mmengine's in the loading of optimizer states: mmengine passes the arguments to
    torch in an order that torch no longer accepts.
    """

    def load_optim_state_dict(self, state_dict: dict) -> None:
        """Load this process's shards of the optimizer state.

        Args:
            state_dict: state for the whole model, from a checkpoint.
        """
        optimizer = self.optim_wrapper.optimizer
        self.optim_wrapper.load_state_dict(
            FullyShardedDataParallel.optim_state_dict_to_load(self.model, optimizer, state_dict)
        )
