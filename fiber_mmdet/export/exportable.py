"""A copy of a model whose parts torch can export, for images of any size and batches of any number.

It shares the weights of the model and gives the same outputs. Parts are computed in another way
where they ask for the size of the map (window attention, vectors of places), and deformable
convolution, which neither ONNX nor a portable program of torch has.
"""

import copy
from typing import Any, TypeVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from fiber_mmdet.models.backbone.image_tower import PositionEmbed
from fiber_mmdet.models.backbone.windows import WindowAttention
from fiber_mmdet.models.detection.deformable_conv import SIDE, DeformableConv

TAPS = SIDE * SIDE
Model = TypeVar('Model', bound=nn.Module)


class AnyMapAttention(nn.Module):
    """Window attention whose number of windows and masks follow from the map when it runs.

    Differs from the model's :class:`WindowAttention`: all windows of a shifted map get a mask, also
    those where it is zero, instead of the windows at the seam alone.

    Args:
        part: what it replaces; its weights are shared.
    """

    def __init__(self, part: WindowAttention) -> None:
        super().__init__()
        self.part = part

    def forward(self, x: Tensor) -> Tensor:
        """(B, H, W, C) to (B, H, W, C)."""
        part, win = self.part, self.part.window
        b, height, width, dim = x.shape
        rows, cols = (height + win - 1) // win, (width + win - 1) // win
        shift: int | Tensor = part.shift
        if shift and not part.always_shift:  # a tensor, for no answer is known when recording
            shift = shift * (
                (torch.arange(height).max() >= win) | (torch.arange(width).max() >= win)
            )
        x = _padded(_padded(x, 1, rows * win, shift), 2, cols * win, shift)
        x = x.reshape(b, rows, win, cols, win, dim).transpose(2, 3)
        x = x.reshape(b, rows * cols, win * win, dim)
        qkv = part.qkv(x).unflatten(-1, (3, part.num_heads, dim // part.num_heads))
        query, key, value = qkv.permute(3, 0, 1, 4, 2, 5)  # (B, windows, heads, length, channels)
        query = query * query.shape[-1] ** -0.5
        scores = query @ key.transpose(-2, -1) + part._bias()
        if part.shift:
            scores = scores + _masks(rows, cols, win, shift)
        x = part.proj((scores.softmax(-1) @ value).transpose(2, 3).flatten(-2))
        x = x.reshape(b, rows, cols, win, win, dim).transpose(2, 3)
        x = x.reshape(b, rows * win, cols * win, dim)
        return _cropped(_cropped(x, 1, height, shift), 2, width, shift)


# By gathers: what slices and padding compute is the same, but torch asks of them whether the map
# fills its windows, and would record the answer for the example alone.
def _padded(x: Tensor, dim: int, length: int, shift: int | Tensor) -> Tensor:
    """A dimension padded with zeros to ``length``, and rolled by ``-shift``."""
    place = torch.arange(length) + shift
    place = torch.where(place < length, place, place - length)
    found = x.index_select(dim, place.clamp(max=x.shape[dim] - 1))
    real = (place < x.shape[dim]).to(x.dtype)
    return found * real.reshape(-1, *[1] * (x.dim() - dim - 1))


def _cropped(x: Tensor, dim: int, length: int, shift: int | Tensor) -> Tensor:
    """The opposite of :func:`_padded`: a dimension of which ``length`` were there."""
    place = torch.arange(length) - shift
    return x.index_select(dim, torch.where(place >= 0, place, place + x.shape[dim]))


def _masks(rows: int, cols: int, window: int, shift: int | Tensor) -> Tensor:
    """(windows, 1, length, length) float32: 0 within a region of a shifted map, -100 across."""

    def region(count: int) -> Tensor:
        place = torch.arange(count * window)
        seams = (place >= (count - 1) * window).int() + (place >= count * window - shift).int()
        return seams.reshape(count, window)

    number = 3 * region(rows)[:, None, :, None] + region(cols)[None, :, None, :]
    number = number.reshape(rows * cols, window * window)
    return (number[:, None, :, None] != number[:, None, None, :]).float() * -100.0


class AnyMapPositions(nn.Module):
    """Vectors of places, interpolated also to the size that they have, which changes nothing.

    Args:
        part: what it replaces; its weights are shared.
    """

    def __init__(self, part: PositionEmbed) -> None:
        super().__init__()
        self.table = part.table

    def forward(self, x: Tensor) -> Tensor:
        """(B, H, W, dim), with the vectors added."""
        table = F.interpolate(
            self.table.permute(0, 3, 1, 2), size=x.shape[1:3], mode='bicubic', align_corners=False
        )
        return x + table.permute(0, 2, 3, 1)


class GatheredConv(nn.Module):
    """Modulated deformable convolution as four gathers, a weighted sum and a matrix product.

    Args:
        part: what it replaces; its weights are shared.
    """

    def __init__(self, part: DeformableConv) -> None:
        super().__init__()
        self.weight, self.bias = part.weight, part.bias
        self.stride = part.stride[0]

    def forward(self, x: Tensor, offset: Tensor, mask: Tensor) -> Tensor:
        """As :meth:`DeformableConv.forward`: (B, C, H, W) to (B, C, H', W')."""
        b, channels, height, width = x.shape
        rows, cols = offset.shape[-2:]
        offset = offset.reshape(b, TAPS, 2, rows, cols)
        tap = torch.arange(TAPS)
        down = (torch.arange(rows) * self.stride)[:, None] + (tap // SIDE - 1)[:, None, None]
        across = (torch.arange(cols) * self.stride)[None] + (tap % SIDE - 1)[:, None, None]
        ys = _neighbours(offset[:, :, 0] + down.to(x.dtype), height)
        xs = _neighbours(offset[:, :, 1] + across.to(x.dtype), width)
        first = (torch.arange(b) * (height * width))[:, None, None, None]
        places = x.permute(0, 2, 3, 1).reshape(-1, channels)
        weight = mask.reshape(b, TAPS, rows, cols)
        parts = [
            places.index_select(0, (first + row * width + col).flatten())
            * (weight * row_weight * col_weight).reshape(-1, 1)
            for row, row_weight in ys
            for col, col_weight in xs
        ]
        samples = parts[0] + parts[1] + parts[2] + parts[3]
        samples = samples.reshape(b, TAPS, rows * cols, channels).transpose(1, 2).flatten(2)
        kernel = self.weight.permute(2, 3, 1, 0).reshape(TAPS * channels, -1)
        out = samples @ kernel + self.bias
        return out.transpose(1, 2).reshape(b, -1, rows, cols)


def _neighbours(at: Tensor, size: int) -> list[tuple[Tensor, Tensor]]:
    """Both integers around each coordinate, int64 within [0, size), and their weights."""
    low = at.floor()
    part = at - low
    return [
        (near.clamp(0, size - 1).long(), weight * ((near >= 0) & (near < size)).to(weight.dtype))
        for near, weight in ((low, 1 - part), (low + 1, part))
    ]


REPLACED: dict[type[nn.Module], Any] = {
    WindowAttention: AnyMapAttention,
    PositionEmbed: AnyMapPositions,
    DeformableConv: GatheredConv,
}


def exportable(model: Model) -> Model:
    """A copy of a model to export; it shares the weights, and is in evaluation mode.

    Args:
        model: any part of a model.
    """
    shared = {id(one): one for one in (*model.parameters(), *model.buffers())}
    found = copy.deepcopy(model, shared)
    for module in list(found.modules()):
        for name, part in list(module.named_children()):
            if type(part) in REPLACED:
                setattr(module, name, REPLACED[type(part)](part))
    return found.eval()
