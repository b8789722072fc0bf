"""A tiny detector, a tiny image-text model, and official checkpoints of their size."""

import copy
import json

import torch
from mmdet.registry import MODELS

import fiber_mmdet  # noqa: F401
from fiber_mmdet.checkpoints import to_official
from fiber_mmdet.models.backbone.windows import relative_position_index

TINY = dict(
    type='FIBERDetector',
    backbone=dict(
        type='FIBERBackbone',
        image=dict(embed_dim=16, depths=(1, 1, 2, 1), num_heads=(1, 2, 4, 8), window=4),
        text=dict(num_layers=3, dim=32, num_heads=4, ffn_dim=64, vocab_size=100, max_positions=20),
        num_fused=2,
    ),
    neck=dict(type='FIBERFPN', in_channels=[32, 64, 128], out_channels=32),
    bbox_head=dict(type='GroundingHead', channels=32, text_dim=32, num_blocks=1),
    tokenizer=dict(name_or_path='unused'),
)


def tiny_config(window=4, **backbone):
    cfg = copy.deepcopy(TINY)
    cfg['backbone'].update(backbone)
    cfg['backbone']['image']['window'] = window
    return cfg


def tiny_model(**kwargs):
    return MODELS.build(tiny_config(**kwargs))


HEADS = dict(
    mlm=dict(type='MLMHead'),
    itc=dict(type='ITCHead', queue_size=8),
    itm=dict(type='ITMHead'),
    vqa=dict(type='VQAHead', num_answers=7),
    nlvr2=dict(type='NLVR2Head'),
    caption=dict(type='CaptionHead', max_new_tokens=9),
)


def image_text_config(heads=HEADS, window=4, **backbone):
    cfg = tiny_config(window, **dict(dict(i2t_norm=True), **backbone))['backbone']
    cfg['image']['always_shift'] = False
    return dict(
        type='FIBERForVL',
        backbone=dict(cfg, last_text_norm=False, out_indices=()),
        dim=48,
        heads=copy.deepcopy(heads),
        tokenizer=dict(name_or_path='unused', max_tokens=10),
    )


def image_text_model(**kwargs):
    return MODELS.build(image_text_config(**kwargs))


def official(model, layout):
    """What the reference would save for a model of this size, buffers and unused heads included."""
    generator = torch.Generator().manual_seed(0)
    image_text = 'image_norm.weight' in model.state_dict()
    state = {
        key: torch.rand(value.shape, generator=generator)
        for key, value in model.state_dict().items()
        if layout == 'fine' or image_text or key.startswith('backbone.') and 'out_norms' not in key
    }
    weights = to_official(state, layout).state
    for key in list(weights):
        if key.endswith('bias_table'):
            weights[key.replace('bias_table', 'index')] = relative_position_index(4)
    if layout == 'fine':
        prefix = 'fusion_backbone.language_backbone.body.model.'
        weights['rpn.head.cls_logits.weight'] = torch.rand(1, 32, 1, 1)
        weights['rpn.head.cls_logits.bias'] = torch.rand(1)
        for i, stride in enumerate((8, 16, 32, 64, 128)):
            low, high = -3.5 * stride, 4.5 * stride - 1
            weights[f'rpn.anchor_generator.cell_anchors.{i}'] = torch.tensor(
                [[low, low, high, high]]
            )
    else:
        prefix = 'text_transformer.'
        weights.update(
            {
                'vit_model.layers.2.blocks.1.attn_mask': torch.rand(4, 16, 16),
                prefix + 'pooler.dense.weight': torch.rand(32, 32),
                prefix + 'pooler.dense.bias': torch.rand(32),
                prefix + 'encoder.layer.0.alpha_t2i': torch.rand(1),
                'rank_output.weight': torch.rand(1, 96),
                'rank_output.bias': torch.rand(1),
                'cross_modal_att_layers.0.weight': torch.rand(64, 128),
                'cross_modal_att_layers.0.bias': torch.rand(64),
                'text_input_queue': torch.zeros(8, 5, dtype=torch.int64),
            }
        )
        for i, part in ((i, part) for i in (1, 2) for part in ('weight', 'bias')):
            weights[f'{prefix}encoder.layer.{i}.crossattention_t2i.output.LayerNorm.{part}'] = (
                torch.rand(32)
            )
        if not image_text:
            weights.update(
                {
                    'vit_model.norm.weight': torch.rand(128),
                    'vit_model.norm.bias': torch.rand(128),
                    'mlm_score.decoder.weight': weights[
                        prefix + 'embeddings.word_embeddings.weight'
                    ],
                    'temp': torch.tensor(0.07),
                }
            )
    weights[prefix + 'embeddings.position_ids'] = torch.arange(20)[None]
    return weights


def manifest(shared_dir, *names):
    """Official state dict of full size with its buffers, without memory behind it."""
    found = {}
    for name in names:
        content = json.loads((shared_dir / 'parity' / f'{name}.manifest.json').read_text())
        found.update(content['keys'], **content.get('derived_buffers', {}))
    return {
        key: torch.empty(entry['shape'], dtype=getattr(torch, entry['dtype']), device='meta')
        for key, entry in found.items()
    }


def signature(weights):
    """Shapes and dtypes of weights."""
    return {key: (tuple(value.shape), value.dtype) for key, value in weights.items()}


def assert_same(found, expected):
    """The same keys, values and dtypes."""
    assert set(found) == set(expected)
    for key, value in expected.items():
        assert found[key].dtype == value.dtype and torch.equal(found[key], value), key
