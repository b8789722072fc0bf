"""The weights a backbone starts from: of another FIBER model, or public ones for its towers."""

import re
from collections.abc import Mapping
from typing import Any

from mmengine.logging import MMLogger
from torch import Tensor, nn

from fiber_mmdet.checkpoints.account import Conversion, ConversionError
from fiber_mmdet.checkpoints.downloads import local_file
from fiber_mmdet.checkpoints.fitting import fit
from fiber_mmdet.checkpoints.names import FILE_HAS_NONE, MODEL_HAS_NONE, NOT_BACKBONE
from fiber_mmdet.checkpoints.published_layout import detect_layout, from_official, from_swin
from fiber_mmdet.checkpoints.reading import official_weights, our_weights, read_checkpoint

from .fusion import CROSS_MODAL

PREFIX = 'backbone.'
PARTS = {
    'backbone': PREFIX,
    'image tower': f'{PREFIX}image.',
    'text tower': f'{PREFIX}text.',
}


def load_pretrained(
    backbone: nn.Module,
    image: str | None = None,
    text: str | None = None,
    coarse: str | None = None,
    towers: str | None = None,
    swap_rgb: bool = False,
) -> None:
    """Read what ``backbone.pretrained`` names, and log what became of every key.

    Bias tables of another window are resized. What the source cannot have stays as it is: the
    norms of the pyramid, prompt rows, norms of the image query that only one side has, and the
    cross-attention unless it comes from ``coarse``.

    Args:
        backbone: a :class:`FIBERBackbone`, changed in place.
        image: path or URL of a Swin checkpoint, in Swin's own names or mmdet's, alone or as the
            image tower of a larger model (a detector, METER, X-VLM, …).
        text: what the text tower's ``read_public_weights`` reads.
        coarse: path or URL of an image-text checkpoint, of this project (mmengine's
            ``state_dict``) or an official one. Its heads are left aside.
        towers: the same, or a detector of this project or an official one, for an image-text stage
            that starts from it: its cross-attention serves boxes, and can be saturated where the
            pyramid has no use for it, so it is left aside.
        swap_rgb: reverse the input channels of the patch embedding: Swin and the image-text models
            were trained on RGB, the detectors read BGR. The reference hands the weights over as
            they are.

    Raises:
        ConversionError: a file is missing, refused (it would run code) or of another kind, or its
            weights do not fit the backbone; all keys at fault are listed.
    """
    fresh = {CROSS_MODAL: 'cross-attention', **FILE_HAS_NONE}
    if coarse:
        found = _read_fiber(coarse, backbone)
        _load(backbone, 'backbone', coarse, found, FILE_HAS_NONE, swap_rgb)
    if towers:
        found = _read_fiber(towers, backbone, towers_only=True)
        _load(backbone, 'backbone', towers, found, fresh, swap_rgb)
    if image:
        weights = official_weights(read_checkpoint(local_file(image)), name=image)
        found = from_swin(weights, _own(backbone, 'image tower'))
        _load(backbone, 'image tower', image, found, fresh, swap_rgb)
    if text:
        tower: Any = backbone.text
        found = tower.read_public_weights(text)
        prefix = PARTS['text tower']
        found.state = {prefix + key: value for key, value in found.state.items()}
        found.fresh = {prefix + key: why for key, why in found.fresh.items()}
        _load(backbone, 'text tower', text, found, fresh)


def _own(backbone: nn.Module, part: str) -> dict[str, Tensor]:
    """The backbone's own weights of a part, under the names that they have in a model."""
    state = {PREFIX + key: value for key, value in backbone.state_dict().items()}
    return {key: value for key, value in state.items() if key.startswith(PARTS[part])}


def _read_fiber(source: str, backbone: nn.Module, towers_only: bool = False) -> Conversion:
    """The backbone's part of a FIBER checkpoint, under our names."""
    checkpoint = read_checkpoint(local_file(source))
    try:
        weights = our_weights(checkpoint)
        if any(key.startswith(PARTS['image tower']) for key in weights):
            if not towers_only and any(key.startswith('bbox_head.') for key in weights):
                raise ConversionError('is a checkpoint of a detector: start from it with load_from')
            found = Conversion(weights)
        else:
            weights = official_weights(checkpoint)
            layout, _ = detect_layout(weights)
            if layout == 'fine' and not towers_only:
                raise ConversionError(
                    'is an official checkpoint of a detector: start from it with load_from'
                )
            wanted = None if towers_only else _own(backbone, 'backbone')
            found = from_official(weights, layout, wanted)
    except ConversionError as error:
        raise ConversionError(f'{source}: {error}') from None
    if towers_only:
        for key in [key for key in found.state if re.fullmatch(CROSS_MODAL, key)]:
            del found.state[key]
            found.reasons[key] = 'cross-attention'
    return found


def _load(
    backbone: nn.Module,
    part: str,
    source: str,
    found: Conversion,
    fresh: Mapping[str, str],
    swap_rgb: bool = False,
) -> None:
    """Copy weights into a part of the backbone, checked and logged."""
    surplus = {NOT_BACKBONE: 'not of the backbone', **MODEL_HAS_NONE}
    fit(found, _own(backbone, part), surplus, fresh, resize=True, swap_rgb=swap_rgb)
    found.refuse_problems(
        f'{source} does not fit the {part}; check its depths, widths, patch size, text layers, '
        'fusion and num_fused (pretrained.towers leaves the cross-attention aside): keys at fault'
    )
    state = {key.removeprefix(PREFIX): value for key, value in found.state.items()}
    backbone.load_state_dict(state, strict=False)
    lines = [f'{part}: {len(state)} weights loaded from {source}', *found.summary()]
    MMLogger.get_current_instance().info('\n'.join(lines))
