"""Parameter groups of the image-text stage against the reference's rules on official names."""

import re
from collections import defaultdict
from pathlib import Path

import pytest
import torch
from mmdet.registry import MODELS
from mmengine.config import Config
from mmengine.optim import build_optim_wrapper
from mmengine.registry import DefaultScope
from torch import nn

import fiber_mmdet  # noqa: F401
from fiber_mmdet.checkpoints import to_official
from fiber_mmdet.engine.parameter_groups import WRAPPERS

CONFIGS = Path(__file__).resolve().parents[2] / 'configs'
LR, HEAD, CROSS, DECAY = 1e-5, 50.0, 5.0, 0.01
# objectives of the tasks; together they have every parameter the reference can have
HEADS = dict(
    pretraining=dict(mlm=dict(type='MLMHead'), itc=dict(type='ITCHead'), itm=dict(type='ITMHead')),
    vqa=dict(vqa=dict(type='VQAHead')),
    nlvr2=dict(nlvr2=dict(type='NLVR2Head')),
    captioning=dict(caption=dict(type='CaptionHead')),
)


@pytest.fixture(autouse=True)
def scope():
    with DefaultScope.overwrite_default_scope('mmdet'):
        yield


def build(heads):
    """FIBER-B on the meta device."""
    cfg = Config.fromfile(CONFIGS / '_base_/models/fiber_vl_swin-b.py').model
    with torch.device('meta'):
        return MODELS.build(dict(cfg, heads=heads))


def settings(model, lr=LR, decay=DECAY, **paramwise):
    """Name -> (lr, weight decay) of trained parameters, each of which is in one group."""
    optimizer = build_optim_wrapper(
        model,
        dict(
            type='OptimWrapper',
            optimizer=dict(type='AdamW', lr=lr, weight_decay=decay),
            constructor='ImageTextOptimWrapperConstructor',
            paramwise_cfg=paramwise,
        ),
    ).optimizer
    of = {}
    for group in optimizer.param_groups:
        for parameter in group['params']:
            assert id(parameter) not in of
            of[id(parameter)] = group['lr'], group['weight_decay']
    return {name: of[id(p)] for name, p in model.named_parameters() if id(p) in of}


NO_DECAY = (
    'bias',
    'LayerNorm.bias',
    'LayerNorm.weight',
    'norm.bias',
    'norm.weight',
    'norm1.bias',
    'norm1.weight',
    'norm2.bias',
    'norm2.weight',
)
HEAD_NAMES = ('vqa_classifier', 'nlvr2_classifier', 'mlm_score', 'itm_score', 'snli_classifier')
CROSS_NAMES = ('cross_modal', 'i2t', 't2i')


def reference(key):
    """Group and decay of the reference, by substrings of an official key."""
    group = (
        'head'
        if any(part in key for part in HEAD_NAMES)
        else 'cross'
        if any(part in key for part in CROSS_NAMES)
        else 'plain'
    )
    return group, not any(part in key for part in NO_DECAY)


def official_keys(model):
    """Our name -> official key; keys and values of the image's queries share one."""
    keys = {}
    for name, parameter in model.named_parameters():
        pair = {name: parameter}
        for ours, other in (('.key.', '.value.'), ('.value.', '.key.')):
            if 'text_attention' in name and ours in name:
                twin = name.replace(ours, other)
                pair = dict(sorted({name: parameter, twin: parameter}.items()))
        (keys[name],) = to_official(pair, 'coarse').state
    return keys


@pytest.mark.parametrize('task', HEADS)
def test_each_parameter_trains_as_in_the_reference(task):
    model = build(HEADS[task])
    keys = official_keys(model)
    found = settings(model, lr_mult_head=HEAD, lr_mult_cross_modal=CROSS, legacy_decay=True)
    assert set(found) == set(keys) and len(keys) > 600
    factors, sizes = dict(plain=1, head=HEAD, cross=CROSS), defaultdict(set)
    for name, key in keys.items():
        group, decays = reference(key)
        assert found[name] == pytest.approx((LR * factors[group], DECAY * decays)), (name, key)
        sizes[group, decays].add(key)
    if task == 'pretraining':
        # the reference's counts without its unused parameters: ranking head, RoBERTa's pooler,
        # gates of layers 0 to 5, a norm in each cross-attention of the text
        assert {of: len(members) for of, members in sizes.items()} == {
            ('plain', True): 178 - 2,
            ('plain', False): 351 - 2,
            ('head', True): 3,
            ('head', False): 5,
            ('cross', True): 74 - 6,
            ('cross', False): 68 - 12,
        }


LEGACY = (
    r'.*\.gate|.*\.query_norm\.weight|heads\.itc\.temp|heads\.(vqa|nlvr2)\.classifier\.1\.weight'
)


@pytest.mark.parametrize('task', HEADS)
def test_by_default_gates_norms_and_the_temperature_do_not_decay(task):
    model = build(HEADS[task])
    legacy, ours = settings(model, legacy_decay=True), settings(model)
    other = {name for name in ours if ours[name] != legacy[name]}
    assert other == {name for name in ours if re.fullmatch(LEGACY, name)}
    assert len(other) == dict(pretraining=12 + 6 + 1, vqa=19, nlvr2=19, captioning=18)[task]
    assert all(legacy[name] == (LR, DECAY) and ours[name] == (LR, 0) for name in other)
    norms = {
        f'{name}.weight' for name, part in model.named_modules() if isinstance(part, nn.LayerNorm)
    }
    assert all(ours[name][1] == 0 for name in norms)


# (our name, learning rate as a multiple, decays)
EXPECTED = [
    ('backbone.image.stages.0.blocks.0.attn.relative_position_bias_table', 1, False),
    ('backbone.image.stages.0.blocks.0.attn.qkv.weight', 1, True),
    ('backbone.image.stages.3.blocks.1.text_attention.key.weight', CROSS, True),
    ('backbone.image.stages.3.blocks.1.text_attention.gate', CROSS, False),
    ('backbone.text.layers.11.image_attention.proj.bias', CROSS, False),
    ('backbone.text.layers.11.attention.proj.weight', 1, True),
    ('backbone.text.embeddings.word.weight', 1, True),
    ('image_norm.weight', 1, False),
    ('fused.image_pooler.dense.weight', CROSS, True),
    ('contrast.text_proj.bias', CROSS, False),
    ('words.decoder.weight', HEAD, True),
    ('words.norm.weight', HEAD, False),
    ('words.bias', HEAD, False),
    ('heads.itc.temp', 1, False),
    ('heads.itm.fc.weight', HEAD, True),
]


def test_some_parameters():
    found = settings(build(HEADS['pretraining']), lr_mult_head=HEAD, lr_mult_cross_modal=CROSS)
    for name, factor, decays in EXPECTED:
        assert found[name] == pytest.approx((LR * factor, DECAY * decays)), name


class Toy(nn.Module):
    """A custom objective, whose norm has a custom name."""

    def __init__(self):
        super().__init__()
        self.fused = nn.ModuleDict(dict(text_proj=nn.Linear(2, 2)))
        self.heads = nn.ModuleDict(dict(own=nn.Sequential(nn.Linear(2, 2), nn.LayerNorm(2))))


def test_a_custom_objective_is_a_head():
    found = settings(Toy(), lr_mult_head=HEAD)
    assert found['heads.own.0.weight'] == (LR * HEAD, DECAY)
    assert found['heads.own.1.weight'] == (LR * HEAD, 0)


def test_wrapped_blocks_change_nothing():
    model = Toy()
    expected = settings(model, lr_mult_head=HEAD)
    wrapped = nn.Module()
    setattr(wrapped, WRAPPERS[0][:-1], model.heads['own'][1])
    model.heads['own'][1] = wrapped
    found = settings(model, lr_mult_head=HEAD)
    assert {name.replace(WRAPPERS[0], ''): value for name, value in found.items()} == expected


def test_custom_keys_come_on_top():
    found = settings(
        Toy(),
        lr_mult_head=HEAD,
        custom_keys={'own': dict(lr_mult=2, decay_mult=0.5), 'fused': dict(lr_mult=0)},
    )
    assert found['heads.own.0.weight'] == pytest.approx((LR * HEAD * 2, DECAY / 2))
    assert found['fused.text_proj.weight'] == (0, DECAY)


@pytest.mark.parametrize(
    'paramwise, message',
    [
        (dict(lr_mult_heads=5), "no argument 'lr_mult_heads'. Did you mean 'lr_mult_head'"),
        (dict(text_lr=1e-5), "no argument 'text_lr'"),
        (dict(custom_keys=dict(nekc=dict(lr_mult=2))), "no parameter has 'nekc' in its name"),
    ],
)
def test_misspelt_rules(paramwise, message):
    with pytest.raises((TypeError, ValueError), match=message):
        settings(Toy(), **paramwise)


def test_a_model_of_another_kind():
    with pytest.raises(
        ValueError, match=r'no parameters fused\.\* or contrast\.\*: it is for FIBERForVL'
    ):
        settings(nn.Linear(2, 2))
