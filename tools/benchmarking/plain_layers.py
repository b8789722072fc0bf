"""Layers as a direct port of the reference writes them, on the weights of ours.

Attention is an explicit softmax over logits plus masks; the bias table is indexed in each call;
keys and values of the text are repeated for each window; deformable convolutions are mmcv's. Only
parameter names are shared with fiber_mmdet, so no change made there for speed affects this code.
"""

import torch
import torch.nn.functional as F
from mmcv.ops import modulated_deform_conv2d
from torch import Tensor, nn

HIDDEN = -10000.0


def split_heads(x: Tensor, heads: int) -> Tensor:
    """(B, L, C) to (B, heads, L, C / heads)."""
    b, length, dim = x.shape
    return x.reshape(b, length, heads, dim // heads).permute(0, 2, 1, 3)


def attend(
    query: Tensor, key: Tensor, value: Tensor, bias: Tensor | None = None, dropout: float = 0.0
) -> Tensor:
    """Softmax attention over (B, heads, L, C) with additive ``bias``: (B, L, heads * C)."""
    logits = (query * query.shape[-1] ** -0.5) @ key.transpose(-2, -1)
    if bias is not None:
        logits = logits + bias
    weights = F.dropout(logits.softmax(-1), dropout, training=dropout > 0)
    return (weights @ value).transpose(1, 2).flatten(2)


def additive(mask: Tensor) -> Tensor:
    """(B, L) bool to (B, 1, 1, L), 0 at real tokens."""
    return (~mask[:, None, None]).float() * HIDDEN


# ------------------------------------------------------------------ windows
def cut(x: Tensor, window: int) -> Tensor:
    """Cut a map (B, H, W, C) into windows (B * windows, window**2, C)."""
    b, h, w, c = x.shape
    x = x.view(b, h // window, window, w // window, window, c)
    return x.permute(0, 1, 3, 2, 4, 5).contiguous().view(-1, window * window, c)


def join(windows: Tensor, window: int, h: int, w: int) -> Tensor:
    """The inverse of :func:`cut`."""
    x = windows.view(-1, h // window, w // window, window, window, windows.shape[-1])
    return x.permute(0, 1, 3, 2, 4, 5).contiguous().view(-1, h, w, windows.shape[-1])


def bias_index(window: int, device: torch.device) -> Tensor:
    """Rows of the bias table for each pair of cells: (window**2, window**2)."""
    axis = torch.arange(window, device=device)
    places = torch.stack(torch.meshgrid(axis, axis, indexing='ij')).flatten(1)
    apart = places[:, :, None] - places[:, None] + window - 1
    return apart[0] * (2 * window - 1) + apart[1]


def region_mask(h: int, w: int, window: int, shift: int, device: torch.device) -> Tensor:
    """Mask of -100 between regions joined by the shift: (windows, window**2, window**2)."""
    regions = torch.zeros(1, h, w, 1, device=device)
    edges = (slice(0, -window), slice(-window, -shift), slice(-shift, None))
    for i, rows in enumerate(edges):
        for j, columns in enumerate(edges):
            regions[:, rows, columns] = 3 * i + j
    regions = cut(regions, window).squeeze(-1)
    return (regions[:, None] != regions[:, :, None]).float() * -100


def window_attention(
    block: nn.Module, x: Tensor, text: Tensor | None, mask: Tensor | None
) -> Tensor:
    """Self-attention in windows and, if there is a text, cross-attention window by window.

    Args:
        block: a SwinBlock.
        x: (B, H, W, C), normalised.
        text: (B, L, D) or None.
        mask: (B, L) bool.

    Returns:
        (B, H, W, C).
    """
    attn = block.attn
    window, heads = attn.window, attn.num_heads
    b, h, w, c = x.shape
    x = F.pad(x, (0, 0, 0, -w % window, 0, -h % window))
    height, width = x.shape[1:3]
    shift = attn.shift if attn.always_shift or max(h, w) > window else 0
    if shift:
        x = torch.roll(x, (-shift, -shift), (1, 2))
    windows = cut(x, window)
    query, key, value = (split_heads(part, heads) for part in attn.qkv(windows).chunk(3, -1))
    table = attn.relative_position_bias_table[bias_index(window, x.device).view(-1)]
    bias = table.view(window**2, window**2, heads).permute(2, 0, 1).contiguous()[None]
    if shift:
        regions = region_mask(height, width, window, shift, x.device)
        bias = (bias + regions[:, None]).repeat(b, 1, 1, 1)
    windows = attn.proj(attend(query, key, value, bias))
    if text is not None:
        windows = windows + read_text(block.text_attention, windows, text, mask)
    x = join(windows, window, height, width)
    if shift:
        x = torch.roll(x, (shift, shift), (1, 2))
    return x[:, :h, :w].contiguous()


def read_text(cross: nn.Module, windows: Tensor, text: Tensor, mask: Tensor) -> Tensor:
    """Cross-attention of (B * windows, N, C) with (B, L, D), which is repeated for each window."""
    times = len(windows) // len(text)
    key, value = (
        split_heads(layer(text), cross.num_heads).repeat_interleave(times, 0)
        for layer in (cross.key, cross.value)
    )
    query = split_heads(cross.query(cross.query_norm(windows)), cross.num_heads)
    hidden = additive(mask).repeat_interleave(times, 0)
    return cross.gate * cross.proj(attend(query, key, value, hidden))


# ------------------------------------------------------------------- blocks
def swin_block(
    block: nn.Module, x: Tensor, text: Tensor | None = None, mask: Tensor | None = None
) -> Tensor:
    """A Swin block on (B, H, W, C)."""
    x = x + block.drop_path(window_attention(block, block.norm1(x), text, mask))
    return x + block.drop_path(block.mlp.fc2(F.gelu(block.mlp.fc1(block.norm2(x)))))


def merge_patches(merging: nn.Module, x: Tensor) -> Tensor:
    """(B, H, W, C) to (B, H / 2, W / 2, 2C)."""
    h, w = x.shape[1:3]
    x = F.pad(x, (0, 0, 0, w % 2, 0, h % 2))
    parts = (x[:, 0::2, 0::2], x[:, 1::2, 0::2], x[:, 0::2, 1::2], x[:, 1::2, 1::2])
    return merging.reduction(merging.norm(torch.cat(parts, -1)))


def text_layer(
    layer: nn.Module,
    x: Tensor,
    bias: Tensor | None,
    image: Tensor | None = None,
    last_norm: bool = True,
) -> Tensor:
    """A RoBERTa layer on (B, L, C) with additive ``bias``, reading ``image`` (B, N, D) if given."""
    own = layer.attention
    rate = own.dropout.p if layer.training else 0.0
    query, key, value = (
        split_heads(part(x), own.num_heads) for part in (own.query, own.key, own.value)
    )
    attended = own.dropout(own.proj(attend(query, key, value, bias, rate)))
    if image is not None:
        cross = layer.image_attention
        query = split_heads(cross.query(cross.query_norm(attended)), cross.num_heads)
        key, value = (
            split_heads(part(image), cross.num_heads) for part in (cross.key, cross.value)
        )
        rate = cross.attn_drop if layer.training else 0.0
        read = cross.proj_drop(cross.proj(attend(query, key, value, None, rate)))
        attended = attended + cross.gate * read
    x = layer.attention_norm(attended + x)
    x = layer.dropout(layer.ffn.fc2(F.gelu(layer.ffn.fc1(x)))) + x
    return layer.ffn_norm(x) if last_norm else x


# --------------------------------------------------------------------- head
def dynamic_block(block: nn.Module, levels: list[Tensor]) -> list[Tensor]:
    """A block of the DyHead tower: levels (B, C, H_l, W_l) to levels of the same shapes."""
    return [dynamic_level(block, levels, i) for i in range(len(levels))]


def dynamic_level(block: nn.Module, levels: list[Tensor], index: int) -> Tensor:
    """One level: the mean of itself and its neighbours, all sampled with this level's offsets."""
    x = levels[index]
    offset = mask = None
    if block.deformable:
        both = block.offset(x)
        offset, mask = both[:, :18].contiguous(), both[:, 18:].sigmoid().contiguous()
    maps = [dynamic_conv(block.from_own, x, offset, mask, 1)]
    if index > 0:
        maps.append(dynamic_conv(block.from_finer, levels[index - 1], offset, mask, 2))
    if index + 1 < len(levels):
        coarser = dynamic_conv(block.from_coarser, levels[index + 1], offset, mask, 1)
        maps.append(F.interpolate(coarser, size=x.shape[-2:], mode='bilinear', align_corners=True))
    weights = [
        F.hardsigmoid(F.relu(block.scale_attention(F.adaptive_avg_pool2d(m, 1)))) for m in maps
    ]
    return block.activation(torch.stack([m * w for m, w in zip(maps, weights)]).mean(0))


def dynamic_conv(
    part: nn.Module, x: Tensor, offset: Tensor | None, mask: Tensor | None, stride: int
) -> Tensor:
    """Convolution and norm; mmcv itself reads offsets of a larger map as a flat array."""
    weight, bias = part.conv.weight, part.conv.bias
    if offset is None:
        return part.norm(F.conv2d(x, weight, bias, stride=stride, padding=1))
    with torch.autocast(x.device.type, enabled=False):
        x = modulated_deform_conv2d(
            x.float(), offset.float(), mask.float(), weight, bias, stride, 1
        )
    return part.norm(x)
