"""What a step keeps in memory on a GPU, where that differs from a CPU.

torch without CUDA cannot differentiate tensors that are said to be on a GPU. A plan therefore runs
on tensors of the CPU that have no values, with stand-ins for what GPUs compute in another way:
attention, dropout, deformable convolution, and the types of mixed precision.
"""

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any
from unittest import mock

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.utils._pytree import tree_map_only

from fiber_mmdet.models.detection.deformable_conv import DeformableConv

ATEN = torch.ops.aten
ALIGNED = 8  # torch pads the bias of fused attention to a multiple of this
# Of torch's list of what autocast computes in float32 on CUDA, and not on CPUs, what models use
IN_FLOAT32 = (
    'layer_norm',
    'group_norm',
    'softmax',
    'log_softmax',
    'softplus',
    'normalize',
    'cross_entropy',
    'nll_loss',
    'binary_cross_entropy_with_logits',
    'kl_div',
    'mse_loss',
    'l1_loss',
    'smooth_l1_loss',
)


@contextmanager
def as_on_gpu(low: bool) -> Iterator[None]:
    """A context in which a model on the CPU keeps what it would keep on a GPU.

    Args:
        low: mixed precision, of two bytes (float16 or bfloat16).
    """
    with ExitStack() as stack:
        # leaves linear layers to torch
        stack.enter_context(torch.backends.mkldnn.flags(enabled=False))
        replaced = [
            (DeformableConv, 'forward', _deformable),
            (F, 'scaled_dot_product_attention', fused_attention),
            (F, 'dropout', _dropout),
        ]
        if low:  # torch's rules for CPUs, and what is different on GPUs
            replaced += [(F, name, _in_float32(getattr(F, name))) for name in IN_FLOAT32]
            stack.enter_context(torch.autocast('cpu', torch.float16))
        for place, name, function in replaced:
            stack.enter_context(mock.patch.object(place, name, function))
        yield


def _in_float32(function: Callable) -> Callable:
    """A function that autocast computes in float32."""

    def call(*args: Any, **kwargs: Any) -> Any:
        if torch.is_autocast_enabled('cpu'):
            args, kwargs = tree_map_only(Tensor, _float32, (args, kwargs))
        return function(*args, **kwargs)

    return call


def fused_attention(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attn_mask: Tensor | None = None,
    dropout_p: float = 0.0,
    is_causal: bool = False,
) -> Tensor:
    """The attention that torch chooses on a GPU for masks and biases: memory-efficient."""
    if torch.is_autocast_enabled('cpu'):
        query, key, value = (x.half() for x in (query, key, value))
    bias = attn_mask
    if bias is not None:
        if bias.dtype == torch.bool:
            bias = torch.zeros_like(bias, dtype=query.dtype).masked_fill(~bias, -torch.inf)
        length, missing = bias.shape[-1], -bias.shape[-1] % ALIGNED
        bias = F.pad(bias.to(query.dtype), (0, missing))[..., :length] if missing else bias
        bias = bias.to(query.dtype).expand(*query.shape[:3], key.shape[2])
    return ATEN._scaled_dot_product_efficient_attention(
        query, key, value, bias, True, dropout_p, is_causal
    )[0]


def _dropout(x: Tensor, p: float = 0.5, training: bool = True, inplace: bool = False) -> Tensor:
    return ATEN.native_dropout(x, p, True)[0] if training and p else x


def _float32(x: Tensor) -> Tensor:
    return x.float() if x.dtype in (torch.float16, torch.bfloat16) else x


def _deformable(self: DeformableConv, x: Tensor, offset: Tensor, mask: Tensor) -> Tensor:
    return _Deformable.apply(x, offset, mask, self.weight, self.bias)


class _Deformable(torch.autograd.Function):
    """mmcv's kernel for GPUs: its saved tensors, its buffer for an image, its products."""

    @staticmethod
    def forward(ctx, x, offset, mask, weight, bias):
        ctx.save_for_backward(x, offset, mask, weight, bias)
        columns = _columns(x, offset)
        return torch.stack([_product(columns, weight, offset) for _ in x])

    @staticmethod
    @once_differentiable
    def backward(ctx, grad):
        x, offset, mask, weight, bias = ctx.saved_tensors
        columns = _columns(x, offset)
        for one in grad:
            rows = one.flatten(1)
            weight.flatten(1).t() @ rows, rows @ columns.t()
        return tuple(torch.zeros_like(one) for one in (x, offset, mask, weight, bias))


def _columns(x: Tensor, offset: Tensor) -> Tensor:
    return x.new_empty(9 * x.shape[1], offset[0, 0].numel())


def _product(columns: Tensor, weight: Tensor, offset: Tensor) -> Tensor:
    return (weight.flatten(1) @ columns).view(-1, *offset.shape[-2:])
