"""The command that makes a folder to ship."""

import runpy
import sys
from pathlib import Path

import pytest
import torch
from mmdet.registry import MODELS
from mmengine.config import Config
from mmengine.registry import DefaultScope

from official_files import write_image_text
from tiny_checkpoints import assert_same

CHECKOUT = Path(__file__).resolve().parents[2]
CONFIG = 'configs/scenes/fiber_mini_scenes_vqa.py'


@pytest.fixture
def publish(monkeypatch, tmp_path):
    def run(checkpoint, *options):
        monkeypatch.chdir(CHECKOUT)
        monkeypatch.setattr(
            sys,
            'argv',
            ['publish_checkpoint.py', CONFIG, str(checkpoint), str(tmp_path / 'ship'), *options],
        )
        runpy.run_path('tools/publish_checkpoint.py')['main']()
        return torch.load(tmp_path / 'ship/weights.pth', weights_only=True)

    return run


def test_weights_and_answers_are_shipped(publish, tmp_path, capsys):
    weights = {'backbone.text.embeddings.word.weight': torch.rand(3, 2)}
    torch.save(
        dict(
            state_dict=weights,
            optimizer=dict(state={}),
            message_hub={},
            meta=dict(iter=5, dataset_meta=dict(answers=['yes', 'no'], folder='/home')),
        ),
        tmp_path / 'trained.pth',
    )
    shipped = publish(tmp_path / 'trained.pth', '--half')
    assert shipped['meta'] == dict(dataset_meta=dict(answers=['yes', 'no']))
    assert set(shipped) == {'state_dict', 'meta'}
    ((key, value),) = shipped['state_dict'].items()
    assert key in weights and value.dtype == torch.float16
    text = (tmp_path / 'ship/config.py').read_text()
    assert 'VQAHead' in text and 'optim_wrapper' not in text
    assert 'weights.pth' in capsys.readouterr().out


def test_a_missing_checkpoint_is_one_line(publish, tmp_path):
    with pytest.raises(SystemExit, match='gone.pth: no such file'):
        publish(tmp_path / 'gone.pth')


def test_a_full_disk_is_named(publish, tmp_path, monkeypatch):
    torch.save(dict(state_dict={'a': torch.ones(2)}), tmp_path / 'trained.pth')

    def full(*_):
        raise RuntimeError('[enforce fail at inline_container.cc:672] . unexpected pos 128 vs 0')

    monkeypatch.setattr('torch.save', full)
    with pytest.raises(SystemExit, match='error: .*cannot be written.*ship/weights.pth'):
        publish(tmp_path / 'trained.pth')
    assert not list((tmp_path / 'ship').iterdir())


def test_an_official_file_is_shipped_under_our_names(publish, tmp_path):
    config = Config.fromfile(CHECKOUT / CONFIG)
    with DefaultScope.overwrite_default_scope('mmdet'):
        model = MODELS.build(config.model)
    write_image_text(tmp_path / 'official.ckpt', model)
    assert_same(publish(tmp_path / 'official.ckpt')['state_dict'], model.state_dict())
    config.model.heads = dict(nlvr2=dict(type='NLVR2Head'))
    with DefaultScope.overwrite_default_scope('mmdet'):
        write_image_text(tmp_path / 'other.ckpt', MODELS.build(config.model))
    with pytest.raises(
        SystemExit, match='other.ckpt does not fit the config: .*missing .heads.vqa'
    ):
        publish(tmp_path / 'other.ckpt')
