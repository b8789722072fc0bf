"""Official entries that training does not keep: derived ones, and those never used."""

import math
import re
from collections.abc import Iterator, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from fiber_mmdet.checkpoints.names import (
    ADAPTERS,
    BIAS_TABLE,
    COARSE_IMAGE,
    COARSE_TEXT,
    MATCH,
    RANK,
)
from fiber_mmdet.models.backbone.windows import relative_position_index, shift_regions
from fiber_mmdet.models.detection.boxes import to_inclusive

STRIDE = 32  # the image-text model's windows are a 32nd of the image, whose side is fixed


def derived_buffers(
    state: Mapping[str, Tensor], layout: str, model: nn.Module
) -> dict[str, Tensor]:
    """Official buffers that follow from the weights and the architecture.

    Args:
        state: official key -> tensor.
        layout: 'fine' or 'coarse'.
        model: our model; a detector's anchors are read.

    Returns:
        Official key -> buffer: indices of the bias tables, token positions, and the
        detector's anchors or the image-text model's shift masks.
    """
    buffers = {}
    for key, value in state.items():
        if key.endswith(BIAS_TABLE):
            window = _window(value)
            name = key.removesuffix(BIAS_TABLE) + '.relative_position_index'
            buffers[name] = relative_position_index(window)
        elif key.endswith('.position_embeddings.weight'):
            name = key.replace('position_embeddings.weight', 'position_ids')
            buffers[name] = torch.arange(len(value))[None]
    if layout == 'fine':
        head: Any = model.bbox_head
        anchors = head.anchors
        for level, (stride, _) in enumerate(anchors.strides):
            low = stride * (1 - anchors.octave_base_scale) / 2
            anchors_of_cell = torch.tensor([[low, low, stride - low, stride - low]])
            name = f'rpn.anchor_generator.cell_anchors.{level}'
            buffers[name] = to_inclusive(anchors_of_cell)
    else:
        buffers.update(_shift_masks(state))
    return buffers


def _window(table: Tensor) -> int:
    """Side of the windows that a bias table is for."""
    return (math.isqrt(len(table)) + 1) // 2


def _shift_masks(state: Mapping[str, Tensor]) -> Iterator[tuple[str, Tensor]]:
    """Masks of the shifted blocks, the odd ones, whose map is larger than a window."""
    patch = state[f'{COARSE_IMAGE}patch_embed.proj.weight'].shape[-1]
    pattern = (
        re.escape(COARSE_IMAGE) + rf'layers\.(\d+)\.blocks\.(\d+)\.attn{re.escape(BIAS_TABLE)}'
    )
    for key in state:
        found = re.fullmatch(pattern, key)
        if found and int(found[2]) % 2:
            window = _window(state[key])
            side = STRIDE * window // patch // 2 ** int(found[1])
            if side > window:
                region = shift_regions((side, side), window, window // 2)
                mask = (region[:, :, None] != region[:, None, :]).float() * -100.0
                yield key.replace(f'attn{BIAS_TABLE}', 'attn_mask'), mask


def unused_weights(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Weights of the coarse layout that no computation reads, with the values they start with.

    The ranking head, meant to be a view of the matching head's row for a match,
    gets the values of that row (which loading it in the reference overwrites).

    Args:
        state: official key -> tensor.

    Returns:
        Official key -> weight.
    """
    layer = re.escape(COARSE_TEXT) + r'encoder\.layer\.\d+\.'
    found = {}
    for key, value in state.items():
        if re.fullmatch(layer + r'attention\.self\.query\.bias', key):
            found[key.replace('attention.self.query.bias', 'alpha_t2i')] = value.new_zeros(1)
        elif re.fullmatch(layer + r'crossattention_t2i\.output\.dense\.bias', key):
            norm = key.replace('dense.bias', 'LayerNorm')
            found[f'{norm}.weight'] = torch.ones_like(value)
            found[f'{norm}.bias'] = torch.zeros_like(value)
    bias = state[f'{COARSE_TEXT}embeddings.LayerNorm.bias']
    found[f'{COARSE_TEXT}pooler.dense.weight'] = bias.new_zeros(len(bias), len(bias))
    found[f'{COARSE_TEXT}pooler.dense.bias'] = torch.zeros_like(bias)
    for part in ('weight', 'bias'):
        if f'{MATCH}.{part}' in state:
            found[f'{RANK}.{part}'] = state[f'{MATCH}.{part}'][1:].clone()
    used = [int(key.split('.')[1]) for key in state if key.startswith(ADAPTERS)]
    first = min(used, default=0)
    for name in (f'{i}.{part}' for i in range(first) for part in ('weight', 'bias')):
        like = state[f'{ADAPTERS}{first}.{name.split(".")[1]}']
        found[f'{ADAPTERS}{name}'] = torch.zeros_like(like)
    return found
