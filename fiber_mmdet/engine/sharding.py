"""Sharding a model that does not fit one device (FSDP)."""

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
    """What is sharded as a unit: the blocks of both towers and of the fusion, and the rest together.

    A policy for ``auto_wrap_policy``. The rest of the model is used in pieces
    (prefixes, tails), which units that gather their weights when called would miss.

    Args:
        module: a part of the model.
        recurse: whether to look into the part, rather than at it.
        nonwrapped_numel: its parameters that are in no unit yet.

    Returns:
        Whether to look into the part, or to make it a unit.
    """
    return recurse or isinstance(module, (SwinBlock, TextLayer, FusionLayer))


def lift_scalars(module: nn.Module) -> None:
    """Turn parameters without dimensions into vectors of one, which can be sharded.

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
    """Names and shapes of a model's state, as they were before it was sharded.

    Args:
        module: the model.
    """

    def __init__(self, module: nn.Module) -> None:
        self._state = {
            key: torch.empty_like(value, device='meta')
            for key, value in module.state_dict().items()
        }

    def state_dict(self) -> dict[str, torch.Tensor]:
        """The state, without values."""
        return self._state


@MODEL_WRAPPERS.register_module()
class AnyDeviceFSDP(MMFullyShardedDataParallel):
    """mmengine's FSDP wrapper for models with scalars, also for processes without a GPU.

    Differs in two points: parameters without dimensions (the scales of the box
    branch), which FSDP refuses, are sharded as vectors of one; without CUDA
    ``device_id`` is the CPU, whatever the strategy passes. Training there, with
    gloo, serves tests. Gradients cannot be clipped.

    Args:
        module: the model.
        device_id: the GPU of this process.
        **kwargs: as for ``MMFullyShardedDataParallel``.

    Attributes:
        whole: what :class:`CheckpointCheckHook` compares checkpoints with.
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
        """One step of training.

        Raises:
            ValueError: if gradients shall be clipped: mmengine would measure them shard by shard.
        """
        if optim_wrapper.clip_grad_kwargs:
            raise ValueError(
                'optim_wrapper.clip_grad: each process would clip its shards by their '
                'own norm. Set optim_wrapper.clip_grad=None with sharding'
            )
        return super().train_step(data, optim_wrapper)


@STRATEGIES.register_module()
class ResumableFSDPStrategy(FSDPStrategy):
    """mmengine's strategy, whose trainings can be resumed.

    Differs in the loading of optimizer states: mmengine hands the arguments to
    torch in an order that torch has given up.
    """

    def load_optim_state_dict(self, state_dict: dict) -> None:
        """Load the state of the optimizer, each process its shards.

        Args:
            state_dict: what a checkpoint holds, of the whole model.
        """
        optimizer = self.optim_wrapper.optimizer
        self.optim_wrapper.load_state_dict(
            FullyShardedDataParallel.optim_state_dict_to_load(self.model, optimizer, state_dict)
        )
