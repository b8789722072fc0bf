"""Checkpoints of the image-text stage, heads included, in both directions."""

from pathlib import Path

import pytest
import torch
from mmengine.config import Config

from fiber_mmdet.checkpoints import ConversionError
from fiber_mmdet.convert import convert_file, export_weights, import_weights, skeleton
from tiny_checkpoints import (
    HEADS,
    assert_same,
    image_text_model,
    manifest,
    official,
    signature,
    tiny_model,
)

CONFIG = Path(__file__).parents[2] / 'configs' / '_base_' / 'models' / 'fiber_vl_swin-b.py'
PRETRAINING = {name: dict(type=f'{name.upper()}Head') for name in ('mlm', 'itc', 'itm')}
EVERY_HEAD = dict(
    PRETRAINING,
    vqa=dict(type='VQAHead'),
    nlvr2=dict(type='NLVR2Head'),
    caption=dict(type='CaptionHead'),
)


@pytest.mark.parametrize(
    'names, window, heads',
    [
        (['coarse_grained'], 12, PRETRAINING),
        (['coarse_grained_192'], 6, PRETRAINING),
        (['coarse_grained', 'coarse_heads'], 12, EVERY_HEAD),
    ],
)
def test_full_size_layouts(shared_dir, names, window, heads):
    """Key for key and shape for shape, whether or not the file carries what was kept aside."""
    weights = manifest(shared_dir, *names)
    cfg = Config.fromfile(CONFIG).model
    cfg.heads = heads
    cfg.backbone.image.window = window
    model = skeleton(cfg)
    result, meta = import_weights(weights, model)
    assert not result.fresh and set(result.state) == set(model.state_dict())
    assert signature(export_weights(result.state, model, meta, result.extras).state) == (
        signature(weights)
    )
    trained = export_weights(result.state, model).state
    assert signature(trained) == signature(weights)
    backbone = [key for key in trained if key.startswith(('vit_model.', 'text_transformer.'))]
    assert len(backbone) == 688
    assert sum(key.endswith('attn_mask') for key in backbone) == 11
    assert sum(key.endswith('relative_position_index') for key in backbone) == 24


@pytest.mark.parametrize(
    'config, resized',
    [
        ('image_text_pretrain/fiber_swin-b_64xb8-100k_coco-vg-sbu-gcc.py', False),
        ('vqa/fiber_swin-b_8xb8-10e_vqav2.py', True),
        ('captioning/fiber_swin-b_gold_8xb8-10e_coco.py', True),
    ],
)
def test_shipped_configs_take_the_published_layout(shared_dir, config, resized):
    weights = manifest(shared_dir, 'coarse_grained', 'coarse_heads')
    model = skeleton(Config.fromfile(CONFIG.parents[2] / config).model)
    result, meta = import_weights(weights, model)
    assert not result.fresh and meta['resized'] == resized


@pytest.mark.parametrize('temp', [(), (1,)])
def test_round_trip_keeps_every_value(temp):
    model = image_text_model()
    weights = official(model, 'coarse')
    weights['temp'] = weights['temp'].reshape(temp)
    result, meta = import_weights(weights, model)
    assert not result.fresh
    model.load_state_dict(result.state, strict=True)
    assert torch.equal(model.words.bias, weights['mlm_score.bias'])
    assert torch.equal(model.heads.itm.fc.weight, weights['itm_score.fc.weight'])
    assert torch.equal(
        model.contrast.image_proj.weight, weights['cross_modal_image_transform_itc.weight']
    )
    assert_same(export_weights(result.state, model, meta, result.extras).state, weights)


def test_heads_that_the_model_does_not_have_are_carried_along():
    weights = official(image_text_model(), 'coarse')
    for model in (image_text_model(heads=dict(vqa=HEADS['vqa'])), tiny_model(i2t_norm=True)):
        result, meta = import_weights(weights, model)
        assert {
            'itm_score.fc.bias',
            'temp',
            'nlvr2_classifier.3.weight',
            'mlm_score.bias',
            'rank_output.weight',
            'cross_modal_att_layers.1.bias',
        } <= set(result.extras)
        assert 'does not have' in result.reasons['itm_score.fc.bias']
        assert_same(export_weights(result.state, model, meta, result.extras).state, weights)


def test_heads_that_the_checkpoint_does_not_have_start_fresh():
    model = image_text_model()
    pretraining = ('mlm', 'itc', 'itm')
    weights = official(image_text_model(heads={n: HEADS[n] for n in pretraining}), 'coarse')
    result, _ = import_weights(weights, model)
    assert {key.split('.')[1] for key in result.fresh} == {'vqa', 'nlvr2', 'caption'}
    assert any(
        line.startswith('fresh     heads.vqa.classifier.0.weight (') for line in result.report()
    )
    del weights['cross_modal_text_pooler.dense.bias'], weights['vit_model.norm.bias']
    with pytest.raises(ConversionError) as error:
        import_weights(weights, model)
    assert all(f'missing: {key}' in str(error.value) for key in ('image_norm.bias', 'fused.text_p'))


def test_heads_are_known_by_their_names():
    model = image_text_model(heads=dict(HEADS, matching=HEADS['itm'], itm=None))
    result, _ = import_weights(official(image_text_model(), 'coarse'), model)
    assert 'itm_score.fc.bias' in result.extras
    assert list(result.fresh) == ['heads.matching.fc.weight', 'heads.matching.fc.bias']
    (note,) = (note for note in result.notes if 'heads are' in note)
    assert 'itc, itm, mlm, vqa, nlvr2, caption: matching has no place' in note
    with pytest.raises(ConversionError, match=r'heads.matching.fc.bias .*\nheads are matched by'):
        export_weights(model.state_dict(), model)


def test_a_ranking_head_with_values_of_its_own_is_pointed_out():
    model = image_text_model()
    weights = official(model, 'coarse')
    (note,) = import_weights(weights, model)[0].notes
    assert 'rank_output is not row 1' in note
    for part in ('weight', 'bias'):
        weights[f'rank_output.{part}'] = weights[f'itm_score.fc.{part}'][1:].clone()
    assert not import_weights(weights, model)[0].notes


def test_training_loses_only_what_is_never_used(tmp_path):
    model = image_text_model()
    weights = official(model, 'coarse')
    result, _ = import_weights(weights, model)
    torch.save(dict(state_dict=result.state, meta=dict(epoch=2)), tmp_path / 'epoch_2.pth')
    back = convert_file(
        tmp_path / 'epoch_2.pth', tmp_path / 'back.ckpt', model, reverse=True, log=lambda line: None
    )
    file = torch.load(tmp_path / 'back.ckpt', weights_only=True)
    assert_same(file['state_dict'], back.state)
    assert signature(back.state) == {
        key: value for key, value in signature(weights).items() if 'queue' not in key
    }
    again, _ = import_weights(back.state, model)
    assert_same(again.state, result.state)
    assert torch.equal(back.state['rank_output.weight'], weights['itm_score.fc.weight'][1:])
    assert torch.equal(back.state['rank_output.bias'], weights['itm_score.fc.bias'][1:])
    assert not back.state['text_transformer.encoder.layer.0.alpha_t2i'].any()
    mask = back.state['vit_model.layers.2.blocks.1.attn_mask']  # of the map's four windows
    assert mask[0].unique().tolist() == [0] and mask[1].unique().tolist() == [-100, 0]
    assert any('the queues' in note for note in back.notes)


def test_what_is_as_large_as_a_model_is_dropped():
    model = image_text_model()
    weights = official(model, 'coarse')
    large = {
        'image_input_queue': torch.zeros(8, 3, 4, 4),
        'copy_module.temp': torch.ones(()),
        'copy_module.vit_model.layers.2.blocks.1.attn_mask': torch.zeros(4, 16, 16),
    }
    result, meta = import_weights(dict(weights, **large), model)
    assert_same(export_weights(result.state, model, meta, result.extras).state, weights)
    lines = list(result.report())
    for key in large:
        assert sum(line.startswith(f'dropped    {key} (') for line in lines) == 1


def test_images_of_another_size(tmp_path):
    """The bias tables are resized, and the buffers of the way back are of the new window."""
    model = image_text_model(window=6)
    weights = official(image_text_model(), 'coarse')
    torch.save(dict(state_dict=weights), tmp_path / 'official.ckpt')
    result = convert_file(
        tmp_path / 'official.ckpt', tmp_path / 'ours.pth', model, log=lambda line: None
    )
    model.load_state_dict(torch.load(tmp_path / 'ours.pth')['state_dict'], strict=True)
    back = convert_file(
        tmp_path / 'ours.pth', tmp_path / 'back.ckpt', model, reverse=True, log=lambda line: None
    ).state
    assert set(back) == set(weights)
    assert back['vit_model.layers.2.blocks.1.attn_mask'].shape == (4, 36, 36)
    assert back['vit_model.layers.3.blocks.0.attn.relative_position_index'].shape == (36, 36)
    assert any('bias tables resized' in note for note in result.notes)


def test_a_detectors_checkpoint_is_refused():
    weights = official(tiny_model(i2t_norm=True), 'fine')
    with pytest.raises(ConversionError, match='is of a detector'):
        import_weights(weights, image_text_model())
    model = image_text_model()
    with pytest.raises(ConversionError, match="'fine', which for this model is none of coarse"):
        export_weights(model.state_dict(), model, dict(layout='fine'))
