"""Modulated deformable 3x3 convolution that is fast on CPUs too (Zhu et al. 2019)."""

import torch
import torch.nn.functional as F
from mmcv.ops import ModulatedDeformConv2d
from torch import Tensor
from torch.autograd.function import once_differentiable

SIDE = 3  # of the kernel
# Positions per block. Their 9 samples of 256 channels take 14 MB: they stay in the
# last-level cache, and the product is large enough to pay for preparing its weights.
BLOCK = 1536


class DeformableConv(ModulatedDeformConv2d):
    """mmcv's ``ModulatedDeformConv2d``, computed in another way on CPUs.

    mmcv's CPU kernel is a scalar loop on one thread. Here the samples of every
    position are gathered as rows of channels and multiplied with the kernel as
    one matrix. Values and gradients are those of mmcv's kernel, which is used
    on other devices.

    Args:
        channels: input and output channels.
        stride: stride.
    """

    def __init__(self, channels: int, stride: int = 1) -> None:
        super().__init__(channels, channels, SIDE, stride=stride, padding=1, bias=True)

    def forward(self, x: Tensor, offset: Tensor, mask: Tensor) -> Tensor:
        """Convolve ``x`` at displaced, weighted taps.

        Args:
            x: (B, C, H, W), float32 or float64.
            offset: (B, 18, H', W') as (dy, dx) of each tap in positions of ``x``;
                H' is H divided by the stride, rounded up, and W' likewise.
            mask: (B, 9, H', W') weights of the taps.

        Returns:
            (B, C, H', W'); in the channels-last memory format on CPUs.

        Raises:
            ValueError: if the offsets do not fit the input and the stride.
        """
        height, width = x.shape[-2:]
        size = tuple((side - 1) // self.stride[0] + 1 for side in (height, width))
        if offset.shape[-2:] != size or mask.shape[-2:] != size:
            raise ValueError(
                f'a map of {(height, width)} at stride {self.stride[0]} takes offsets and '
                f'masks of {size}, not {tuple(offset.shape[-2:])} and {tuple(mask.shape[-2:])}'
            )
        if x.device.type != 'cpu':
            return super().forward(x, offset, mask)
        index, weight = neighbours(offset, mask, (height, width), self.stride[0])
        rows = x.permute(0, 2, 3, 1).reshape(-1, x.shape[1])
        out = SampledConv.apply(rows, index, weight, self.weight.type_as(x), self.bias.type_as(x))
        return out.view(len(x), *size, -1).permute(0, 3, 1, 2)


def neighbours(
    offset: Tensor, mask: Tensor, size: tuple[int, int], stride: int
) -> tuple[Tensor, Tensor]:
    """The four positions between which each tap falls, and their weights.

    Args:
        offset: (B, 18, H', W').
        mask: (B, 9, H', W').
        size: (H, W) of the map that is sampled.
        stride: positions of that map per output position.

    Returns:
        Indices into the B * H * W positions (int32) and weights, bilinear times
        mask, both (B * H', 3, W', 3, 4): the taps of an output row, row by row.
        Weights of positions outside of the map are zero.
    """
    batch, _, rows, cols = offset.shape
    height, width = size
    offset = offset.view(batch, SIDE, SIDE, 2, rows, cols).permute(3, 0, 4, 1, 5, 2)
    mask = mask.view(batch, SIDE, SIDE, rows, cols).permute(0, 3, 1, 4, 2)

    def grid(count: int) -> Tensor:  # (count, 3): where the taps are without offsets
        start = torch.arange(count, dtype=offset.dtype)[:, None] * stride
        return start + torch.arange(-1, SIDE - 1, dtype=offset.dtype)

    ys, y_weights = _along_axis(offset[0] + grid(rows)[:, :, None, None], height)
    xs, x_weights = _along_axis(offset[1] + grid(cols), width)
    first = torch.arange(batch, dtype=torch.int32).view(-1, 1, 1, 1, 1) * (height * width)
    starts = [y * width + first for y in ys]
    index = torch.stack([start + x for start in starts for x in xs], -1)
    y_weights = [y * mask for y in y_weights]
    weight = torch.stack([y * x for y in y_weights for x in x_weights], -1)
    return index.flatten(0, 1), weight.flatten(0, 1)


def _along_axis(at: Tensor, size: int) -> tuple[list[Tensor], list[Tensor]]:
    """Both integers around each coordinate, int32 within [0, size), and their weights."""
    low = at.floor()
    part = at - low
    index, weights = [], []
    for near, weight in ((low, 1 - part), (low + 1, part)):
        inside = (near >= 0) & (near < size) & (at > -1)
        weights.append(torch.where(inside, weight, 0))
        index.append(near.detach().int().clamp(0, size - 1))
    return index, weights


class SampledConv(torch.autograd.Function):
    """Weighted sums of rows, and a convolution of stride 3 over them.

    Samples are computed for a block of positions at a time and not stored: the
    backward pass computes them again.
    """

    @staticmethod
    def forward(
        ctx, rows: Tensor, index: Tensor, weight: Tensor, kernel: Tensor, bias: Tensor
    ) -> Tensor:
        """
        Args:
            rows: (N, C) positions.
            index: (R, 3, W', 3, 4) int32 in [0, N).
            weight: (R, 3, W', 3, 4).
            kernel: (C_out, C, 3, 3).
            bias: (C_out,).

        Returns:
            (R, W', C_out).
        """
        ctx.save_for_backward(rows, index, weight, kernel, bias)
        kernel = kernel.contiguous(memory_format=torch.channels_last)
        size = block_rows(index)
        return torch.cat(
            [
                convolve(sample(rows, i, w), kernel, bias, index.shape[2])
                for i, w in zip(index.split(size), weight.split(size))
            ]
        )

    @staticmethod
    @once_differentiable
    def backward(ctx, grad: Tensor) -> tuple:
        rows, index, weight, kernel, bias = ctx.saved_tensors
        kernel = kernel.contiguous(memory_format=torch.channels_last)
        kernel, bias = (t.detach().requires_grad_() for t in (kernel, bias))
        rows_grad, *shared_grads = (torch.zeros_like(t) for t in (rows, kernel, bias))
        weight_grads = []
        size = block_rows(index)
        for i, w, g in zip(index.split(size), weight.split(size), grad.split(size)):
            with torch.enable_grad(), torch.autocast('cpu', enabled=False):
                w = w.detach().requires_grad_()
                samples = sample(rows, i, w)
                out = convolve(samples, kernel, bias, index.shape[2])
            samples_grad, weight_grad, *found = torch.autograd.grad(
                out, (samples, w, kernel, bias), g
            )
            weight_grads.append(weight_grad)
            add_to_rows(rows_grad, i, w.detach(), samples_grad)
            for total, part in zip(shared_grads, found):
                total += part
        return rows_grad, None, torch.cat(weight_grads), *shared_grads


def block_rows(index: Tensor) -> int:
    """Output rows per block of (R, 3, W', 3, 4) samples."""
    return max(1, BLOCK // index.shape[2])


def sample(rows: Tensor, index: Tensor, weight: Tensor) -> Tensor:
    """Weighted sums of four rows each.

    Args:
        rows: (N, C).
        index: (R, 3, W', 3, 4) int32 in [0, N).
        weight: (R, 3, W', 3, 4).

    Returns:
        (R * 3 * W' * 3, C).
    """
    return F.embedding_bag(
        index.flatten(0, -2), rows, per_sample_weights=weight.flatten(0, -2), mode='sum'
    )


def add_to_rows(rows: Tensor, index: Tensor, weight: Tensor, samples: Tensor) -> None:
    """Add samples to the rows that they are sums of: the transpose of :func:`sample`, in place.

    Args:
        rows: (N, C), changed.
        index: (R, 3, W', 3, 4) int32 in [0, N).
        weight: (R, 3, W', 3, 4).
        samples: (R * 3 * W' * 3, C).
    """
    index, order = index.flatten().sort()
    touched, counts = index.unique_consecutive(return_counts=True)
    sums = F.embedding_bag(
        order // 4,
        samples,
        counts.cumsum(0) - counts,
        per_sample_weights=weight.flatten()[order],
        mode='sum',
    )
    rows.index_add_(0, touched, sums)


def convolve(samples: Tensor, kernel: Tensor, bias: Tensor, width: int) -> Tensor:
    """The product of samples and kernel.

    Laid out as a map three times as large, the samples meet the kernel in a
    convolution of stride 3. That is a matrix product over 9 C values, but oneDNN's:
    on AMD's processors it takes half the time of the one in ``torch.mm``, MKL's.

    Args:
        samples: (R * 3 * width * 3, C).
        kernel: (C_out, C, 3, 3).
        bias: (C_out,).
        width: W'.

    Returns:
        (R, W', C_out).
    """
    taps = samples.view(1, -1, SIDE * width, samples.shape[1]).permute(0, 3, 1, 2)
    return F.conv2d(taps, kernel, bias, stride=SIDE)[0].permute(1, 2, 0)
