"""Dynamic head blocks between the pyramid and the prediction branches (Dai et al. 2021)."""

import warnings
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from mmdet.models.layers import DyReLU
from mmengine.model import BaseModule, normal_init, uniform_init
from torch import Tensor, nn

from .deformable_conv import DeformableConv

OFFSETS, TAPS = 18, 9  # a 3x3 kernel: (dy, dx) and one modulation weight per tap
NORM_GROUPS = 16


class DyConv(BaseModule):
    """3x3 (deformable) convolution and GroupNorm.

    Args:
        channels: input and output channels.
        stride: stride.
        deformable: modulated deformable convolution; False for a plain one.
    """

    def __init__(self, channels: int, stride: int, deformable: bool) -> None:
        super().__init__()
        self.conv = (
            DeformableConv(channels, stride)
            if deformable
            else nn.Conv2d(channels, channels, 3, stride=stride, padding=1)
        )
        self.norm = nn.GroupNorm(NORM_GROUPS, channels)

    def forward(self, x: Tensor, offset: Tensor | None, mask: Tensor | None) -> Tensor:
        """Convolve ``x`` with offsets that may belong to another level.

        Args:
            x: (B, C, H, W).
            offset: (B, 18, H', W') sampling offsets in positions; None without deformation.
            mask: (B, 9, H', W') modulation weights in [0, 1]; likewise.

        Returns:
            (B, C, ceil(H/stride), ceil(W/stride)).
        """
        if offset is None or mask is None:
            return self.norm(self.conv(x))
        # fp32 under autocast, as the reference: half-precision offsets lose sub-pixels
        with torch.autocast(x.device.type, enabled=False):
            x = self.conv(x.float(), offset.float(), mask.float())
        return self.norm(x)


class DyHeadBlock(BaseModule):
    """One block of the tower: scale-, spatial- and task-aware attention.

    Each level l gathers deformable convolutions of itself, of the finer level
    (stride 2) and of the coarser one (upsampled), all with the offsets of level
    l, weighs each map by a scalar and sums up; DyReLU follows.

    Differs from mmdet's ``DyHead`` and ``ATSSVLFusionHead``: the upsampling is
    bilinear with aligned corners, and the coarser level reads the offsets of
    level l *flat*: the first ``18 * h * w`` values of an (18, H, W) block serve
    as (18, h, w). Trained weights depend on both.

    Args:
        channels: channels of all levels.
        deformable: see :class:`DyConv`.
    """

    def __init__(self, channels: int, deformable: bool = True) -> None:
        super().__init__()
        self.from_coarser = DyConv(channels, 1, deformable)
        self.from_own = DyConv(channels, 1, deformable)
        self.from_finer = DyConv(channels, 2, deformable)
        if deformable:
            self.offset = nn.Conv2d(channels, OFFSETS + TAPS, 3, padding=1)
        self.scale_attention = nn.Conv2d(channels, 1, 1)
        with warnings.catch_warnings():  # mmcv's remark on a change of years ago
            warnings.filterwarnings('ignore', message='In MMCV v1.4.4')
            self.activation = DyReLU(channels)
        self.deformable = deformable

    def forward(self, levels: Sequence[Tensor]) -> list[Tensor]:
        """Run the block.

        Args:
            levels: (B, C, H_l, W_l) each, fine to coarse.

        Returns:
            Levels of the same shapes.
        """
        return [self._level(levels, i) for i in range(len(levels))]

    def _level(self, levels: Sequence[Tensor], index: int) -> Tensor:
        x = levels[index]
        offset = mask = None
        if self.deformable:
            offset, mask = self.offset(x).split((OFFSETS, TAPS), dim=1)
            mask = mask.sigmoid()
        maps = [self.from_own(x, offset, mask)]
        if index > 0:
            maps.append(self.from_finer(levels[index - 1], offset, mask))
        if index + 1 < len(levels):
            coarser = levels[index + 1]
            height, width = coarser.shape[-2:]
            coarser = self.from_coarser(
                coarser,
                None if offset is None else read_flat(offset, (height, width)),
                None if mask is None else read_flat(mask, (height, width)),
            )
            maps.append(
                F.interpolate(coarser, size=x.shape[-2:], mode='bilinear', align_corners=True)
            )
        total = sum(m * self._scale(m) for m in maps) / len(maps)
        return self.activation(total)

    def _scale(self, x: Tensor) -> Tensor:
        """(B, 1, 1, 1) weight of a map, in [0.5, 1]."""
        return F.hardsigmoid(F.relu(self.scale_attention(x.mean((2, 3), keepdim=True))))

    def init_weights(self) -> None:
        """Deformable weights uniform, attention normal (0.01); the rest as torch's default."""
        for module in (self.from_coarser, self.from_own, self.from_finer):
            bound = (9 * module.conv.in_channels) ** -0.5
            uniform_init(module.conv, -bound, bound)
        normal_init(self.scale_attention, std=0.01)
        for module in (self.activation.conv1, self.activation.conv2):
            module.conv.reset_parameters()  # the reference's linear layers, not mmcv's Kaiming


def read_flat(x: Tensor, size: tuple[int, int]) -> Tensor:
    """The first ``C * h * w`` values of each image, as (B, C, h, w).

    Args:
        x: (B, C, H, W).
        size: (h, w) with ``h * w <= H * W``.

    Returns:
        (B, C, h, w) contiguous.
    """
    height, width = size
    count = x.shape[1] * height * width
    return x.flatten(1)[:, :count].view(x.shape[0], x.shape[1], height, width)
