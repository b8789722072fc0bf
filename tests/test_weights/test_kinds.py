"""A file given for known weights has to be of their system."""

import re

import pytest
import torch

from fiber_mmdet.checkpoints import ConversionError
from fiber_mmdet.checkpoints.other_systems import OTHER_SYSTEMS
from fiber_mmdet.weights import get_weights, known_weights, stored_weights
from fiber_mmdet.weights.kinds import _VARIANT, kind_of

KEYS = {
    'GLIP': 'rpn.head.dyhead_tower.0.b_attn.gamma_v',
    'METER': 'cross_modal_text_layers.0.crossattention.self.query.weight',
    'Grounding DINO': 'text_feat_map.weight',
    'VoLTA': 'g_img.0.weight',
    'Swin': 'layers.0.blocks.0.attn.qkv.weight',
    'RoBERTa': 'roberta.embeddings.word_embeddings.weight',
    'FIBER, a detector': 'fusion_backbone.backbone.body.patch_embed.proj.weight',
    'FIBER, an image-text model': 'vit_model.patch_embed.proj.weight',
}


def write(path, *keys):
    torch.save(dict(model={key: torch.zeros(2) for key in keys}), path)
    return path


@pytest.mark.parametrize('kind', KEYS)
def test_kinds_are_told_by_their_keys(kind):
    assert kind_of([KEYS[kind], 'other']) == kind


def test_every_other_system_has_its_kind():
    assert kind_of(['bbox_head.head.dyhead_tower.0.dyconvs.0.conv.weight']) == 'GLIP'
    assert kind_of(['backbone.0.patch_embed.proj.weight']) == 'Grounding DINO'
    assert kind_of(['vit_model.visual.x']) == 'METER with the image tower of CLIP'
    assert kind_of(['other']) is None
    known = {one.system for one in known_weights().values()} - {None}
    assert known <= set(KEYS) and {'GLIP', 'METER', 'Swin'} <= known
    told = {_VARIANT.sub('', system.name) for system in OTHER_SYSTEMS}
    assert {'GLIP', 'Grounding DINO', 'METER', 'X-VLM', 'BridgeTower'} <= told
    assert not any(re.search('mmdet|early fusion', kind) for kind in known | told)


def test_only_models_have_no_kind():
    assert all((one.system is None) == (one.config is not None) for one in known_weights().values())


@pytest.mark.parametrize('unverified', [False, True])
def test_a_file_of_another_system_is_refused_and_not_kept(bare_hub, tmp_path, unverified):
    right = write(tmp_path / 'glip.pth', KEYS['GLIP'])
    wrong = write(tmp_path / 'meter.pth', KEYS['METER'])
    with pytest.raises(ConversionError, match=r'meter\.pth is a file of METER, but glip-t .*GLIP'):
        get_weights('glip-t', file=wrong, unverified=unverified)
    assert stored_weights('glip-t') is None
    assert get_weights('glip-t', file=right) == right
    with pytest.raises(ConversionError, match='is of no system that is known .*nothing'):
        get_weights('glip-t', file=write(tmp_path / 'other.pth', 'nothing'))
    assert stored_weights('glip-t') == right
    (tmp_path / 'page.html').write_text('<html>')
    with pytest.raises(ConversionError, match='page.html'):
        get_weights('roberta-base', file=tmp_path / 'page.html', unverified=unverified)
