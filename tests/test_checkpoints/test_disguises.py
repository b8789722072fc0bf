"""Whoever reads a checkpoint refuses it in one sentence that names the file, and runs nothing."""

from pickle import UnpicklingError

import pytest
import torch
from mmengine.config import Config
from mmengine.runner import CheckpointLoader
from torch import nn

import disguises
from fiber_mmdet.apis.image_text_loading import _stored_answers
from fiber_mmdet.apis.loading import fill
from fiber_mmdet.checkpoints import our_weights, read_checkpoint
from fiber_mmdet.checkpoints.downloads import cached_at
from fiber_mmdet.checkpoints.fitting import fitting_weights
from fiber_mmdet.convert import convert_file
from fiber_mmdet.engine.checkpoint_loaders import LOADERS, read_checkpoints_safely
from fiber_mmdet.models.backbone.pretrained import load_pretrained
from fiber_mmdet.text.document_frequency import read_document_frequency
from fiber_mmdet.text.vqa_answers import read_answers

NAMES = [*disguises.RUNS_CODE, *disguises.CANNOT_BE_WEIGHTS]


@pytest.fixture(scope='module')
def files(tmp_path_factory):
    """Name of a disguise -> its file; all share one proof of a success."""
    folder = tmp_path_factory.mktemp('disguises')
    return {name: disguises.write(name, folder) for name in NAMES}


@pytest.fixture(autouse=True)
def registered():
    schemes = dict(CheckpointLoader._schemes)
    read_checkpoints_safely()
    yield
    CheckpointLoader._schemes = type(CheckpointLoader._schemes)(schemes)


def backbone():
    module = nn.Module()
    module.image = nn.Linear(1, 1)
    return module


def publish(path, folder, monkeypatch):
    import runpy
    import sys
    from argparse import Namespace
    from pathlib import Path

    tools = Path(__file__).resolve().parents[2] / 'tools'
    monkeypatch.setattr(sys, 'path', [str(tools), *sys.path])
    config = folder / 'config.py'
    config.write_text('model = dict()')
    tool = runpy.run_path(str(tools / 'publish_checkpoint.py'))
    tool['publish'](
        Namespace(
            config=str(config),
            checkpoint=str(path),
            out_dir=folder / 'out',
            half=False,
            heads=None,
            answers=None,
            max_mb=None,
        )
    )


READERS = dict(
    inferencers=lambda path, folder, patch: fill(nn.Linear(1, 1), path),
    answers=lambda path, folder, patch: (
        our_weights(read_checkpoint(path), str(path)) and _stored_answers(path)
    ),
    converter=lambda path, folder, patch: convert_file(path, folder / 'out.pth', nn.Linear(1, 1)),
    back=lambda path, folder, patch: convert_file(
        path, folder / 'out.pth', nn.Linear(1, 1), reverse=True
    ),
    coarse=lambda path, folder, patch: load_pretrained(backbone(), coarse=str(path)),
    towers=lambda path, folder, patch: load_pretrained(backbone(), towers=str(path)),
    image=lambda path, folder, patch: load_pretrained(backbone(), image=str(path)),
    publish=publish,
    training=lambda path, folder, patch: fitting_weights(
        CheckpointLoader.load_checkpoint(str(path)), nn.Linear(1, 1), str(path)
    ),
)


@pytest.mark.parametrize('reader', READERS)
@pytest.mark.parametrize('name', NAMES)
def test_refused(files, name, reader, tmp_path, monkeypatch):
    path, proof = files[name]
    with pytest.raises(Exception) as caught:
        READERS[reader](path, tmp_path, monkeypatch)
    said = str(caught.value)
    assert f'{name}.pth' in said
    assert not isinstance(caught.value, (AttributeError, TypeError, KeyError, IndexError)), said
    assert len(said) < 2000
    assert not proof.exists()


@pytest.mark.parametrize('name', disguises.RUNS_CODE)
@pytest.mark.parametrize('read', [read_document_frequency, read_answers])
def test_files_of_texts_run_nothing(files, name, read):
    path, proof = files[name]
    with pytest.raises(ValueError, match=rf'{name}\.pth'):
        read(str(path))
    assert not proof.exists()


@pytest.mark.parametrize(
    'name, place',
    [
        ('nan', 'other.weight'),
        ('infinite', 'other.weight'),
        ('key_tuple', r"\('a', 'b'\), a tuple"),
        ('sparse', 'other.weight is sparse'),
        ('quantized', 'other.weight is quantized'),
        ('meta', 'other.weight has a shape, but no values'),
        ('complex', 'other.weight is complex'),
        ('expanded', r'other.weight has the shape \(1000000000000,\), but only 4 bytes'),
        ('flipped', r"record 'flipped/data/0' is damaged \(Bad CRC"),
        ('hole', "record 'hole/data/0' is damaged"),
        ('truncated', 'its end is missing'),
        ('zip_bomb', 'is compressed'),
        ('huge_stride', 'damaged one'),
        ('false_length', 'header claims 1000000000000000 bytes'),
        ('false_table', 'damaged one: .*header'),
        ('legacy_pickle', 'mkdir'),
    ],
)
def test_the_place_is_named(files, name, place):
    path, _ = files[name]
    for read in (read_checkpoint, lambda path: CheckpointLoader.load_checkpoint(str(path))):
        with pytest.raises(Exception, match=rf'{name}\.pth.*{place}'):
            read(path)


def test_random_damage_is_an_error_that_names_the_file_or_none(tmp_path):
    path = tmp_path / 'mutated.pth'
    for content in disguises.mutations(200, seed=16):
        path.write_bytes(content)
        for reader in ('inferencers', 'training'):
            try:
                READERS[reader](path, tmp_path, None)
            except (ValueError, UnpicklingError) as error:
                assert 'mutated.pth' in str(error)


def test_config_text_is_left_out(tmp_path):
    path, proof = tmp_path / 'a.pth', tmp_path / 'proof'
    disguises.config_text(path, proof)
    checkpoint = CheckpointLoader.load_checkpoint(str(path))
    assert 'config' not in checkpoint['meta'] and checkpoint['meta']['iter'] == 1
    assert not proof.exists()
    with pytest.raises(KeyError):
        Config.fromstring(checkpoint['meta']['config'], '.py')


def test_what_follows_a_pickle_is_not_run(tmp_path):
    path, proof = tmp_path / 'a.pth', tmp_path / 'proof'
    disguises.second_pickle(path, proof)
    assert disguises.KEY in our_weights(read_checkpoint(path))
    CheckpointLoader.load_checkpoint(str(path))
    assert not proof.exists()


def test_all_addresses_of_mmengine_are_covered():
    mmengine_s = {prefix for prefix in CheckpointLoader._schemes}
    assert mmengine_s == set(LOADERS)
    for prefix, loader in LOADERS.items():
        assert CheckpointLoader._schemes[prefix] is loader


def test_files_from_the_web_are_read_like_local_ones(files, tmp_path, monkeypatch):
    """What is behind an address is in torch's cache, so that nothing is fetched."""
    monkeypatch.setattr(torch.hub, 'get_dir', lambda: str(tmp_path))
    (tmp_path / 'checkpoints').mkdir()
    for name in ('in_meta', 'legacy_tar', 'flipped', 'nan'):
        path, proof = files[name]
        address = f'https://example.org/{path.name}'
        cached_at(address).write_bytes(path.read_bytes())
        with pytest.raises(Exception, match=rf'{name}\.pth'):
            CheckpointLoader.load_checkpoint(address)
        assert not proof.exists()
    with pytest.raises(ValueError, match='pavi:// is not read'):
        CheckpointLoader.load_checkpoint('pavi://model/a.pth')
    with pytest.raises(ValueError, match='knows no weights of that name'):
        CheckpointLoader.load_checkpoint('open-mmlab://no-such-model')


def test_object_stores_are_read_like_local_ones(files, monkeypatch):
    from types import SimpleNamespace

    path, proof = files['in_hub']
    monkeypatch.setattr(
        'fiber_mmdet.engine.checkpoint_loaders.get_file_backend',
        lambda *_, **__: SimpleNamespace(get=lambda name: path.read_bytes()),
    )
    with pytest.raises(Exception, match='in_hub.pth is refused'):
        CheckpointLoader.load_checkpoint('s3://bucket/in_hub.pth')
    assert not proof.exists()


@pytest.mark.parametrize('crc', [True, False])
def test_sound_files_are_read(tmp_path, crc):
    """Zero-dimensional and half-precision weights, views, infinite masks; with and without CRC."""
    state = dict(
        scale=torch.tensor(0.5),
        half=torch.ones(3, dtype=torch.bfloat16),
        eight=torch.ones(3).to(torch.float8_e4m3fn),
        view=torch.arange(12.0).reshape(3, 4).T,
        ids=torch.arange(5).expand(1, -1),
        attn_mask=torch.full((2, 2), -torch.inf),
        empty=torch.zeros(0, 3),
    )
    torch.serialization.set_crc32_options(crc)
    try:
        torch.save(disguises.training(state), tmp_path / 'a.pth')
    finally:
        torch.serialization.set_crc32_options(True)
    for checkpoint in (
        read_checkpoint(tmp_path / 'a.pth'),
        CheckpointLoader.load_checkpoint(str(tmp_path / 'a.pth')),
    ):
        found = our_weights(checkpoint)
        assert {k: v.shape for k, v in found.items()} == {k: v.shape for k, v in state.items()}


def test_a_training_does_not_go_on_from_a_broken_optimizer(tmp_path):
    moments = dict(exp_avg=torch.tensor([float('nan')]))
    torch.save(
        disguises.training(optimizer=dict(state={3: moments}, param_groups=[])), tmp_path / 'a.pth'
    )
    with pytest.raises(ValueError, match='a.pth: .* not finite .*optimizer.state.3.exp_avg'):
        CheckpointLoader.load_checkpoint(str(tmp_path / 'a.pth'))
    read_checkpoint(tmp_path / 'a.pth')  # its weights are sound
