"""What is kept from step to step: weights, optimizer states, averages; and files of them."""

import logging
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from mmengine.optim import build_optim_wrapper
from torch import Tensor, nn

from fiber_mmdet.models.backbone.fusion import FusionLayer
from fiber_mmdet.models.backbone.image_tower import SwinBlock
from fiber_mmdet.models.backbone.text_layers import TextLayer

UNITS = (SwinBlock, TextLayer, FusionLayer)  # which sharding gathers one at a time
ENTRY = 350  # bytes that a tensor takes in a file beside its values: name, shape, alignment


@dataclass(frozen=True)
class States:
    """Bytes of what a process keeps, before it is shared out.

    Attributes:
        parts: name of a part -> its parameters, in numbers, each counted once.
        weights: of all parameters.
        trained: of the parameters that are trained; gradients take as much.
        buffers: of what is not trained: tables, queues.
        optimizer: of the optimizer's states.
        averages: of averaged weights.
        largest_unit: of the largest block that sharding gathers at a time.
        outside_units: of parameters outside of such blocks, which stay gathered in a step.
        weights_file: a file of weights alone.
        checkpoint: a checkpoint of a training.
    """

    parts: dict[str, int]
    weights: int
    trained: int
    buffers: int
    optimizer: int
    averages: int
    largest_unit: int
    outside_units: int
    weights_file: int
    checkpoint: int


def states_of(model: nn.Module, cfg: Mapping[str, Any]) -> States:
    """What a training of a config keeps.

    Args:
        model: in the mode of training, with what is frozen frozen.
        cfg: the whole config: its optimizer and hooks.
    """
    state = model.state_dict()
    weights_file = _bytes(state.values()) + ENTRY * len(state)
    averaged = any('EMAHook' in str(hook.get('type')) for hook in cfg.get('custom_hooks') or ())
    optimizer, entries = optimizer_bytes(model, cfg) if cfg.get('optim_wrapper') else (0, 0)
    units = unit_sizes(model)
    weights = _bytes(model.parameters())
    return States(
        parts_of(model),
        weights,
        _bytes(p for p in model.parameters() if p.requires_grad),
        _bytes(model.buffers()) + _bytes(queued_images(model)),
        optimizer,
        _bytes(state.values()) if averaged else 0,
        max(units, default=weights),
        weights - sum(units),
        weights_file,
        weights_file * (1 + averaged) + optimizer + ENTRY * entries,
    )


def parts_of(model: nn.Module) -> dict[str, int]:
    """Parameters of each part of a model, each counted once: towers, fusion, heads."""
    found: dict[str, int] = {}
    seen: set[int] = set()

    def count(name: str, part: nn.Module) -> None:
        new = [p for p in part.parameters() if id(p) not in seen]
        seen.update(map(id, new))
        if new:
            found[name] = found.get(name, 0) + sum(p.numel() for p in new)

    for name, part in model.named_children():
        inner = part.named_children() if name in ('backbone', 'heads') else []
        for key, one in inner:
            count(f'{name}.{key}', one)
        count(name, part)
    count('others', model)
    return found


def unit_sizes(model: nn.Module) -> list[int]:
    """Bytes of the blocks that sharding gathers one after the other."""
    found: list[int] = []

    def descend(part: nn.Module) -> None:
        for child in part.children():
            if isinstance(child, UNITS):
                found.append(_bytes(child.parameters()))
            else:
                descend(child)

    descend(model)
    return found


def queued_images(model: nn.Module) -> list[Tensor]:
    """Images of earlier batches, which the queues of a contrast keep."""
    images = (getattr(part, 'images', None) for part in model.modules())
    return [x for x in images if isinstance(x, Tensor)]


def optimizer_bytes(model: nn.Module, cfg: Mapping[str, Any]) -> tuple[int, int]:
    """Bytes of an optimizer's states, and the number of its tensors.

    The optimizer of the config takes a step with one small parameter for each of its groups; what
    it then keeps in the shape of the parameter, it keeps of all parameters of the group.
    """
    settings = dict(cfg['optim_wrapper'])
    settings = {
        k: settings[k] for k in ('optimizer', 'constructor', 'paramwise_cfg') if k in settings
    }
    with _silence():
        optimizer = build_optim_wrapper(model, dict(settings, type='OptimWrapper')).optimizer
    groups = [list(group['params']) for group in optimizer.param_groups]
    for group in optimizer.param_groups:
        one = nn.Parameter(torch.zeros(3, 2))
        one.grad = torch.ones(3, 2)
        group['params'] = [one]
    optimizer.step()
    total = entries = 0
    for group, parameters in zip(optimizer.param_groups, groups):
        one = group['params'][0]
        kept = [x for x in optimizer.state[one].values() if isinstance(x, Tensor)]
        copies = sum(x.element_size() for x in kept if x.shape == one.shape)
        total += copies * sum(p.numel() for p in parameters)
        entries += len(kept) * len(parameters)
    return total, entries


@contextmanager
def _silence() -> Iterator[None]:
    """Without the table of parameter groups, which a training logs."""
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        yield
    finally:
        logging.disable(before)


def _bytes(tensors: Any) -> int:
    return sum(x.numel() * x.element_size() for x in tensors if isinstance(x, Tensor))
