"""Which head of an image-level model answers what, or which config has one that does."""

from typing import TYPE_CHECKING

from fiber_mmdet.models.image_text.heads import (
    CaptionHead,
    ITCHead,
    ITMHead,
    NLVR2Head,
    ObjectiveHead,
    VQAHead,
)

if TYPE_CHECKING:
    from fiber_mmdet.models import FIBERForVL

# class of the head -> its usual name, and configs that have it
CONFIGS = {
    VQAHead: ('vqa', 'vqa/fiber_swin-b_8xb8-10e_vqav2.py', 'scenes/fiber_mini_scenes_vqa.py'),
    NLVR2Head: (
        'nlvr2',
        'nlvr2/fiber_swin-b_8xb8-5e_nlvr2.py',
        'scenes/fiber_mini_scenes_nlvr2.py',
    ),
    CaptionHead: (
        'caption',
        'captioning/fiber_swin-b_mle_8xb8-10e_coco.py',
        'scenes/fiber_mini_scenes_captioning.py',
    ),
    ITMHead: (
        'itm',
        'image_text_pretrain/fiber_swin-b_64xb8-100k_coco-vg-sbu-gcc.py',
        'scenes/fiber_mini_scenes_pretrain.py',
    ),
    ITCHead: (
        'itc',
        'retrieval/fiber_swin-b_itc_8xb128-10e_coco.py',
        'scenes/fiber_mini_scenes_retrieval.py',
    ),
}


class MissingHead(ValueError):
    """The model lacks the head that a question needs; the message names a config that has it."""


def head_of(model: 'FIBERForVL', kind: type) -> ObjectiveHead | None:
    """The head of a class, None if the model has none."""
    return next((head for head in model.heads.values() if isinstance(head, kind)), None)


def need_head(model: 'FIBERForVL', kind: type, purpose: str) -> ObjectiveHead:
    """The head of a class.

    Args:
        model: the model.
        kind: the class, one of ``CONFIGS``.
        purpose: what the error says it is needed for.

    Raises:
        MissingHead: there is none.
    """
    head = head_of(model, kind)
    if head is None:
        name, *configs = CONFIGS[kind]
        there = ', '.join(f'{key} ({type(head).__name__})' for key, head in model.heads.items())
        raise MissingHead(
            f"{purpose} needs heads=dict({name}=dict(type='{kind.__name__}')), but the model has "
            f'only {there}: use a config that has it and weights trained with it, such as '
            f'configs/{configs[0]} or configs/{configs[1]}'
        )
    return head
