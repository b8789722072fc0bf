"""Sharding of a model that does not fit on one device (FSDP2, torch's ``fully_shard``)."""

import logging
from collections.abc import Mapping
from typing import Any

import torch
from mmengine._strategy import BaseStrategy, FSDPStrategy
from mmengine.device import get_device
from mmengine.dist import is_main_process
from mmengine.hooks import Hook
from mmengine.logging import print_log
from mmengine.model import BaseDataPreprocessor
from mmengine.optim import BaseOptimWrapper
from mmengine.registry import STRATEGIES
from torch import Tensor, nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import FSDPModule, fully_shard
from torch.distributed.tensor import DTensor, distribute_tensor

from fiber_mmdet.models.backbone.fusion import FusionLayer
from fiber_mmdet.models.backbone.image_tower import SwinBlock
from fiber_mmdet.models.backbone.text_layers import TextLayer

# Other parts cannot be units: the model calls parts of them (prefixes, tails), whereas a unit
# gathers its weights only when it is called itself.
UNITS = (SwinBlock, TextLayer, FusionLayer)


@STRATEGIES.register_module()
class ResumableFSDPStrategy(FSDPStrategy):
    """Each process keeps a shard of every weight, gradient and optimizer state (FSDP2).

    Each block of the two towers and of the fusion is a unit, whose weights are gathered while it
    computes; the rest of the model is another one. A single process has nothing to shard, and
    trains or tests the model as it is.

    Differs from mmengine's ``FSDPStrategy``, which wraps the model in
    ``FullyShardedDataParallel`` (FSDP1):

    - torch's ``fully_shard`` leaves modules, names and optimizers as they are. Clipping, loss
      scaling, parameter groups, Muon and frozen parts are those of a training without shards.
    - Checkpoints are those of a training without shards, optimizer included: one can be resumed
      with any number of processes, sharded or not.
    - In validation and testing the whole weights are on each device: processes may then do
      different work (captions of different lengths, prompts that one of them has in its cache).
    - Models may have scalar parameters, and processes need no GPU.

    Args:
        reshard_after_forward: give up the gathered weights of a unit after its forward pass, and
            gather them again for the backward pass; False keeps them: more memory, fewer exchanges.
        model_wrapper: deprecated: of FSDP1, ignored with a warning.
        state_dict_cfg: deprecated: of FSDP1, ignored with a warning.
        **kwargs: as for mmengine's strategies.
    """

    def __init__(
        self,
        *,
        reshard_after_forward: bool = True,
        model_wrapper: dict | None = None,
        state_dict_cfg: str | dict | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(state_dict_cfg='full', **kwargs)  # the main process writes all
        self.reshard_after_forward = reshard_after_forward
        self.hooks: tuple[Hook, ...] = (WholeInEvaluationHook(reshard_after_forward),)
        if model_wrapper is not None or state_dict_cfg is not None:
            self._say_former('strategy.model_wrapper and strategy.state_dict_cfg')

    def _say_former(self, what: str) -> None:
        print_log(f'{what}: deprecated, without effect, leave it out', 'current', logging.WARNING)

    def _wrap_model(self, model: nn.Module) -> nn.Module:
        """Shard a model in place."""
        if self.world_size == 1:
            return model.to(get_device())
        for part in model.modules():
            if isinstance(part, BaseDataPreprocessor):
                part.to(get_device())  # which it remembers
        lift_scalars(model)
        mesh = init_device_mesh(torch.device(get_device()).type, (self.world_size,))
        units = [part for part in model.modules() if isinstance(part, UNITS)]
        for unit in reversed(units):  # those within others first
            fully_shard(unit, mesh=mesh, reshard_after_forward=self.reshard_after_forward)
        fully_shard(model, mesh=mesh, reshard_after_forward=False)  # its backward pass is next
        return model

    def build_optim_wrapper(
        self, optim_wrapper: Any, model: nn.Module | None = None
    ) -> BaseOptimWrapper:
        """The wrapper of an optimizer of the shards; mmengine's FSDP1 needs loss scalers apart."""
        if isinstance(optim_wrapper, dict) and optim_wrapper.pop('use_fsdp', False):
            self._say_former('optim_wrapper.use_fsdp')
        return BaseStrategy.build_optim_wrapper(self, optim_wrapper, model)

    def model_state_dict(self) -> dict[str, Tensor]:
        """The whole weights, on the CPU of the main process; all processes have to call it."""
        return whole_state(self.model.state_dict(), self.model)

    def load_model_state_dict(self, state_dict: dict, **kwargs: Any) -> None:
        """Load whole weights.

        Args:
            state_dict: the weights, equal in all processes.
            **kwargs: of mmengine's strategies (``strict``, ``revise_keys``).
        """
        own = self.model.state_dict()
        state = {
            key: shard_like(value, own.get(key.removeprefix('module.')))
            for key, value in state_dict.items()
        }
        BaseStrategy.load_model_state_dict(self, state, **kwargs)

    def resume(self, filename: str, **kwargs: Any) -> dict:
        """Resume from a checkpoint, of which each device gets its shards alone."""
        return super().resume(filename, **{**kwargs, 'map_location': 'cpu'})

    def optim_state_dict(self) -> dict:
        """The whole state of the optimizer, as one without shards has it; see the weights."""
        found = self.optim_wrapper.state_dict()
        names = self._trained()
        state = {
            number: {
                key: whole_tensor(value, shape_in(self.model, names[number]))
                for key, value in entries.items()
            }
            for number, entries in found['state'].items()
        }
        return {**found, 'state': state}

    def load_optim_state_dict(self, state_dict: dict) -> None:
        """Load the whole state of an optimizer.

        Args:
            state_dict: of any number of processes, sharded or not, equal in all processes.
        """
        names = self._trained()
        state_dict = by_number(state_dict, names)
        own = dict(self.model.named_parameters())
        state = {
            number: {
                # a count of steps belongs to no shard
                key: value if key == 'step' else shard_like(value, own[names[number]])
                for key, value in entries.items()
            }
            for number, entries in state_dict['state'].items()
        }
        self.optim_wrapper.load_state_dict({**state_dict, 'state': state})

    def _trained(self) -> list[str]:
        """Names of the parameters in the order in which the optimizer numbers them."""
        name_of = {id(parameter): name for name, parameter in self.model.named_parameters()}
        groups = self.optim_wrapper.optimizer.param_groups
        return [name_of[id(parameter)] for group in groups for parameter in group['params']]


class WholeInEvaluationHook(Hook):
    """Gathers the weights before a validation or test, and gives them up after it.

    Args:
        reshard_after_forward: that of the training.
    """

    priority = 'LOWEST'  # averaged weights are put into the shards before

    def __init__(self, reshard_after_forward: bool) -> None:
        self.reshard_after_forward = reshard_after_forward

    def _gather(self, runner: Any) -> None:
        if is_sharded(runner.model):
            for part in runner.model.modules():
                if is_sharded(part):
                    part.unshard()
            runner.model.set_reshard_after_forward(False)

    def _release(self, runner: Any, metrics: Any = None) -> None:
        if is_sharded(runner.model):
            give_up_whole(runner.model)
            runner.model.set_reshard_after_forward(self.reshard_after_forward)
            runner.model.set_reshard_after_forward(False, recurse=False)

    before_val_epoch = before_test_epoch = _gather
    after_val_epoch = after_test_epoch = _release


def is_sharded(part: Any) -> bool:
    """Whether a model, or a part of one, keeps shards of its weights."""
    return isinstance(part, FSDPModule)


def give_up_whole(model: nn.Module) -> None:
    """Keep the shards of a model alone, where whole weights were gathered."""
    for part in model.modules():
        if is_sharded(part):
            part.reshard()  # type: ignore[operator]


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

    def state_dict(self) -> dict[str, Tensor]:
        """The state, as tensors without values."""
        return self._state


def lift_scalars(module: nn.Module) -> None:
    """Turn scalar parameters into vectors of length one, which can be sharded.

    The shapes of before are kept as ``module.whole``, a :class:`WholeModel`.

    Args:
        module: the model, changed in place.
    """
    module.whole = WholeModel(module)  # type: ignore[assignment]
    for part in module.modules():
        for name, old in list(part.named_parameters(recurse=False)):
            if old.dim() == 0:
                setattr(part, name, nn.Parameter(old.detach().reshape(1), old.requires_grad))


def shape_in(model: nn.Module, key: str) -> torch.Size | None:
    """The shape of an entry of a model's state, as it is without shards; None if there is none."""
    whole: Any = getattr(model, 'whole', model)
    value = whole.state_dict().get(key)
    return None if value is None else value.shape


def whole_tensor(value: Any, shape: torch.Size | None) -> Any:
    """The whole of a sharded tensor in the main process, an empty one in others.

    Args:
        value: what is no sharded tensor is returned as it is.
        shape: to return it in; None for its own.
    """
    if not isinstance(value, DTensor):
        return value
    full = value.full_tensor()  # all processes take part
    if not is_main_process():
        return full.new_empty(0, device='cpu')
    return full.detach().reshape(value.shape if shape is None else shape).cpu()


def whole_state(state: Mapping[str, Any], model: nn.Module) -> dict[str, Any]:
    """Whole tensors of a state dict; see :func:`whole_tensor`.

    Args:
        state: of the model, or of its average, whose keys begin with ``module.``.
        model: the model.
    """
    return {
        key: whole_tensor(value, shape_in(model, key.removeprefix('module.')))
        for key, value in state.items()
    }


def shard_like(value: Any, mine: Any) -> Any:
    """This process's part of a whole tensor, as of another one; what does not fit stays whole.

    Args:
        value: the tensor, equal in all processes, which all have to call this.
        mine: a tensor that is sharded already; for any other, ``value`` is returned.
    """
    if not isinstance(mine, DTensor) or isinstance(value, DTensor):
        return value
    if not isinstance(value, Tensor) or value.numel() != mine.numel():
        return value
    value = value.detach().reshape(mine.shape).to(mine.device)
    return distribute_tensor(value, mine.device_mesh, mine.placements)


def by_number(state_dict: dict, names: list[str]) -> dict:
    """State of an optimizer by number; earlier checkpoints of sharded trainings have names.

    Args:
        state_dict: the state; what has numbers is returned as it is.
        names: of the parameters, in order.
    """
    if not any(isinstance(key, str) for key in state_dict['state']):
        return state_dict
    number = {name: i for i, name in enumerate(names)}
    groups = [
        {**group, 'params': [number[name] for name in group['params']]}
        for group in state_dict['param_groups']
    ]
    state = {number[name]: entries for name, entries in state_dict['state'].items()}
    return {**state_dict, 'state': state, 'param_groups': groups}


class ShardsOf(nn.Module):
    """The tensors of a sharded model under their names, in modules that compute nothing.

    Average weights are such a copy: a sharded model itself cannot be copied. Whole weights can be
    loaded, too.

    Args:
        model: whose tensors are copied.
    """

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        for name, parameter in model._parameters.items():
            copy = None if parameter is None else nn.Parameter(parameter.detach().clone(), False)
            self.register_parameter(name, copy)
        for name, buffer in model._buffers.items():
            copied = None if buffer is None else buffer.clone()
            kept = name not in model._non_persistent_buffers_set
            self.register_buffer(name, copied, persistent=kept)
        for name, child in model._modules.items():
            self.add_module(name, None if child is None else ShardsOf(child))

    def _load_from_state_dict(self, state_dict: dict, prefix: str, *args: Any) -> None:
        for name, mine in [*self._parameters.items(), *self._buffers.items()]:
            if prefix + name in state_dict:
                state_dict[prefix + name] = shard_like(state_dict[prefix + name], mine)
        super()._load_from_state_dict(state_dict, prefix, *args)
