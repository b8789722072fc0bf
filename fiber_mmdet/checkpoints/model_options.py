"""The options of a model that its weights give away, and how those of two models differ."""

import math
import re
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping
from typing import Any

Shape = tuple[int, ...]
Found = list[tuple[tuple[int, ...], Shape]]  # numbers in the keys that match, and their shapes


def _size(axis: int) -> Callable[[Found], Any]:
    return lambda found: found[0][1][axis]


def _sizes(axis: int) -> Callable[[Found], Any]:
    return lambda found: [shape[axis] for _, shape in sorted(found)]


def _per_stage(found: Found) -> list[int]:
    blocks: dict[int, set[int]] = defaultdict(set)
    for numbers, _ in found:
        blocks[numbers[0]].add(numbers[1])
    return [len(of_stage) for _, of_stage in sorted(blocks.items())]


def _count(found: Found) -> int:
    return len({numbers for numbers, _ in found})


def _numbers(found: Found) -> list[int]:
    return sorted(numbers[0] for numbers, _ in found)


def _window(found: Found) -> int:
    return (math.isqrt(found[0][1][0]) + 1) // 2


IMAGE, TEXT, HEAD = r'backbone\.image\.', r'backbone\.text\.', r'bbox_head\.'
TABLE = rf'{IMAGE}stages\.(\d+)\.blocks\.0\.attn\.relative_position_bias_table'
# option -> the keys that tell, and how
OPTIONS: dict[str, tuple[str, Callable[[Found], Any]]] = {
    'backbone.image.embed_dim': (rf'{IMAGE}patch_embed\.proj\.weight', _size(0)),
    'backbone.image.patch': (rf'{IMAGE}patch_embed\.proj\.weight', _size(3)),
    'backbone.image.position_side': (rf'{IMAGE}position_embed\.table', _size(1)),
    'backbone.image.depths': (rf'{IMAGE}stages\.(\d+)\.blocks\.(\d+)\..*', _per_stage),
    'backbone.image.num_heads': (TABLE, _sizes(1)),
    'backbone.image.window': (TABLE, _window),
    'backbone.out_indices': (rf'{IMAGE}out_norms\.(\d+)\.weight', _numbers),
    'backbone.i2t_norm': (
        rf'{IMAGE}stages\.(\d+)\.blocks\.(\d+)\.text_attention\.query_norm\.weight',
        bool,
    ),
    'backbone.num_fused (image blocks)': (
        rf'{IMAGE}stages\.(\d+)\.blocks\.(\d+)\.text_attention\.gate',
        len,
    ),
    'backbone.num_fused (text layers)': (rf'{TEXT}layers\.(\d+)\.image_attention\.gate', len),
    'backbone.text.num_layers': (rf'{TEXT}layers\.(\d+)\..*', _count),
    'backbone.text.dim': (rf'{TEXT}embeddings\.word\.weight', _size(1)),
    'backbone.text.ffn_dim': (rf'{TEXT}layers\.0\.ffn\.fc1\.weight', _size(0)),
    'backbone.text.vocab_size': (rf'{TEXT}embeddings\.word\.weight', _size(0)),
    'backbone.text.max_positions': (rf'{TEXT}embeddings\.position\.weight', _size(0)),
    'backbone.text.prompt_rows': (rf'{TEXT}prompt_rows', _size(0)),
    'neck.in_channels': (r'neck\.lateral_convs\.(\d+)\.conv\.weight', _sizes(1)),
    'neck.out_channels': (r'neck\.lateral_convs\.0\.conv\.weight', _size(0)),
    'neck.num_outs': (r'neck\.fpn_convs\.(\d+)\..*', _count),
    'bbox_head.num_blocks': (r'bbox_head\.tower\.(\d+)\..*', _count),
    'bbox_head.channels': (r'bbox_head\.box_conv\.weight', _size(1)),
    'bbox_head.text_dim': (r'bbox_head\.token_proj\.weight', _size(1)),
    'bbox_head.deformable': (r'bbox_head\.tower\.0\.offset\.weight', bool),
    'dim': (r'fused\.text_proj\.weight', _size(0)),
}
# what a side without such keys has, if it has the part at all
WITHOUT = {
    'backbone.i2t_norm': False,
    'backbone.num_fused (image blocks)': 0,
    'backbone.num_fused (text layers)': 0,
    'bbox_head.deformable': False,
}
RESIZED = 'backbone.image.window'


def model_options(state: Mapping[str, Any]) -> dict[str, Any]:
    """Options under which a model has these weights.

    Args:
        state: keys -> tensors, or whatever has a ``shape``; in our names.

    Returns:
        The value of each option of ``OPTIONS`` of which the weights have the part.
    """
    found = {}
    for option, (pattern, read) in OPTIONS.items():
        matches = [
            (tuple(map(int, match.groups())), tuple(value.shape))
            for key, value in state.items()
            if (match := re.fullmatch(pattern, key))
        ]
        try:
            if matches:
                found[option] = read(matches)
            elif option in WITHOUT and _has_part(state, pattern):
                found[option] = WITHOUT[option]
        except IndexError:  # a tensor of another rank, which is no model's
            continue
    return found


def _has_part(state: Mapping[str, Any], pattern: str) -> bool:
    part = next(part for part in (IMAGE, TEXT, HEAD) if pattern.startswith(part))
    return any(re.match(part, key) for key in state)


def option_differences(
    file: Mapping[str, Any], model: Mapping[str, Any], resize: bool = False
) -> Iterator[str]:
    """Options in which the model of a file differs from another, a phrase each.

    Args:
        file: weights of the file.
        model: state dict of the model that is to have them.
        resize: windows of another size are no difference.
    """
    theirs, ours = model_options(file), model_options(model)
    for option in OPTIONS:
        if option not in theirs or option not in ours or resize and option == RESIZED:
            continue
        if theirs[option] != ours[option]:
            yield f'{option} is {theirs[option]} in the file and {ours[option]} in the config'
