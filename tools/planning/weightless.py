"""Models whose weights have shapes but no values, and training steps of them.

torch's ``FakeTensorMode`` computes shapes, types and strides without values. A training step also
needs values: which words are masked, which anchors a box is assigned to. So only the weights, and
what is computed from them, are without values here; tokens, boxes, labels, masks and anchors are
ordinary tensors, and the model runs as it is.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensor, FakeTensorMode
from torch.nn.modules.module import register_module_parameter_registration_hook
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

ATEN = torch.ops.aten
INDEXING = {ATEN.index.Tensor, ATEN.index_put.default, ATEN.index_put_.default}
INDEXING |= {ATEN._index_put_impl_.default, ATEN._unsafe_index.Tensor}


class NeedsValues(ValueError):
    """A model decides by values that a plan does not have."""


def weightless() -> FakeTensorMode:
    """The mode in which tensors without values are made; they mix with ordinary tensors."""
    return FakeTensorMode(allow_non_fake_inputs=True)


@contextmanager
def without_weights(mode: FakeTensorMode) -> Iterator[None]:
    """A context in which the parameters of new modules have no values, and take no memory."""

    def replace(module: nn.Module, name: str, parameter: nn.Parameter | None) -> Tensor | None:
        if parameter is None or isinstance(parameter, FakeTensor):
            return None
        with mode:
            empty = torch.empty_like(parameter, device='cpu')
        return nn.Parameter(empty, parameter.requires_grad)

    handle = register_module_parameter_registration_hook(replace)
    try:
        with MixedValues(number=0):  # torch draws truncated normals until all are within bounds
            yield
    finally:
        handle.remove()


class MixedValues(TorchDispatchMode):
    """Lets tensors without values meet ordinary ones.

    - A mask that picks rows is turned into their numbers. One that depends on the model picks all
      rows: the most that there could be.
    - Of equal numbers in a row, there are four: as many neighbours has a tap of a deformable
      convolution.
    - Ordinary tensors stay as they are when values that nobody knows are written into them.

    Args:
        number: the answer to questions for a number that depends on the weights.

    Raises:
        NeedsValues: the model asks such a question, and there is no answer.
    """

    def __init__(self, number: float | None = None) -> None:
        super().__init__()
        self.number = number

    def __torch_dispatch__(
        self, func: Callable, types: Any, args: tuple = (), kwargs: dict | None = None
    ) -> Any:
        kwargs = kwargs or {}
        if not any(isinstance(x, FakeTensor) for x in tree_leaves((args, kwargs))):
            return func(*args, **kwargs)
        if func in INDEXING:
            args = (args[0], [row for index in args[1] for row in numbers(index)], *args[2:])
            if not any(isinstance(x, FakeTensor) for x in tree_leaves((args, kwargs))):
                return func(*args, **kwargs)
        if func is ATEN._local_scalar_dense.default:
            if self.number is not None:
                return torch.tensor(self.number).to(args[0].dtype).item()
            raise NeedsValues(
                'the model asks for a number that depends on its weights, which plans do not have'
            )
        if func is ATEN.unique_consecutive.default:
            return _runs(*args, **kwargs)
        first = args[0] if args else None
        if (
            func._schema.is_mutable
            and isinstance(first, Tensor)
            and not isinstance(first, FakeTensor)
            and func._schema.arguments[0].is_write
        ):
            return first
        return func(*args, **kwargs)


def _runs(
    x: Tensor, return_inverse: bool = False, return_counts: bool = False, dim: None = None
) -> tuple[Tensor, Tensor, Tensor]:
    """Shapes of ``torch.unique_consecutive``."""
    count = -(-x.numel() // 4)
    inverse = x.new_empty(x.shape if return_inverse else 0, dtype=torch.int64)
    return x.new_empty(count), inverse, x.new_empty(count * return_counts, dtype=torch.int64)


def numbers(index: Tensor | None) -> list[Tensor | None]:
    """An index; a mask as the numbers of what it picks, per dimension; one without values: all."""
    if index is None or index.dtype not in (torch.bool, torch.uint8):
        return [index]
    if isinstance(index, FakeTensor):
        index = torch.ones(index.shape, dtype=torch.bool)
    return list(index.nonzero().unbind(1))
