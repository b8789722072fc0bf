"""Our models for official manifests, with generated weights."""

import math
import re
from collections.abc import Callable, Mapping
from types import ModuleType

from mmdet.registry import MODELS
from torch import Tensor, nn

from fiber_mmdet.checkpoints.names import (
    COARSE_IMAGE,
    COARSE_TEXT,
    FINE_IMAGE,
    FINE_TEXT,
    FPN,
    HEAD,
)
from fiber_mmdet.checkpoints.published_layout import detect_layout, from_official

from .fixture import ParityError

TEXT_HEAD = 64  # channels per attention head of RoBERTa; shapes do not show it
Shapes = Mapping[str, list[int]]


def _shapes(manifest: dict) -> dict[str, list[int]]:
    return {key: entry['shape'] for key, entry in manifest['keys'].items()}


def _count(shapes: Shapes, pattern: str) -> int:
    """Number of different matches at the beginning of keys."""
    return len({found.group() for key in shapes if (found := re.match(pattern, key))})


def _backbone(shapes: Shapes, image_prefix: str, text_prefix: str) -> dict:
    """Config of a :class:`FIBERBackbone`, without output stages and flags of a stage."""
    block = re.escape(image_prefix) + r'layers\.'
    first = image_prefix + 'layers.{}.blocks.0.'
    stages = range(_count(shapes, block + r'\d+\.'))
    tables = [shapes[first.format(s) + 'attn.relative_position_bias_table'] for s in stages]
    patches = shapes[image_prefix + 'patch_embed.proj.weight']
    hidden = shapes[first.format(0) + 'mlp.fc1.weight'][0]
    vocab_size, text_dim = shapes[text_prefix + 'embeddings.word_embeddings.weight']
    image = dict(
        embed_dim=patches[0],
        patch=patches[-1],
        mlp_ratio=hidden / patches[0],
        depths=[_count(shapes, rf'{block}{s}\.blocks\.\d+\.') for s in stages],
        num_heads=[heads for _, heads in tables],
        window=(math.isqrt(tables[0][0]) + 1) // 2,
    )
    text = dict(
        num_layers=_count(shapes, re.escape(text_prefix) + r'encoder\.layer\.\d+\.'),
        dim=text_dim,
        num_heads=max(text_dim // TEXT_HEAD, 1),
        ffn_dim=shapes[text_prefix + 'encoder.layer.0.intermediate.dense.weight'][0],
        vocab_size=vocab_size,
        max_positions=shapes[text_prefix + 'embeddings.position_embeddings.weight'][0],
    )
    return dict(
        type='FIBERBackbone',
        image=image,
        text=text,
        num_fused=sum(key.endswith('.alpha_i2t') for key in shapes),
        i2t_norm=detect_layout(shapes)[1],
    )


def detector_config(manifest: dict) -> dict:
    """Config of the detector whose weights a manifest lists.

    Args:
        manifest: ``{'keys': {official key: {'shape': [...]}}}``.

    Returns:
        Config of a ``FIBERDetector`` with widths and depths derived from the shapes.
    """
    shapes = _shapes(manifest)
    backbone = _backbone(shapes, FINE_IMAGE, FINE_TEXT)
    backbone['text']['prompt_rows'] = shapes.get('fusion_backbone.tunable_linear.weight', [0])[0]
    stages = range(len(backbone['image']['depths']))
    out_indices = [s for s in stages if f'{FINE_IMAGE}norm{s}.weight' in shapes]
    inner = [shapes[f'{FPN}fpn_inner{s + 1}.weight'] for s in out_indices]
    levels = _count(shapes, re.escape(HEAD) + r'scales\.\d+\.')
    return dict(
        type='FIBERDetector',
        backbone=dict(backbone, out_indices=out_indices),
        neck=dict(
            type='FIBERFPN',
            in_channels=[shape[1] for shape in inner],
            out_channels=inner[0][0],
            num_outs=levels,
        ),
        bbox_head=dict(
            type='GroundingHead',
            channels=inner[0][0],
            text_dim=backbone['text']['dim'],
            num_blocks=_count(shapes, re.escape(HEAD) + r'dyhead_tower\.\d+\.'),
            deformable=f'{HEAD}dyhead_tower.0.offset.weight' in shapes,
            strides=[8 * 2**level for level in range(levels)],
        ),
        tokenizer=dict(name_or_path=''),  # the fixtures come with token ids
        train_cfg=dict(
            assigner=dict(
                type='ATSSAssigner', topk=9, iou_calculator=dict(type='BboxOverlaps2D_GLIP')
            )
        ),
    )


def image_text_config(manifest: dict, max_tokens: int, queue_size: int = 0) -> dict:
    """Config of the image-text model whose weights a manifest lists, as the reference runs it.

    Args:
        manifest: ``{'keys': {official key: {'shape': [...]}}}``, heads included.
        max_tokens: tokens of a text.
        queue_size: pairs in the queue of the contrast.

    Returns:
        Config of a ``FIBERForVL`` with those heads whose weights the manifest has.
    """
    shapes = _shapes(manifest)
    backbone = _backbone(shapes, COARSE_IMAGE, COARSE_TEXT)
    backbone['image'].update(always_shift=False, drop_path=0.0)
    heads = dict(
        temp=(
            'itc',
            dict(
                type='ITCHead',
                queue_size=queue_size,
                legacy_queue=True,
                same_image_guard=False,
                pixel_queue=queue_size,
                pixel_dtype='float32',
            ),
        ),
        itm_score=('itm', dict(type='ITMHead', score='logit')),
        mlm_score=('mlm', dict(type='MLMHead')),
        vqa_classifier=(
            'vqa',
            dict(type='VQAHead', num_answers=shapes.get('vqa_classifier.3.bias', [1])[0]),
        ),
        nlvr2_classifier=('nlvr2', dict(type='NLVR2Head')),
        cross_modal_att_layers=('caption', dict(type='CaptionHead', max_new_tokens=max_tokens - 1)),
    )
    there = {key.split('.')[0] for key in shapes}
    return dict(
        type='FIBERForVL',
        backbone=dict(backbone, last_text_norm=False, out_indices=()),
        dim=shapes['cross_modal_text_transform.weight'][0],
        heads=dict(head for key, head in heads.items() if key in there),
        tokenizer=dict(name_or_path='', max_tokens=max_tokens),
    )


def build_detector(manifest: dict) -> nn.Module:
    """The detector of a manifest, in evaluation mode, with random weights.

    Raises:
        ParityError: the manifest lacks a part of a detector.
    """
    return _build(detector_config, manifest)


def build_image_text(manifest: dict, max_tokens: int, queue_size: int = 0) -> nn.Module:
    """The image-text model of a manifest, see :func:`image_text_config`, likewise.

    Raises:
        ParityError: the manifest lacks a part of an image-text model.
    """
    return _build(image_text_config, manifest, max_tokens, queue_size)


def _build(config: Callable[..., dict], *args) -> nn.Module:
    try:
        config = config(*args)
    except KeyError as error:
        raise ParityError(f'the manifest has no {error.args[0]!r}') from None
    return MODELS.build(config).eval()


def load_weights(
    model: nn.Module, generator: ModuleType, manifest: dict, seed: int, sharp: bool
) -> dict[str, Tensor]:
    """Generate, convert and load one set of weights.

    Args:
        model: the model, changed in place.
        generator: module with ``state_dict(manifest, seed, sharp)``.
        manifest: the official manifest.
        seed: seed of the weights.
        sharp: whether to generate the second set.

    Returns:
        The official entries without a place in the model.

    Raises:
        ParityError: a key is left over on either side.
    """
    wanted = set(model.state_dict())
    official = generator.state_dict(manifest, seed=seed, sharp=sharp)
    converted = from_official(official, detect_layout(official)[0], wanted)
    missing = sorted(wanted - set(converted.state))
    for problem, keys in (
        ('unknown to the key table', list(converted.unknown)),
        ('in the model but not in the manifest', missing),
    ):
        if keys:
            raise ParityError(
                f'{len(keys)} keys {problem}: {", ".join(keys[:3])}{", …" if len(keys) > 3 else ""}'
            )
    model.load_state_dict(converted.state)
    return converted.extras
