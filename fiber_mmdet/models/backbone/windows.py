"""Shifted windows: partition, masks and window self-attention (Swin, Liu et al. 2021)."""

from functools import lru_cache
from typing import NamedTuple

import torch
import torch.nn.functional as F
from mmengine.model import BaseModule
from torch import Tensor, nn

from ..linear import Linear
from .attention import attention


def window_partition(x: Tensor, window: int) -> Tensor:
    """Cut a map into windows.

    Args:
        x: (B, H, W, C), H and W multiples of ``window``.
        window: side of a window in positions.

    Returns:
        (B * H/window * W/window, window * window, C), image-major, row-major.
    """
    b, h, w, c = x.shape
    x = x.view(b, h // window, window, w // window, window, c)
    return x.transpose(2, 3).reshape(-1, window * window, c)


def window_reverse(windows: Tensor, window: int, size: tuple[int, int]) -> Tensor:
    """Undo :func:`window_partition`.

    Args:
        windows: (B * num_windows, window * window, C).
        window: side of a window in positions.
        size: (H, W) of the map, multiples of ``window``.

    Returns:
        (B, H, W, C).
    """
    h, w = size
    x = windows.view(-1, h // window, w // window, window, window, windows.shape[-1])
    return x.transpose(2, 3).reshape(-1, h, w, windows.shape[-1])


def relative_position_index(window: int) -> Tensor:
    """Row of the bias table for each (query, key) pair of a window.

    Returns:
        (window**2, window**2) int64; the row is ``(dy + w - 1) * (2w - 1) + dx + w - 1``.
    """
    axis = torch.arange(window)
    y, x = torch.meshgrid(axis, axis, indexing='ij')
    y, x = y.flatten(), x.flatten()
    dy = y[:, None] - y[None, :] + window - 1
    dx = x[:, None] - x[None, :] + window - 1
    return dy * (2 * window - 1) + dx


def shift_regions(
    size: tuple[int, int], window: int, shift: int, device: torch.device | None = None
) -> Tensor:
    """Numbered regions of a shifted map; no attention crosses from one to another.

    Args:
        size: (H, W) of the padded map, multiples of ``window``.
        window: side of a window in positions.
        shift: cyclic shift in positions, 0 < shift < window.
        device: of the result.

    Returns:
        (num_windows, window**2) float32; positions with the same number were together before the
        shift.
    """
    region = torch.zeros(1, *size, 1, device=device)
    edges = (slice(0, -window), slice(-window, -shift), slice(-shift, None))
    for i, rows in enumerate(edges):
        for j, cols in enumerate(edges):
            region[:, rows, cols] = 3 * i + j
    return window_partition(region, window).squeeze(-1)


class SeamPlan(NamedTuple):
    """How the windows of a shifted map are treated.

    Only windows at the seam hold several regions: the others, most of a large map, share the bias
    without a copy of it for each.

    Attributes:
        whole: number of windows W that hold a single region.
        order: (num_windows,) int64, windows with those first.
        inverse: (num_windows,) int64, back to the order of the map.
        masks: (num_windows - W, 1, window**2, window**2) float32, added to the logits: 0
            inside a region, -100 across.
    """

    whole: int
    order: Tensor
    inverse: Tensor
    masks: Tensor

    @classmethod
    @lru_cache(maxsize=64)
    def of(cls, size: tuple[int, int], window: int, shift: int, device: torch.device) -> 'SeamPlan':
        """The cached plan of one map size, window, shift and device."""
        with torch.inference_mode(False):  # an inference tensor could not be used in training
            region = shift_regions(size, window, shift, device)
            seam = region.min(1).values != region.max(1).values
            order = seam.int().argsort(stable=True)
            region = region[seam]
            masks = (region[:, :, None] != region[:, None, :]).float() * -100.0
            return cls(len(seam) - len(region), order, order.argsort(), masks[:, None])


class WindowAttention(BaseModule):
    """Multi-head self-attention in (shifted) windows with relative position bias.

    The map is zero-padded at the right and bottom to a multiple of the window;
    padded positions act as keys, as in the reference (only the shift is masked).

    Args:
        dim: channels C.
        num_heads: heads; C must be divisible by it.
        window: side of a window in positions.
        shift: cyclic shift in positions; 0 for none.
        always_shift: shift also when the whole map fits into one window (the
            reference detector does, its image-text model does not).
    """

    def __init__(
        self,
        dim: int,
        num_heads: int,
        window: int,
        shift: int = 0,
        always_shift: bool = True,
    ) -> None:
        super().__init__()
        self.num_heads = num_heads
        self.window = window
        self.shift = shift
        self.always_shift = always_shift
        self.qkv = Linear(dim, 3 * dim)
        self.proj = Linear(dim, dim)
        self.relative_position_bias_table = nn.Parameter(
            torch.zeros((2 * window - 1) ** 2, num_heads)
        )
        self.register_buffer(
            'relative_position_index', relative_position_index(window), persistent=False
        )
        nn.init.trunc_normal_(self.relative_position_bias_table, std=0.02)

    def forward(self, x: Tensor) -> Tensor:
        """Attend inside windows.

        Args:
            x: (B, H, W, C), already normalised.

        Returns:
            (B, H, W, C), after the output projection.
        """
        _, h, w, _ = x.shape
        win = self.window
        pad_h, pad_w = -h % win, -w % win
        if pad_h or pad_w:
            x = F.pad(x, (0, 0, 0, pad_w, 0, pad_h))
        size = (h + pad_h, w + pad_w)
        fits = max(h, w) <= win
        shift = self.shift if self.always_shift or not fits else 0
        if shift:
            x = x.roll((-shift, -shift), dims=(1, 2))
        windows = self._attend(window_partition(x, win), size, shift)
        x = window_reverse(windows, win, size)
        if shift:
            x = x.roll((shift, shift), dims=(1, 2))
        return x[:, :h, :w]

    def _attend(self, x: Tensor, size: tuple[int, int], shift: int) -> Tensor:
        if not shift:
            return self.proj(self._attended(x, self._bias()))
        plan = SeamPlan.of(size, self.window, shift, x.device)
        images = len(x) // len(plan.order)
        x = x.unflatten(0, (images, -1)).transpose(0, 1)[plan.order].flatten(0, 1)
        split, bias = plan.whole * images, self._bias()
        parts = [self._attended(x[:split], bias)] if split else []
        if split < len(x):
            masks = plan.masks.repeat_interleave(images, 0)
            parts.append(self._attended(x[split:], bias + masks.to(bias.dtype)))
        x = self.proj(torch.cat(parts))
        return x.unflatten(0, (-1, images))[plan.inverse].transpose(0, 1).flatten(0, 1)

    def _bias(self) -> Tensor:
        """(1, heads, window**2, window**2)."""
        bias = self.relative_position_bias_table[self.relative_position_index.view(-1)]
        return bias.view(self.window**2, self.window**2, -1).permute(2, 0, 1)[None]

    def _attended(self, x: Tensor, bias: Tensor) -> Tensor:
        """(n, length, C) windows under a bias (1 or n, heads, length, length)."""
        n, length, dim = x.shape
        qkv = self.qkv(x).view(n, length, 3, self.num_heads, dim // self.num_heads)
        query, key, value = qkv.permute(2, 0, 3, 1, 4)
        x = attention(query, key, value, bias.to(query.dtype))
        return x.transpose(1, 2).reshape(n, length, dim)
