"""Options that trade exactness for speed: low precision and compilation."""

from collections.abc import Callable
from contextlib import AbstractContextManager
from functools import partial

import torch
from torch import nn

from fiber_mmdet.host import has_bfloat16_products

PRECISIONS = ('float32', 'bfloat16', 'float16')


def autocast_of(
    precision: str | None, device: str | torch.device
) -> Callable[[], AbstractContextManager]:
    """The context in which a model computes with a precision.

    Weights stay in float32; matrix products, convolutions and attention are computed in the lower
    precision, scores, boxes and NMS in float32. docs/performance.md shows the differences.

    Args:
        precision: ``'bfloat16'``, ``'float16'`` (GPUs only), or ``'float32'`` or None for neither.
        device: where the model computes.

    Returns:
        A function that returns a new context.

    Raises:
        ValueError: another precision, float16 on a CPU, or bfloat16 on a device that emulates it.
    """
    if precision is not None and precision not in PRECISIONS:
        raise ValueError(f'precision={precision!r} must be one of {", ".join(PRECISIONS)}')
    kind = torch.device(device).type
    if precision == 'float16' and kind == 'cpu':
        raise ValueError("precision='float16' needs a GPU; CPUs have 'bfloat16'")
    if precision == 'bfloat16' and not has_bfloat16_products(kind):
        raise ValueError("precision='bfloat16': this device only imitates it, slower than float32")
    dtype = dict(bfloat16=torch.bfloat16, float16=torch.float16).get(precision or 'float32')
    return partial(torch.autocast, kind, dtype, enabled=dtype is not None)


def compile_detector(model: nn.Module) -> None:
    """Compile the towers, the pyramid and the head of a detector with ``torch.compile``, in place.

    The first image of each size and the first prompt take minutes; CPUs need a C++ compiler.
    Parameters keep their names, so checkpoints still fit.

    Args:
        model: a :class:`~fiber_mmdet.models.FIBERDetector`.
    """
    for owner, name in (
        (model.backbone, 'encode_image'),
        (model.backbone, 'encode_text'),
        (model.backbone, 'fuse'),
        (model.neck, 'forward'),
        (model.bbox_head, 'forward'),
    ):
        setattr(owner, name, torch.compile(getattr(owner, name)))
