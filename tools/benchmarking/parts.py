"""Operations of a model's parts: what is paid per image, per text and per pair."""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from mmdet.registry import MODELS
from torch import nn

from fiber_mmdet.models import FIBERDetector, FIBERForVL

from .flops import count_flops

Row = tuple[str, int, int]


@torch.no_grad()
def count_parts(
    model: dict | nn.Module, size: tuple[int, int] | None = None, tokens: int = 20
) -> list[Row]:
    """Operations and parameters of the parts of a model with new weights.

    Args:
        model: config of a detector or an image-text model, or the model.
        size: height and width of the image; None for 800 x 1344, or what the windows are made for.
        tokens: of the text.

    Returns:
        Name, operations and parameters of each part; then sums of what is often computed.

    Raises:
        ValueError: more tokens than the text tower has positions, or another model.
    """
    built: Any = model if isinstance(model, nn.Module) else MODELS.build(model)
    built.eval()
    if not isinstance(built, (FIBERDetector, FIBERForVL)):
        raise ValueError(f'{type(built).__name__} is neither a FIBERDetector nor a FIBERForVL')
    backbone = built.backbone
    if not 0 < tokens <= backbone.text.max_tokens:
        raise ValueError(
            f'tokens={tokens} must lie between 1 and {backbone.text.max_tokens}, the positions of '
            'the text tower'
        )
    is_detector = isinstance(built, FIBERDetector)
    if size is None:
        side = backbone.image.one_window_side
        size = (800, 1344) if is_detector else (side, side)
    pixels = torch.zeros(1, 3, *size)
    ids = torch.full((1, tokens), backbone.text.pad_id + 1)
    mask = torch.ones(1, tokens, dtype=torch.bool)
    kept: dict[str, Any] = {}

    def count(name: str, call: Callable[[], Any]) -> int:
        return count_flops(lambda: kept.__setitem__(name, call()))

    image = count('image', lambda: backbone.encode_image(pixels))
    text = count('text', lambda: backbone.encode_text(ids, mask))
    pair = count('fused', lambda: backbone.fuse(kept['image'], kept['text']))
    rows: list[Row] = [
        ('image prefix, per image', image, _size(backbone.image_prefix_modules().values())),
        ('text prefix, per text', text, _size(_text_prefix(backbone))),
    ]
    prefixes = sum(row[2] for row in rows)
    rows.append(('fused blocks, per pair', pair, _size([backbone]) - prefixes))
    if is_detector:
        fused = kept['fused']
        head = count(
            'head', lambda: built.bbox_head(built.neck(fused.pyramid), fused.text, fused.mask)
        )
        rows.append(('pyramid and head, per pair', head, _size([built.neck, built.bbox_head])))
        pair += head
    first = image + text + pair
    total = _size([built])
    rows += [
        ('one image, one text', first, total),
        ('the next text of the image', text + pair, total),
        ('the next image, same text', image + pair, total),
    ]
    return rows


def _text_prefix(backbone: Any) -> list[nn.Module]:
    text = backbone.text
    return [text.embeddings, *text.layers[: backbone.fusion.text_start]]


def _size(parts: Sequence[nn.Module] | Any) -> int:
    return sum(parameter.numel() for part in parts for parameter in part.parameters())
