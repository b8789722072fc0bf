"""The detector and the image-text model against the recorded outputs of the reference."""

import json

import pytest

from parity_suite import compare_fixture
from parity_suite.architecture import detector_config, image_text_config


@pytest.mark.parity_full
@pytest.mark.parametrize('stage', ['fine', 'coarse'])
def test_every_array_agrees_with_the_reference(shared_dir, stage):
    fixtures = sorted((shared_dir / 'parity').glob(f'{stage}_grained*.npz'))
    if not fixtures:
        pytest.skip(f'no {stage}-grained fixture in {shared_dir / "parity"}')
    for fixture in fixtures:
        report = compare_fixture(fixture, shared_dir / 'parity')
        failed = [str(row) for row in report.rows if not row.ok]
        assert report.ok, '\n'.join([f'{fixture.name}: {report}', *failed])


@pytest.mark.parametrize('name, norm', [('fine_grained_v2', False), ('fine_grained_v3', True)])
def test_manifests_describe_the_published_architecture(shared_dir, name, norm):
    file = shared_dir / 'parity' / f'{name}.manifest.json'
    if not file.is_file():
        pytest.skip(f'{file} is not there')
    config = detector_config(json.loads(file.read_text()))
    backbone, head = config['backbone'], config['bbox_head']
    assert backbone['image'] == dict(
        embed_dim=128,
        patch=4,
        mlp_ratio=4.0,
        depths=[2, 2, 18, 2],
        num_heads=[4, 8, 16, 32],
        window=12,
    )
    assert backbone['text'] == dict(
        num_layers=12,
        dim=768,
        num_heads=12,
        ffn_dim=3072,
        vocab_size=50265,
        max_positions=514,
        prompt_rows=0,
    )
    assert (backbone['num_fused'], backbone['i2t_norm']) == (6, norm)
    assert (head['channels'], head['num_blocks'], len(head['strides'])) == (256, 6, 5)


@pytest.mark.parametrize('name, window', [('coarse_grained', 12), ('coarse_grained_192', 6)])
def test_image_text_manifests_describe_the_published_architecture(shared_dir, name, window):
    manifest = {}
    for part in (name, 'coarse_heads'):
        file = shared_dir / 'parity' / f'{part}.manifest.json'
        if not file.is_file():
            pytest.skip(f'{file} is not there')
        manifest.update(json.loads(file.read_text())['keys'])
    config = image_text_config(dict(keys=manifest), max_tokens=16, queue_size=8)
    backbone, heads = config['backbone'], config['heads']
    assert backbone['image']['window'] == window
    assert (backbone['image']['depths'], backbone['text']['num_layers']) == ([2, 2, 18, 2], 12)
    assert (backbone['num_fused'], backbone['i2t_norm'], config['dim']) == (6, True, 768)
    assert not backbone['image']['always_shift'] and not backbone['last_text_norm']
    assert set(heads) == {'itc', 'itm', 'mlm', 'vqa', 'nlvr2', 'caption'}
    assert heads['vqa']['num_answers'] == 3129
