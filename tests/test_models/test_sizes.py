"""Options that must fit each other: each pair is refused when the model is built, by both names."""

import copy

import pytest
from mmdet.registry import MODELS
from mmengine.config import ConfigDict
from mmengine.registry import DefaultScope

from fiber_mmdet.models.sizes import SizeError
from tiny_checkpoints import image_text_config, tiny_config

# changes of one option -> both options that do not fit, as the message names them
BACKBONE = [
    (
        {'image.embed_dim': 18},  # 18, 36, 72, 144 channels for 1, 2, 4, 8 heads: these fit
        (),
    ),
    ({'image.embed_dim': 20, 'image.num_heads': (3, 2, 4, 8)}, ('embed_dim=20', 'num_heads[0]=3')),
    ({'image.num_heads': (1, 2, 4, 48)}, ('embed_dim=16 makes 128', 'num_heads[3]=48')),
    ({'image.num_heads': (1, 2, 4)}, ('depths=[1, 1, 2, 1] has 4', 'num_heads=[1, 2, 4] 3')),
    ({'image.depths': (1, 0, 2, 1)}, ('depths=[1, 0, 2, 1] must be',)),
    ({'image.window': 0}, ('image.window=0 must be',)),
    ({'image.position_side': -3}, ('image.position_side=-3 must be',)),
    ({'text.num_heads': 5}, ('text.dim=32', 'text.num_heads=5')),
    ({'text.num_layers': 1}, ('num_fused=2', 'text.num_layers=1')),
    ({'num_fused': 6}, ('num_fused=6', 'depths=[1, 1, 2, 1]', 'text.num_layers=3')),
    (
        {'fusion': dict(type='LockStepFusion', num_fused=9)},
        ('fusion.num_fused=9', 'text.num_layers=3'),
    ),
    (
        {'fusion': dict(type='FusionEncoder', dim=30, num_heads=4)},
        ('fusion.dim=30', 'fusion.num_heads=4'),
    ),
    ({'out_indices': (1, 2, 4)}, ('out_indices=[1, 2, 4]', 'depths=[1, 1, 2, 1]')),
    ({'out_indices': (2, 1)}, ('out_indices=[2, 1]', 'in order')),
    ({'frozen_stages': 5}, ('frozen_stages=5', 'depths=[1, 1, 2, 1]')),
    ({'text.vocab_size': 1}, ('text.pad_id=1 ', 'text.vocab_size=1 ')),
    ({'text.max_positions': 2}, ('text.max_positions=2', 'text.pad_id=1')),
]
DETECTOR = [
    (
        {'backbone.image.embed_dim': 32},
        ('backbone.image.embed_dim=32', 'levels of [64, 128, 256]', 'neck.in_channels=[32, 64'),
    ),
    (
        {'backbone.out_indices': (2, 3)},
        ('backbone.out_indices=[2, 3]', 'neck.in_channels=[32, 64, 128]'),
    ),
    ({'neck.in_channels': [32, 64]}, ('backbone.out_indices=[1, 2, 3]', 'neck.in_channels=[32')),
    ({'neck.out_channels': 64}, ('neck.out_channels=64', 'bbox_head.channels=32')),
    ({'neck.num_outs': 4}, ('neck.num_outs=4', 'bbox_head.strides=[8, 16, 32, 64, 128] has 5')),
    ({'neck.num_outs': 2, 'bbox_head.strides': (8, 16)}, ('neck.num_outs=2', 'out_indices')),
    (
        {'backbone.image.patch': 2},
        ('pyramid of [4, 8, 16, 32, 64]', 'bbox_head.strides=[8, 16, 32, 64, 128]'),
    ),
    (
        {'bbox_head.channels': 40, 'neck.out_channels': 40},
        ('bbox_head.channels=40', 'multiple of 16'),
    ),
    ({'backbone.text.dim': 64}, ('backbone.text.dim=64', 'bbox_head.text_dim=32')),
    (
        {'backbone.fusion': dict(type='FusionEncoder', dim=48, num_heads=4)},
        ('backbone.fusion.dim=48', 'bbox_head.text_dim=32'),
    ),
    ({'tokenizer.max_tokens': 19}, ('tokenizer.max_tokens=19', 'text.max_positions=20')),
    (
        {'tokenizer.max_tokens': 12, 'bbox_head.max_tokens': 10},
        ('tokenizer.max_tokens=12', 'bbox_head.max_tokens=10'),
    ),
    (
        {'tokenizer.max_tokens': 12, 'backbone.text.prompt_rows': 8},
        ('tokenizer.max_tokens=12', 'backbone.text.prompt_rows=8'),
    ),
    (
        {
            'backbone.out_indices': (0, 2),
            'neck.in_channels': [16, 64],
            'bbox_head.strides': (4, 16, 32, 64, 128),
        },
        ('backbone.out_indices=[0, 2]', 'follow one another'),
    ),
]
IMAGE_TEXT = [
    ({'dim': 0}, ('dim=0 must be',)),
    ({'tokenizer.max_tokens': 30}, ('tokenizer.max_tokens=30', 'text.max_positions=20')),
    (
        {'backbone.text.prompt_rows': 3},
        ('tokenizer.max_tokens=10', 'backbone.text.prompt_rows=3'),
    ),
    (
        {'heads.caption.max_new_tokens': 40},
        ('heads.caption.max_new_tokens=40', 'text.max_positions=20'),
    ),
]


def refusal(cfg, changes):
    """What building says with some options changed; None if it builds."""
    cfg = ConfigDict(copy.deepcopy(cfg))
    for place, value in changes.items():
        *path, name = place.split('.')
        part = cfg
        for key in path:
            part = part[key]
        part[name] = value
    try:
        with DefaultScope.overwrite_default_scope('mmdet'):
            MODELS.build(cfg)
    except SizeError as error:
        return str(error)
    return None


def assert_refused(cfg, changes, parts):
    said = refusal(cfg, changes)
    if not parts:
        assert said is None
        return
    assert said is not None and all(part in said for part in parts), said
    assert '\n' not in said, said  # one misfit, told once


@pytest.mark.parametrize('changes, parts', BACKBONE)
def test_backbone(changes, parts):
    assert_refused(tiny_config()['backbone'], changes, parts)


@pytest.mark.parametrize('changes, parts', [*BACKBONE[1:], *DETECTOR])
def test_detector(changes, parts):
    if (changes, parts) in BACKBONE:
        changes = {f'backbone.{place}': value for place, value in changes.items()}
    said = refusal(tiny_config(), changes)
    assert said is not None and all(part in said for part in parts), said


@pytest.mark.parametrize('changes, parts', [*BACKBONE[1:], *IMAGE_TEXT])
def test_image_text_model(changes, parts):
    if (changes, parts) in BACKBONE:
        changes = {f'backbone.{place}': value for place, value in changes.items()}
    said = refusal(image_text_config(), changes)
    assert said is not None and all(part in said for part in parts), said


def test_several_misfits_are_told_at_once():
    said = refusal(
        tiny_config(),
        {'backbone.text.num_heads': 5, 'neck.out_channels': 64, 'bbox_head.text_dim': 7},
    )
    assert said.startswith('FIBERDetector: 3 options do not fit\n- ')
    for name in ('text.num_heads=5', 'neck.out_channels=64', 'bbox_head.text_dim=7'):
        assert name in said


def test_the_tiny_models_fit():
    assert refusal(tiny_config(), {}) is refusal(image_text_config(), {}) is None
