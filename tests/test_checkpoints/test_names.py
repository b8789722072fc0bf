"""The rename table: complete on the official layouts, and its own inverse."""

import json
import re
from pathlib import Path

import numpy as np
import pytest
import torch
from mmengine.config import Config

import fiber_mmdet
from fiber_mmdet.checkpoints import (
    ConversionError,
    detect_layout,
    from_official,
    to_official,
)
from fiber_mmdet.checkpoints.names import EXTRAS, RULES
from fiber_mmdet.convert import export_weights, import_weights, skeleton
from tiny_checkpoints import (
    assert_same,
    image_text_model,
    manifest,
    official,
    signature,
    tiny_config,
    tiny_model,
)

STAGE_1 = 'image_text_pretrain/fiber_swin-b_64xb8-100k_coco-vg-sbu-gcc.py'
MANIFESTS = {'fine_grained_v2': False, 'fine_grained_v3': True, 'coarse_grained': True}


def full_model(i2t_norm):
    return skeleton(
        dict(
            tiny_config(),
            backbone=dict(type='FIBERBackbone', i2t_norm=i2t_norm),
            neck=dict(type='FIBERFPN'),
            bbox_head=dict(type='GroundingHead'),
        )
    )


@pytest.mark.parametrize('name', MANIFESTS)
def test_full_size_round_trip(shared_dir, name):
    weights = manifest(shared_dir, name)
    model = full_model(i2t_norm=MANIFESTS[name])
    result, meta = import_weights(weights, model)
    assert meta['layout'] == name.split('_')[0] and meta['i2t_norm'] == MANIFESTS[name]
    fresh = {
        key.split('.')[0] if not key.startswith('backbone') else key.rsplit('.', 2)[0]
        for key in result.fresh
    }
    if meta['layout'] == 'fine':
        assert not fresh
        assert set(result.state) == set(model.state_dict())
    else:
        assert fresh == {'neck', 'bbox_head', 'backbone.image.out_norms'}
    assert set(result.renamed) | set(result.reasons) == set(weights)
    back = export_weights(result.state, model, meta, result.extras)
    assert signature(back.state) == signature(weights)


@pytest.mark.parametrize('name', ['fine_grained_v2', 'fine_grained_v3'])
def test_trained_model_gets_its_buffers(shared_dir, name):
    """Without extras all but the untrained classifier is there again."""
    weights = manifest(shared_dir, name)
    model = full_model(i2t_norm=MANIFESTS[name])
    result, meta = import_weights(weights, model)
    back = export_weights(result.state, model, {})
    kept = {key: value for key, value in weights.items() if 'cls_logits' not in key}
    assert signature(back.state) == signature(kept)
    assert any('cls_logits' in note for note in back.notes)


def test_anchors_are_the_references(shared_dir):
    model = tiny_model()
    fixture = np.load(shared_dir / 'parity' / 'fine_grained_v2.npz')
    back = export_weights(model.state_dict(), model)
    for i, anchor in enumerate(torch.from_numpy(fixture['cell_anchors'])):
        assert torch.equal(back.state[f'rpn.anchor_generator.cell_anchors.{i}'], anchor[None])


@pytest.mark.parametrize('layout', ['fine', 'coarse'])
@pytest.mark.parametrize('i2t_norm', [False, True])
def test_round_trip_keeps_every_value(layout, i2t_norm):
    model = tiny_model(i2t_norm=i2t_norm)
    weights = official(model, layout)
    assert detect_layout(weights) == (layout, i2t_norm)
    result = from_official(weights, layout, model.state_dict())
    assert not result.unknown
    assert all(
        result.state[key].shape == value.shape
        for key, value in model.state_dict().items()
        if key in result.state
    )
    back = to_official(result.state, layout, result.extras)
    assert_same(back.state, weights)


def test_every_rule_is_used_by_some_layout(shared_dir):
    for layout, names in (
        ('fine', ['fine_grained_v2', 'fine_grained_v3']),
        ('coarse', ['coarse_grained', 'coarse_heads']),
    ):
        keys = [key for name in names for key in manifest(shared_dir, name)]
        unused = [
            rule.official
            for rule in RULES[layout]
            if all(rule.match_official(key) is None for key in keys)
            and 'tunable_linear' not in rule.official
        ]
        assert not unused


def test_published_names_are_known_to_two_rooms_only():
    """They appear in `checkpoints` and `convert`; elsewhere things have our names."""

    def words(names):
        parts = ' '.join(re.sub(r'\{\w+\}', ' ', name) for name in names)
        return {word for word in re.findall(r'\w+', parts) if '_' in word}

    rules = [rule for layout in RULES.values() for rule in layout]
    published = words(rule.official for rule in rules)
    published -= words(name for rule in rules for name in rule.ours)
    assert len(published) > 30 and 'norm_i2t_i' in published
    package = Path(fiber_mmdet.__file__).parent
    for file in package.rglob('*.py'):
        if file.relative_to(package).parts[0] not in ('checkpoints', 'convert'):
            found = published.intersection(re.findall(r'\w+', file.read_text(encoding='utf-8')))
            assert not found, file


def test_rules_do_not_overlap():
    """Each of our keys has one official name and the other way round."""
    for model, layout in ((tiny_model(i2t_norm=True), 'fine'), (image_text_model(), 'coarse')):
        weights = official(model, layout)
        assert all(
            sum(rule.match_official(key) is not None for rule in RULES[layout]) <= 1
            for key in weights
        )
        assert all(
            sum(
                rule.match_ours(key, i) is not None
                for rule in RULES[layout]
                for i in range(len(rule.ours))
            )
            <= 1
            for key in model.state_dict()
        )
        assert EXTRAS[layout]


def test_gradients_of_split_weights():
    """The joint key/value weight of the reference has the gradients of our two, stacked."""
    model = tiny_model()
    attention = model.backbone.image.stages[3].blocks[0].text_attention
    joint = torch.cat([attention.key.weight, attention.value.weight]).detach().requires_grad_()
    text, scale = torch.rand(2, 5, 32), torch.rand(2, 5, 128)
    key, value = (text @ joint.T).chunk(2, -1)
    (key * scale + value * value).sum().backward()
    key, value = text @ attention.key.weight.T, text @ attention.value.weight.T
    (key * scale + value * value).sum().backward()
    grads = {name: p.grad for name, p in model.named_parameters() if p.grad is not None}
    result = to_official(grads)
    ((name, grad),) = result.state.items()
    assert name.endswith('layers.3.blocks.0.attn.qkv_text_i2t.weight')
    torch.testing.assert_close(grad, joint.grad)


def test_half_of_a_joint_weight_is_refused():
    state = {
        key: value
        for key, value in tiny_model().state_dict().items()
        if 'text_attention.value' not in key
    }
    with pytest.raises(ConversionError, match='qkv_text_i2t.* needs 2 of our tensors, 1 found'):
        to_official(state)


def test_prompt_rows():
    model = tiny_model(text=dict(tiny_config()['backbone']['text'], prompt_rows=6))
    weights = official(model, 'fine')
    key = 'fusion_backbone.tunable_linear.weight'
    assert weights[key].shape == (6, 32)
    result, _ = import_weights(weights, model)
    assert torch.equal(result.state['backbone.text.prompt_rows'], weights.pop(key))
    assert list(import_weights(weights, model)[0].fresh) == ['backbone.text.prompt_rows']


def test_layouts_that_are_refused():
    with pytest.raises(ConversionError, match='first, ungated layout'):
        detect_layout(['fusion_backbone.cross_modal_image_transform2.weight'])
    with pytest.raises(ConversionError, match="first key: 'conv.weight'"):
        detect_layout(['conv.weight'])


def test_shipped_configs_fit_the_manifests(shared_dir):
    configs = Path(__file__).parents[2] / 'configs' / '_base_' / 'models'
    for name, config in (
        ('fine_grained_v2', 'fiber_swin-b.py'),
        ('fine_grained_v3', 'fiber_swin-b_i2t-norm.py'),
    ):
        model = skeleton(Config.fromfile(configs / config).model)
        assert not import_weights(manifest(shared_dir, name), model)[0].fresh


@pytest.mark.parametrize('layout, mapped, aside', [('fine', 774, 32), ('coarse', 656, 52)])
def test_names_that_another_project_found_in_such_files(shared_dir, layout, mapped, aside):
    """VoLTA's lists: none is unknown, and they fill a model, but for a temperature."""
    keys = json.loads((shared_dir / 'parity' / f'public_keys_{layout}.json').read_text())
    name, config, fresh = dict(
        fine=('fine_grained_v2', '_base_/models/fiber_swin-b.py', []),
        coarse=('coarse_grained', STAGE_1, ['heads.itc.temp']),
    )[layout]
    known = manifest(shared_dir, name)
    weights = {key: known.get(key, torch.empty(2, device='meta')) for key in keys}
    model = skeleton(Config.fromfile(Path(__file__).parents[2] / 'configs' / config).model)
    found, _ = import_weights(weights, model)
    assert len(found.renamed) == mapped and len(found.reasons) == aside
    assert list(found.fresh) == fresh and {*found.state, *fresh} == set(model.state_dict())


def test_a_contrast_with_another_temperature():
    """EqSim's module has `logit_scale` where FIBER's has `temp`."""
    model = image_text_model()
    weights = official(model, 'coarse')
    weights['logit_scale'] = weights.pop('temp')
    found, _ = import_weights(weights, model)
    assert list(found.fresh) == ['heads.itc.temp'] and 'logit_scale' in found.extras
