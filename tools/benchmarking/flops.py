"""Floating-point operations: those of a call, and the most this machine can do per second."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from unittest import mock

import torch
from mmcv.ops import modulated_deform_conv
from torch.utils.flop_counter import FlopCounterMode

from fiber_mmdet.models.linear import Linear

ATEN = torch.ops.aten


def attention_flops(query, key, value, *args, out_shape=None, **kwargs) -> int:
    """Operations of attention: two products of (…, L, C) queries with M keys and values."""
    batch, heads, length, width = query
    return 2 * batch * heads * length * key[2] * (width + value[3])


def attention_backward_flops(grad_out, query, key, value, *args, out_shape=None, **kwargs) -> int:
    """Operations of its gradient: five products instead of two, as the first is recomputed."""
    return attention_flops(query, key, value) * 5 // 2


# torch's table lacks the fused attention of CPUs
MISSING = {
    ATEN._scaled_dot_product_flash_attention_for_cpu: attention_flops,
    ATEN._scaled_dot_product_flash_attention_for_cpu_backward: attention_backward_flops,
}


@contextmanager
def deformable_flops() -> Iterator[list[int]]:
    """Collects the operations of mmcv's deformable convolution, which torch does not see."""
    found: list[int] = []
    module = modulated_deform_conv.ext_module
    forward, backward = (
        module.modulated_deform_conv_forward,
        module.modulated_deform_conv_backward,
    )

    def product(weight, output) -> int:
        return 2 * weight.numel() * output.shape[0] * output[0, 0].numel()

    def counted_forward(x, weight, bias, ones, offset, mask, output, *args, **kwargs):
        forward(x, weight, bias, ones, offset, mask, output, *args, **kwargs)
        found.append(product(weight, output))

    def counted_backward(*args, **kwargs):
        backward(*args, **kwargs)
        # its last tensor is the output's gradient; it yields those of columns and of weights
        tensors = [arg for arg in args if isinstance(arg, torch.Tensor)]
        found.append(2 * product(tensors[1], tensors[-1]))

    with (
        mock.patch.object(module, 'modulated_deform_conv_forward', counted_forward),
        mock.patch.object(module, 'modulated_deform_conv_backward', counted_backward),
    ):
        yield found


def count_flops(call: Callable) -> int:
    """Operations of a call in matrix products, convolutions and attention.

    A multiplication and an addition count as two.
    """
    with (
        FlopCounterMode(display=False, custom_mapping=MISSING) as counter,
        deformable_flops() as deformable,
    ):
        call()
    return counter.get_total_flops() + sum(deformable)


@torch.no_grad()
def matrix_peak(device: torch.device, dtype: torch.dtype, seconds: float = 0.5) -> float:
    """Operations per second of the best matrix product that this machine reaches now.

    Args:
        device: where to compute.
        dtype: of the matrices.
        seconds: how long each size is tried.

    Returns:
        The best of several shapes, including those of the towers' linear layers.
    """
    best, sides = 0.0, ((4096, 8192) if device.type == 'cuda' else (1024, 2048))
    times = 10 if device.type == 'cuda' else 1
    for rows in sides:
        a = torch.randn(rows, 1024, device=device, dtype=dtype)
        b = torch.randn(1024, rows, device=device, dtype=dtype)
        layer = Linear(1024, rows, bias=False).to(device, dtype)
        # the two use different libraries on some CPUs
        for product in (partial(torch.matmul, a, b), partial(layer, a)):
            product()
            end = time.perf_counter() + seconds / 2
            while time.perf_counter() < end:
                synchronize(device)
                start = time.perf_counter()
                for _ in range(times):
                    product()
                synchronize(device)
                took = (time.perf_counter() - start) / times
                best = max(best, 2 * rows * rows * 1024 / took)
    return best


def synchronize(device: torch.device) -> None:
    """Wait until the device is done."""
    if device.type == 'cuda':
        torch.cuda.synchronize(device)
