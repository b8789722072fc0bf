"""Learning rates and weight decays against the reference's rule on official names."""

import json

import pytest
import torch
from mmdet.registry import MODELS, OPTIM_WRAPPER_CONSTRUCTORS
from mmengine.model import BaseModel
from mmengine.optim import build_optim_wrapper
from mmengine.registry import DefaultScope
from torch import nn

import fiber_mmdet  # noqa: F401
from fiber_mmdet.checkpoints import from_official, to_official
from fiber_mmdet.engine.parameter_groups import WRAPPERS, describe, table

LR, TEXT_LR, DECAY = 1e-4, 1e-5, 0.05


@pytest.fixture(autouse=True)
def scope():
    with DefaultScope.overwrite_default_scope('mmdet'):
        yield


def optimizer(model, lr=LR, decay=DECAY, **paramwise):
    return build_optim_wrapper(
        model,
        dict(
            type='OptimWrapper',
            optimizer=dict(type='AdamW', lr=lr, weight_decay=decay),
            constructor='FIBEROptimWrapperConstructor',
            paramwise_cfg=dict(dict(text_lr=TEXT_LR), **paramwise),
        ),
    ).optimizer


def constructor(**paramwise):
    return OPTIM_WRAPPER_CONSTRUCTORS.get('FIBEROptimWrapperConstructor')(
        dict(optimizer=dict(type='AdamW', lr=LR, weight_decay=DECAY)), paramwise
    )


def settings(model, **kwargs):
    """Name -> (lr, weight decay) of trained parameters, each of which is in one group."""
    groups = optimizer(model, **kwargs).param_groups
    of = {}
    for group in groups:
        for parameter in group['params']:
            assert id(parameter) not in of
            of[id(parameter)] = group['lr'], group['weight_decay']
    assert len({(g['lr'], g['weight_decay']) for g in groups}) == len(groups)
    return {name: of[id(p)] for name, p in model.named_parameters() if id(p) in of}


def reference(key, norm_factor=1.0):
    """The reference's rules, by substrings of an official key."""
    lr, decay = LR, DECAY
    if 'language_backbone' in key:
        lr = TEXT_LR
    if 'bias' in key:
        lr, decay = 2 * lr, 0.0
    if 'norm' in key or 'Norm' in key:
        decay *= norm_factor
    return lr, decay


def official_keys(model):
    """Our name -> official key; keys and values of the image's queries share one."""
    keys = {}
    for name, parameter in model.named_parameters():
        pair = {name: parameter}
        for ours, other in (('.key.', '.value.'), ('.value.', '.key.')):
            if 'text_attention' in name and ours in name:
                twin = name.replace(ours, other)
                pair = dict(sorted({name: parameter, twin: parameter}.items()))
        (keys[name],) = to_official(pair).state
    return keys


@pytest.mark.parametrize('i2t_norm', [False, True])
def test_each_parameter_trains_as_in_the_reference(tiny_model_cfg, i2t_norm):
    tiny_model_cfg.backbone.update(i2t_norm=i2t_norm)
    tiny_model_cfg.backbone.text.update(prompt_rows=256)
    model = MODELS.build(tiny_model_cfg)
    keys = official_keys(model)
    found = settings(model)
    assert set(found) == set(keys) and len(keys) > 200
    for name, key in keys.items():
        assert found[name] == pytest.approx(reference(key)), (name, key)


@pytest.mark.parametrize('version', ['v2', 'v3'])
def test_official_layouts(shared_dir, version):
    content = json.loads((shared_dir / f'parity/fine_grained_{version}.manifest.json').read_text())
    weights = {
        key: torch.empty(entry['shape'], device='meta')
        for key, entry in content['keys'].items()
        if entry['dtype'] == 'float32'
    }
    renamed = from_official(weights, 'fine').renamed
    assert len(renamed) > 750
    setting = constructor(text_lr=TEXT_LR).setting
    for key, names in renamed.items():
        for name in names:
            found = setting(name)
            assert (found.lr, found.weight_decay) == pytest.approx(reference(key)), (name, key)


# by hand: (our name, lr in units of 1e-5, weight decay)
BY_HAND = [
    ('backbone.image.patch_embed.proj.weight', 10, DECAY),
    ('backbone.image.patch_embed.norm.weight', 10, DECAY),
    ('backbone.image.patch_embed.norm.bias', 20, 0),
    ('backbone.image.stages.0.blocks.0.attn.relative_position_bias_table', 20, 0),
    ('backbone.image.stages.3.blocks.1.text_attention.gate', 10, DECAY),
    ('backbone.image.stages.3.blocks.1.text_attention.key.bias', 20, 0),
    ('backbone.image.out_norms.2.weight', 10, DECAY),
    ('backbone.text.embeddings.word.weight', 1, DECAY),
    ('backbone.text.embeddings.norm.bias', 2, 0),
    ('backbone.text.layers.0.attention.query.bias', 2, 0),
    ('backbone.text.layers.2.attention_norm.weight', 1, DECAY),
    ('backbone.text.layers.2.image_attention.gate', 1, DECAY),
    ('backbone.text.layers.2.image_attention.value.weight', 1, DECAY),
    ('backbone.text.prompt_rows', 10, DECAY),
    ('neck.lateral_convs.0.conv.weight', 10, DECAY),
    ('bbox_head.tower.0.from_own.norm.weight', 10, DECAY),
    ('bbox_head.tower.0.from_own.norm.bias', 20, 0),
    ('bbox_head.scales.0.scale', 10, DECAY),
    ('bbox_head.log_scale', 10, DECAY),
    ('bbox_head.token_bias', 20, 0),
    ('bbox_head.token_bias0', 20, 0),
    ('bbox_head.box_conv.bias', 20, 0),
]


def test_by_hand(tiny_model_cfg):
    tiny_model_cfg.backbone.text.update(prompt_rows=256)
    found = settings(MODELS.build(tiny_model_cfg))
    for name, lr, decay in BY_HAND:
        assert found[name] == pytest.approx((lr * 1e-5, decay)), name
    assert len(set(found.values())) == 4


class Toy(BaseModel):
    def __init__(self):
        super().__init__()
        self.backbone = nn.Module()
        self.backbone.text = nn.Sequential(nn.Linear(2, 3), nn.LayerNorm(3))
        self.neck = nn.ModuleDict(dict(conv=nn.Linear(3, 3), norm=nn.LayerNorm(3)))
        self.head = nn.Linear(3, 1)

    def forward(self, inputs, mode='loss'):
        return dict(loss=self.head(self.neck['conv'](self.backbone.text(inputs))).sum())


def test_multipliers_are_read():
    found = settings(
        Toy(),
        text_lr=3e-5,
        bias_lr_mult=3.0,
        bias_decay_mult=0.5,
        norm_decay_mult=0.1,
        custom_keys={'neck': dict(lr_mult=10), 'neck.norm': dict(decay_mult=0.5)},
    )
    assert found['backbone.text.0.weight'] == pytest.approx((3e-5, DECAY))
    assert found['backbone.text.0.bias'] == pytest.approx((9e-5, DECAY / 2))
    assert found['neck.conv.weight'] == pytest.approx((10 * LR, DECAY))
    # only the longest key, in addition to the rules
    assert found['neck.norm.weight'] == pytest.approx((LR, DECAY * 0.1 * 0.5))
    assert found['neck.conv.bias'] == pytest.approx((30 * LR, DECAY / 2))
    assert found['head.weight'] == pytest.approx((LR, DECAY))


def test_without_text_lr_the_text_tower_is_no_exception():
    assert settings(Toy(), text_lr=None)['backbone.text.0.weight'] == (LR, DECAY)


def test_frozen_parameters_are_left_out():
    model = Toy()
    model.backbone.requires_grad_(False)
    assert set(settings(model)) == {
        name for name, _ in model.named_parameters() if not name.startswith('backbone')
    }


def test_wrapped_blocks_change_nothing():
    model = Toy()
    expected = settings(model)
    inner = model.backbone.text
    model.backbone.text = nn.Module()
    setattr(model.backbone.text, WRAPPERS[0][:-1], inner)
    wrapped = settings(model)
    assert {k.replace(WRAPPERS[0], ''): v for k, v in wrapped.items()} == expected
    assert any(WRAPPERS[0] in name for name in wrapped)


def test_table():
    setting = constructor().setting
    weight, bias = torch.zeros(1000, 3), torch.zeros(3)
    text = table(
        {
            (describe('neck.a.weight'), setting('neck.a.weight')): [weight, weight],
            (describe('neck.a.bias'), setting('neck.a.bias')): [bias],
            (describe('backbone.image.x.weight'), None): [weight],
        }
    )
    assert text.splitlines() == [
        'part                    tensors  parameters      lr  weight decay',
        'backbone.image weights        1       3,000  frozen',
        'neck biases                   1           3  0.0002             0',
        'neck weights                  2       6,000  0.0001          0.05',
    ]


@pytest.mark.parametrize(
    'paramwise, message',
    [
        (dict(text_rl=1e-5), "no argument 'text_rl'. Did you mean 'text_lr'"),
        (dict(custom_keys=dict(neck=dict(lr_multi=2))), "custom_keys.*'neck'.*'lr_multi'"),
        (dict(custom_keys=dict(nekc=dict(lr_mult=2))), "no parameter has 'nekc' in its name"),
    ],
)
def test_misspelt_rules(paramwise, message):
    with pytest.raises((TypeError, ValueError), match=message):
        optimizer(Toy(), **paramwise)


def test_text_lr_without_a_text_tower():
    model = Toy()
    del model.backbone
    with pytest.raises(ValueError, match=r'text_lr: the model has no parameters backbone.text\.'):
        optimizer(model)


def test_no_number_to_start_from():
    with pytest.raises(ValueError, match='optim_wrapper.optimizer has no weight_decay'):
        optimizer(Toy(), decay=None)
