"""The cross-attention weights of every fused step, for one image and one text."""

from typing import NamedTuple

import torch
from torch import Tensor

from fiber_mmdet.models.backbone import FIBERBackbone, ImagePrefix, TextPrefix
from fiber_mmdet.models.backbone.cross_attention import GatedCrossAttention


class FusedStep(NamedTuple):
    """The weights of both cross-attentions of a fused step, for one image and text.

    Attributes:
        layer: number of the text layer in its tower.
        block: number of the image block in its tower, over all stages.
        looks: (heads, L, H, W), for each token weights over the cells that sum to 1.
        reads: (heads, H, W, L), for each cell weights over the tokens that sum to 1.
        text_gate: gate of the text layer, the factor of what tokens read.
        image_gate: gate of the image block, the factor of what cells read.
    """

    layer: int
    block: int
    looks: Tensor
    reads: Tensor
    text_gate: float
    image_gate: float


@torch.no_grad()
def record_fusion(backbone: FIBERBackbone, image: ImagePrefix, text: TextPrefix) -> list[FusedStep]:
    """Fuse a pair and keep the weights of its cross-attentions.

    The modules never hold these weights, so they are computed again from the inputs of each module.

    Args:
        backbone: in eval mode.
        image: prefix of one image.
        text: prefix of one text.

    Returns:
        The steps in which both towers read, in order.

    Raises:
        ValueError: the backbone's fusion has none.
    """
    pairs = [
        (step.layer, step.block)
        for step in backbone.fusion.steps
        if step.layer_reads
        and step.layer is not None
        and step.block in backbone.fusion.text_readers
    ]
    if not pairs:
        raise ValueError(
            f'{type(backbone.fusion).__name__} has no step in which both towers read each other'
        )
    steps, hooks = [], []
    layers = [backbone.text.layers[layer] for layer, _ in pairs]
    blocks = [backbone.image.stages[stage].blocks[index] for _, (stage, index) in pairs]
    inputs: dict[GatedCrossAttention, tuple] = {}
    sizes: list[tuple[int, int]] = []

    def keep(module: GatedCrossAttention, args: tuple, output: Tensor) -> None:
        inputs[module] = args

    def measure(module: torch.nn.Module, args: tuple, output: Tensor) -> None:
        sizes.append(tuple(args[0].shape[1:3]))

    try:
        for layer, block in zip(layers, blocks):
            hooks += [
                layer.image_attention.register_forward_hook(keep),
                block.text_attention.register_forward_hook(keep),
                block.register_forward_hook(measure),
            ]
        backbone.fuse(image, text)
    finally:
        for hook in hooks:
            hook.remove()
    for (layer_number, position), layer, block, size in zip(pairs, layers, blocks, sizes):
        reader = block.text_attention
        looks = attention_weights(layer.image_attention, *inputs[layer.image_attention])[0]
        reads = attention_weights(reader, *inputs[reader])[0]
        steps.append(
            FusedStep(
                layer_number,
                backbone.image.schedule.index(position),
                looks.unflatten(-1, size).cpu(),
                reads.unflatten(1, size).cpu(),
                layer.image_attention.gate.item(),
                reader.gate.item(),
            )
        )
    return steps


def attention_weights(
    module: GatedCrossAttention, x: Tensor, context: Tensor, mask: Tensor | None = None
) -> Tensor:
    """The attention weights of a cross-attention.

    Args:
        module: the module.
        x: (B, N, dim), input of its forward.
        context: (B, M, context_dim), likewise.
        mask: (B, M) bool, True where a context position is real; None for all.

    Returns:
        (B, heads, N, M) float32; rows sum to 1.
    """
    query, key = (
        part.unflatten(-1, (module.num_heads, -1)).transpose(1, 2).float()
        for part in (module.query(module.query_norm(x)), module.key(context))
    )
    logits = query @ key.transpose(-1, -2) * query.shape[-1] ** -0.5
    if mask is not None:
        logits = logits.masked_fill(~mask[:, None, None], -torch.inf)
    return logits.softmax(-1)
