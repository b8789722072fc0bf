"""Files of other systems, known by one telling key each: named, and never half loaded."""

import re
from collections.abc import Iterable
from dataclasses import dataclass

from .account import ConversionError

FIBER = 'fusion_backbone.'  # FIBER's detectors have GLIP's head, but only they have this
BORROW = 'fiber borrow {file} ours.pth --config CONFIG'
VOLTA = 'g_img.0.weight'  # telling, but its files have FIBER's own names and are read as such


@dataclass(frozen=True)
class OtherSystem:
    """A system whose public files share parts with FIBER, or look as if they did.

    Attributes:
        name: what people call it.
        telling: regular expression of a key that only its files have.
        lends: what can be borrowed from it, as the end of a sentence; '' for nothing.
        hint: what to do if there is nothing to borrow.
        image_note: what ``pretrained.image`` does not do for its image tower.
    """

    name: str
    telling: str
    lends: str = ''
    hint: str = ''
    image_note: str = ''


# Public towers alone, by a key each.
TOWERS = {
    'Swin': r'(.*\.)?(layers|stages)\.0\.blocks\.0\.attn\.(w_msa\.)?qkv\.weight',
    'RoBERTa': r'(.*\.)?embeddings\.word_embeddings\.weight',
}

_GLIP_LENDS = 'image tower, pyramid, tower of the head and boxes of a detector with Swin-T'
_GLIP_NOTE = 'GLIP reads BGR: swap_rgb is for an image-text model, not for a detector'

# The first that matches counts.
OTHER_SYSTEMS = (
    OtherSystem(
        'BridgeTower',
        r'(bridgetower\.)?cross_modal_text_link_tower\..*',
        lends='the text tower',
    ),
    OtherSystem(
        'METER with the image tower of CLIP',
        r'vit_model\.visual\..*',
        hint=(
            'its image tower is a ViT, which FIBER does not have. Its text tower is a RoBERTa: '
            'backbone.pretrained=dict(text={file!r}) takes it'
        ),
    ),
    OtherSystem(
        'METER',
        r'cross_modal_text_layers\.0\.crossattention\.self\.query\.weight',
        lends='both towers and the words of an image-text model',
    ),
    OtherSystem(
        'GLIP',
        r'rpn\.head\.dyhead_tower\.0\.b_attn\.gamma_v',
        lends=_GLIP_LENDS,
        image_note=_GLIP_NOTE,
    ),
    OtherSystem(
        'GLIP without early fusion',
        r'rpn\.head\.dyhead_tower\.0\.DyConv\.0\.conv\.weight',
        lends=_GLIP_LENDS,
        image_note=_GLIP_NOTE,
    ),
    OtherSystem(
        "GLIP in mmdet's format",
        r'bbox_head\.head\.dyhead_tower\.0\.b_attn\.gamma_v',
        lends=_GLIP_LENDS,
        image_note=_GLIP_NOTE,
    ),
    OtherSystem(
        "GLIP without early fusion, in mmdet's format",
        r'bbox_head\.head\.dyhead_tower\.0\.dyconvs\.0\.conv\.weight',
        lends=_GLIP_LENDS,
        image_note=_GLIP_NOTE,
    ),
    OtherSystem(
        "Grounding DINO in mmdet's format",
        r'text_feat_map\.weight',
        lends='the image tower',
    ),
    OtherSystem('Grounding DINO', r'backbone\.0\.patch_embed\.proj\.weight', 'the image tower'),
    OtherSystem(
        'X-VLM',
        r'vision_encoder\.patch_embed\.proj\.weight',
        lends='the image tower',
        image_note=(
            "X-VLM was trained with CLIP's mean and deviation of the colours: "
            '`fiber borrow` takes them into the patch embedding, this does not'
        ),
    ),
    OtherSystem(
        'X-VLM with the image tower of CLIP',
        r'vision_encoder\.patch_embed\.weight',
        hint='its image tower is a ViT, which FIBER does not have',
    ),
)


class OtherSystemError(ConversionError):
    """A file of another system; the message names it, and what can be borrowed from it."""


def recognise(keys: Iterable[str]) -> OtherSystem | None:
    """The other system that a state dict is of; None if it is of none that is known.

    Args:
        keys: its keys, without a ``module.`` prefix.
    """
    keys = list(keys)
    if any(key.startswith(FIBER) for key in keys):
        return None
    for system in OTHER_SYSTEMS:
        telling = re.compile(system.telling)
        if any(telling.fullmatch(key) for key in keys):
            return system
    return None


def refuse_other_system(keys: Iterable[str], file: str = 'FILE') -> None:
    """Stop if a state dict is of another system.

    Args:
        keys: its keys, without a ``module.`` prefix.
        file: what the command in the message calls it.

    Raises:
        OtherSystemError: naming the system and what to do.
    """
    system = recognise(keys)
    if system is not None:
        raise OtherSystemError(
            f'is a checkpoint of {system.name}, not of FIBER: {advice(system, file)}'
        )


def advice(system: OtherSystem, file: str = 'FILE') -> str:
    """What to do with a file of another system.

    Args:
        system: what :func:`recognise` found.
        file: name of the file.
    """
    if system.lends:
        return f'{system.lends} can be borrowed from it, {BORROW.format(file=file)}'
    return system.hint.format(file=file)


def is_volta(keys: Iterable[str]) -> bool:
    """Whether a state dict is VoLTA's: FIBER's image-text names, and projectors beside them.

    Args:
        keys: its keys, without a ``module.`` prefix.
    """
    return VOLTA in set(keys)


def public_tower(keys: Iterable[str]) -> str | None:
    """The public tower, a key of :data:`TOWERS`, that a state dict is of; None if of none.

    Args:
        keys: its keys.
    """
    keys = list(keys)
    for tower, telling in TOWERS.items():
        if any(re.fullmatch(telling, key) for key in keys):
            return tower
    return None
