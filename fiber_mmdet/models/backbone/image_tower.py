"""Image tower: Swin Transformer blocks, the last of which can read text (section 3.1)."""

from collections.abc import Collection, Sequence

import torch
import torch.nn.functional as F
from mmcv.cnn.bricks import DropPath
from mmengine.model import BaseModule, ModuleList
from torch import Tensor, nn

from fiber_mmdet.arguments import strict_arguments

from ..linear import Linear
from .cross_attention import GatedCrossAttention
from .windows import WindowAttention


class PatchEmbed(BaseModule):
    """Non-overlapping patches to tokens: strided convolution and LayerNorm.

    Args:
        dim: output channels.
        patch: patch side in pixels.
    """

    def __init__(self, dim: int, patch: int = 4) -> None:
        super().__init__()
        self.patch = patch
        self.proj = nn.Conv2d(3, dim, patch, stride=patch)
        self.norm = nn.LayerNorm(dim)

    def forward(self, images: Tensor) -> Tensor:
        """(B, 3, H, W) pixels to (B, ceil(H/patch), ceil(W/patch), dim)."""
        h, w = images.shape[-2:]
        images = F.pad(images, (0, -w % self.patch, 0, -h % self.patch))
        return self.norm(self.proj(images).permute(0, 2, 3, 1))


class PositionEmbed(BaseModule):
    """A learned vector for each place of the first map (Swin's absolute position embedding).

    Swin leaves it out by default: it knows positions from relative biases inside a window, and so
    not where in the image a window lies.

    Args:
        dim: channels of the first map.
        side: side of that map in positions; for maps of other sizes the vectors are interpolated
            (bicubic).
    """

    def __init__(self, dim: int, side: int) -> None:
        super().__init__()
        self.table = nn.Parameter(torch.zeros(1, side, side, dim))
        nn.init.trunc_normal_(self.table, std=0.02)

    def forward(self, x: Tensor) -> Tensor:
        """(B, H, W, dim), with the vectors added."""
        table: Tensor = self.table
        if table.shape[1:3] != x.shape[1:3]:
            table = F.interpolate(
                table.permute(0, 3, 1, 2).float(),
                size=x.shape[1:3],
                mode='bicubic',
                align_corners=False,
            ).permute(0, 2, 3, 1)
        return x + table.to(x.dtype)


class PatchMerging(BaseModule):
    """Halve the map and double the channels.

    The four sub-grids are concatenated in Swin's own order: (even row, even
    column), (odd, even), (even, odd), (odd, odd). mmdet's ``PatchMerging`` uses
    the order of ``unfold`` instead. An odd side is zero-padded by one.

    Args:
        dim: input channels C; the output has 2C.
    """

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(4 * dim)
        self.reduction = Linear(4 * dim, 2 * dim, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """(B, H, W, C) to (B, ceil(H/2), ceil(W/2), 2C)."""
        h, w = x.shape[1:3]
        if h % 2 or w % 2:
            x = F.pad(x, (0, 0, 0, w % 2, 0, h % 2))
        parts = [x[:, row::2, col::2] for col in (0, 1) for row in (0, 1)]
        return self.reduction(self.norm(torch.cat(parts, dim=-1)))


class MLP(BaseModule):
    """Two linear layers with exact GELU.

    Args:
        dim: input and output channels.
        hidden: inner channels.
    """

    def __init__(self, dim: int, hidden: int) -> None:
        super().__init__()
        self.fc1 = Linear(dim, hidden)
        self.fc2 = Linear(hidden, dim)

    def forward(self, x: Tensor) -> Tensor:
        """(…, dim) to (…, dim)."""
        return self.fc2(self.fc1(x, gelu=True))


class SwinBlock(BaseModule):
    """Window attention and MLP, each pre-normalised and residual.

    With ``text_dim`` the block is a fused one: the projected attention output,
    before its residual, queries the text: ``a + gate * cross(a, text)``.

    Args:
        dim: channels C.
        num_heads: attention heads.
        window: window side in positions.
        shift: cyclic shift in positions, 0 for none.
        always_shift: see :class:`WindowAttention`.
        mlp_ratio: inner channels of the MLP as a multiple of C.
        drop_path: probability of dropping a residual branch per sample.
        text_dim: channels of the text tokens, or None for an unfused block.
        query_norm: LayerNorm on the cross-attention query (``i2t_norm``).
    """

    def __init__(
        self,
        dim: int,
        num_heads: int,
        window: int,
        shift: int = 0,
        always_shift: bool = True,
        mlp_ratio: float = 4.0,
        drop_path: float = 0.0,
        text_dim: int | None = None,
        query_norm: bool = False,
    ) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(dim)
        self.attn = WindowAttention(dim, num_heads, window, shift, always_shift)
        self.norm2 = nn.LayerNorm(dim)
        self.mlp = MLP(dim, int(dim * mlp_ratio))
        self.drop_path = DropPath(drop_path)
        if text_dim is not None:
            self.text_attention = GatedCrossAttention(
                dim, text_dim, num_heads, query_norm=query_norm
            )

    def forward(
        self, x: Tensor, text: Tensor | None = None, text_mask: Tensor | None = None
    ) -> Tensor:
        """Run the block, with cross-attention when ``text`` is given.

        Args:
            x: (B, H, W, C).
            text: (B, L, text_dim), or None for the unimodal path.
            text_mask: (B, L) bool, True at real tokens.

        Returns:
            (B, H, W, C).
        """
        attended = self.attn(self.norm1(x))
        if text is not None:
            read = self.text_attention(attended.flatten(1, 2), text, text_mask)
            attended = attended + read.unflatten(1, attended.shape[1:3])
        x = x + self.drop_path(attended)
        return x + self.drop_path(self.mlp(self.norm2(x)))


class SwinStage(BaseModule):
    """The blocks of one resolution and the merging that leaves it.

    Args:
        blocks: the blocks, in order.
        downsample: the merging after the last block, or None.
    """

    def __init__(self, blocks: Sequence[SwinBlock], downsample: PatchMerging | None) -> None:
        super().__init__()
        self.blocks = ModuleList(blocks)
        self.downsample = downsample


@strict_arguments
class ImageTower(BaseModule):
    """Swin Transformer whose last blocks can attend to text.

    The tower owns the modules; :class:`Fusion` says which blocks meet which text layers.

    Args:
        embed_dim: channels of the first stage; they double from stage to stage.
        depths: blocks per stage.
        num_heads: attention heads per stage.
        window: window side in positions.
        patch: patch side in pixels.
        mlp_ratio: inner channels of the MLPs as a multiple of the stage's.
        drop_path: stochastic depth of the last block, rising linearly from 0.
        always_shift: shift odd blocks even where the map fits into one window.
        text_readers: blocks (stage, number in the stage) that get cross-attention.
        text_dim: channels of the text tokens.
        query_norm: LayerNorm on the image query of the cross-attention.
        out_indices: stages whose output is returned; each gets a LayerNorm.
        position_side: side of the first map in positions, for a learned vector at each; 0, as in
            FIBER, for none. For towers that are trained from scratch to tell places apart.
        init_gain: standard deviation of the initial linear weights, as a multiple of
            ``1 / sqrt(inputs)``, for narrow towers that are trained from scratch; None for Swin's
            0.02, which leaves their blocks nearly without effect at first.

    Raises:
        ValueError: ``depths`` and ``num_heads`` have different lengths.
    """

    def __init__(
        self,
        embed_dim: int = 128,
        depths: Sequence[int] = (2, 2, 18, 2),
        num_heads: Sequence[int] = (4, 8, 16, 32),
        window: int = 12,
        patch: int = 4,
        mlp_ratio: float = 4.0,
        drop_path: float = 0.4,
        always_shift: bool = True,
        text_readers: Collection[tuple[int, int]] = (),
        text_dim: int = 768,
        query_norm: bool = False,
        out_indices: Sequence[int] = (1, 2, 3),
        position_side: int = 0,
        init_gain: float | None = None,
    ) -> None:
        super().__init__()
        if len(depths) != len(num_heads):
            raise ValueError(
                f'depths {tuple(depths)} and num_heads {tuple(num_heads)} '
                'must have one entry per stage'
            )
        self.dims = [embed_dim * 2**s for s in range(len(depths))]
        # of a square image whose last map is one window
        self.one_window_side = patch * 2 ** (len(depths) - 1) * window
        self.out_indices = tuple(out_indices)
        self.schedule = [(s, b) for s, depth in enumerate(depths) for b in range(depth)]
        rates = [drop_path * i / max(len(self.schedule) - 1, 1) for i in range(len(self.schedule))]
        self.init_gain = init_gain
        self.patch_embed = PatchEmbed(embed_dim, patch)
        self.position_embed = PositionEmbed(embed_dim, position_side) if position_side else None
        stages, position = [], 0
        for s, depth in enumerate(depths):
            blocks = []
            for b in range(depth):
                blocks.append(
                    SwinBlock(
                        self.dims[s],
                        num_heads[s],
                        window,
                        shift=window // 2 if b % 2 else 0,
                        always_shift=always_shift,
                        mlp_ratio=mlp_ratio,
                        drop_path=rates[position],
                        query_norm=query_norm,
                        text_dim=text_dim if (s, b) in text_readers else None,
                    )
                )
                position += 1
            last = s == len(depths) - 1
            stages.append(SwinStage(blocks, None if last else PatchMerging(self.dims[s])))
        self.stages = ModuleList(stages)
        self.out_norms = nn.ModuleDict(
            {str(s): nn.LayerNorm(self.dims[s]) for s in self.out_indices}
        )

    def embed(self, images: Tensor) -> Tensor:
        """(B, 3, H, W) pixels to the input of the first block, (B, H', W', embed_dim)."""
        x = self.patch_embed(images)
        return x if self.position_embed is None else self.position_embed(x)

    def end_block(self, stage: int, block: int, x: Tensor, pyramid: dict[int, Tensor]) -> Tensor:
        """After block (stage, block): keep the level and merge if the stage ends here.

        Args:
            stage: stage index.
            block: block index in the stage.
            x: (B, H, W, C) output of the block.
            pyramid: filled in place with ``stage -> (B, C, H, W)`` normalised outputs.

        Returns:
            The input of the next block.
        """
        module = self.stages[stage]
        if block + 1 < len(module.blocks):
            return x
        if stage in self.out_indices:
            level = self.out_norms[str(stage)](x)
            pyramid[stage] = level.permute(0, 3, 1, 2).contiguous()
        return x if module.downsample is None else module.downsample(x)

    def stage_maps(self, images: Tensor) -> list[Tensor]:
        """What each stage makes of images alone, without text.

        Args:
            images: (B, 3, H, W) float32, normalised.

        Returns:
            (B, H', W', C) un-normalised maps: the input of the first block, then the output of the
            last block of each stage, before its merging.
        """
        x = self.embed(images)
        maps = [x]
        for stage, index in self.schedule:
            blocks = self.stages[stage].blocks
            x = blocks[index](x)
            if index + 1 == len(blocks):
                maps.append(x)
            x = self.end_block(stage, index, x, {})
        return maps

    def init_weights(self) -> None:
        """Truncated normal linears (see ``init_gain``), zero biases, as Swin."""
        for module in self.modules():
            if isinstance(module, nn.Linear):
                std = 0.02
                if self.init_gain is not None:
                    std = self.init_gain * module.in_features**-0.5
                nn.init.trunc_normal_(module.weight, std=std)
                if module.bias is not None:
                    nn.init.zeros_(module.bias)
