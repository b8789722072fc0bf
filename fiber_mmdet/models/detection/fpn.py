"""Feature pyramid of the detector, with the reference's initialisation and DropBlock."""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from mmcv.cnn import ConvModule
from mmdet.models.necks import FPN
from mmdet.registry import MODELS
from torch import Tensor, nn

from fiber_mmdet.arguments import former_arguments, strict_arguments

BLOCK = 3  # side of a dropped block in positions


class SharedDropBlock(nn.Module):
    """DropBlock with one mask per image, shared by its channels (training only).

    Differs from mmdet's ``DropBlock``: the mask is not drawn per channel, seeds
    may lie at the border, the seed rate is ``drop_prob / BLOCK**2`` without
    a correction for the map size, and the rescaling counts the whole batch.

    Args:
        drop_prob: expected share of dropped positions.
    """

    def __init__(self, drop_prob: float = 0.3) -> None:
        super().__init__()
        self.drop_prob = drop_prob

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) to (B, C, H, W)."""
        if not self.training or self.drop_prob == 0:
            return x
        rate = self.drop_prob / BLOCK**2
        seeds = (torch.rand(len(x), 1, *x.shape[-2:], device=x.device) < rate).float()
        dropped = F.max_pool2d(seeds, BLOCK, stride=1, padding=BLOCK // 2)
        keep = 1 - dropped
        # all dropped is possible on a 1x1 level: then the output is zero, not NaN
        return x * keep.to(x.dtype) * (keep.numel() / keep.sum().clamp(min=1))


class DropBlockConv(ConvModule):
    """A :class:`ConvModule` whose input passes through DropBlock.

    Args:
        drop_block: the DropBlock to apply.
        *args, **kwargs: those of ``ConvModule``.
    """

    def __init__(self, drop_block: SharedDropBlock, *args, **kwargs) -> None:
        super().__init__(*args, **kwargs)
        self.drop_block = drop_block

    def forward(self, x: Tensor, *args, **kwargs) -> Tensor:
        """(B, C, H, W) to (B, C, H, W)."""
        return super().forward(self.drop_block(x), *args, **kwargs)


# The reference's Kaiming initialisation
KAIMING = dict(
    type='Kaiming',
    layer='Conv2d',
    a=1,
    distribution='uniform',
    mode='fan_in',
    nonlinearity='leaky_relu',
    bias=0,
)


@MODELS.register_module()
@former_arguments(block_size=BLOCK)
@strict_arguments
class FIBERFPN(FPN):
    """mmdet's FPN in the reference's variant.

    Differs from mmdet's ``FPN``: Kaiming-uniform (a=1) initialisation, P6 and P7
    from P5 with a ReLU before P7 only, and DropBlock on the input of the output
    convolutions of all levels but the top one (the undropped map goes down).

    Args:
        in_channels: channels of the backbone's levels.
        out_channels: channels of every output level.
        num_outs: output levels; those above the backbone's are strided convolutions.
        drop_prob: DropBlock rate in training; 0 turns it off.
        init_cfg: mmengine initialisation config.
    """

    def __init__(
        self,
        in_channels: Sequence[int] = (256, 512, 1024),
        out_channels: int = 256,
        num_outs: int = 5,
        drop_prob: float = 0.3,
        init_cfg: dict | None = KAIMING,
    ) -> None:
        super().__init__(
            in_channels=list(in_channels),
            out_channels=out_channels,
            num_outs=num_outs,
            add_extra_convs='on_output',
            relu_before_extra_convs=True,
            init_cfg=init_cfg,
        )
        for i in range(len(in_channels) - 1):
            self.fpn_convs[i] = DropBlockConv(
                SharedDropBlock(drop_prob),
                out_channels,
                out_channels,
                3,
                padding=1,
                act_cfg=None,
                inplace=False,
            )
