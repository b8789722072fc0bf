"""The fused backbone as a direct port runs it: in full for each pair."""

import torch.nn.functional as F
from torch import Tensor

from fiber_mmdet.models.backbone import FIBERBackbone

from .plain_layers import additive, merge_patches, swin_block, text_layer


class PlainBackbone:
    """From pixels and tokens to fused outputs, without prefixes, on the weights of ``ours``.

    Args:
        ours: the backbone.
    """

    def __init__(self, ours: FIBERBackbone) -> None:
        self.ours = ours

    def __call__(
        self, images: Tensor, ids: Tensor, mask: Tensor
    ) -> tuple[list[Tensor], Tensor, Tensor]:
        """Fuse image i with text i.

        Args:
            images: (B, 3, H, W) normalised.
            ids: (B, L) int64.
            mask: (B, L) bool, True at real tokens.

        Returns:
            The pyramid levels, each (B, C, H, W); the last map (B, H, W, C); the text (B, L, C).
        """
        image, text = self.ours.image, self.ours.text
        bias = additive(mask)
        t = text.embed(ids)
        for layer in text.layers[: self.ours.fusion.text_start]:
            t = text_layer(layer, t, bias)
        x, levels = self.patches(images), {}
        reader_of = {step.block: step.layer for step in self.ours.fusion.steps}
        for stage, index in image.schedule:
            block, number = image.stages[stage].blocks[index], reader_of.get((stage, index))
            if number is None:
                x = swin_block(block, x)
            else:
                last = self.ours.last_text_norm or number + 1 < len(text.layers)
                x, t = (
                    swin_block(block, x, t, mask),
                    text_layer(text.layers[number], t, bias, x.flatten(1, 2), last),
                )
            x = self.leave(stage, index, x, levels)
        return [levels[stage] for stage in image.out_indices], x, t

    def image_alone(self, images: Tensor) -> Tensor:
        """The image tower without text: (B, H, W, C)."""
        x = self.patches(images)
        for stage, index in self.ours.image.schedule:
            x = swin_block(self.ours.image.stages[stage].blocks[index], x)
            x = self.leave(stage, index, x, {})
        return x

    def text_alone(self, ids: Tensor, bias: Tensor, layers: list | None = None) -> Tensor:
        """The text tower on (B, L) tokens with an additive mask.

        Args:
            ids: (B, L) int64.
            bias: additive mask, broadcast to (B, heads, L, L).
            layers: per layer the (B, N, D) image states it reads, or None.

        Returns:
            (B, L, C).
        """
        t = self.ours.text.embed(ids)
        for number, layer in enumerate(self.ours.text.layers):
            t = text_layer(layer, t, bias, layers[number] if layers else None)
        return t

    def patches(self, images: Tensor) -> Tensor:
        """(B, 3, H, W) pixels to (B, H / 4, W / 4, C)."""
        embed = self.ours.image.patch_embed
        size = embed.proj.stride[0]
        h, w = images.shape[-2:]
        x = embed.proj(F.pad(images, (0, -w % size, 0, -h % size)))
        x = embed.norm(x.flatten(2).transpose(1, 2)).unflatten(1, x.shape[-2:])
        positions = self.ours.image.position_embed
        return x if positions is None else positions(x)

    def leave(self, stage: int, index: int, x: Tensor, levels: dict[int, Tensor]) -> Tensor:
        """After the last block of a stage, keep its level and merge patches."""
        image = self.ours.image
        module = image.stages[stage]
        if index + 1 < len(module.blocks):
            return x
        if stage in image.out_indices:
            levels[stage] = image.out_norms[str(stage)](x).permute(0, 3, 1, 2).contiguous()
        return x if module.downsample is None else merge_patches(module.downsample, x)
