"""The command that makes a folder to ship."""

import json
import runpy
import sys
from pathlib import Path

import pytest
import torch
from mmdet.registry import MODELS
from mmengine.config import Config
from mmengine.registry import DefaultScope

from fiber_mmdet.apis import ImageTextInferencer
from image_text_pairs import build_model, model_cfg
from official_files import write_image_text
from tiny_checkpoints import assert_same

CHECKOUT = Path(__file__).resolve().parents[2]
CONFIG = 'configs/scenes/fiber_mini_scenes_vqa.py'


@pytest.fixture
def publish(monkeypatch, tmp_path):
    def run(checkpoint, *options, config=CONFIG):
        monkeypatch.chdir(CHECKOUT)
        words = ['publish_checkpoint.py', config, checkpoint, tmp_path / 'ship', *options]
        monkeypatch.setattr(sys, 'argv', list(map(str, words)))
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
    file = tmp_path / 'official.py'  # official files have no table of positions
    file.write_text(
        f"_base_ = '{CHECKOUT / CONFIG}'\nmodel = dict(backbone=dict(image=dict(position_side=0)))"
    )
    config = Config.fromfile(file)
    with DefaultScope.overwrite_default_scope('mmdet'):
        model = MODELS.build(config.model)
    write_image_text(tmp_path / 'official.ckpt', model)
    published = publish(tmp_path / 'official.ckpt', config=file)
    assert_same(published['state_dict'], model.state_dict())
    config.model.heads = dict(nlvr2=dict(type='NLVR2Head'))
    with DefaultScope.overwrite_default_scope('mmdet'):
        write_image_text(tmp_path / 'other.ckpt', MODELS.build(config.model))
    with pytest.raises(
        SystemExit, match='other.ckpt does not fit the config: .*missing .heads.vqa'
    ):
        publish(tmp_path / 'other.ckpt', config=file)


@pytest.fixture
def trained(tmp_path):
    """A config with heads of several tasks, masked words among them, and its checkpoint."""
    config = Config.fromfile(CHECKOUT / CONFIG)
    config.model = model_cfg(
        dict(
            mlm=dict(type='MLMHead'),
            itc=dict(type='ITCHead', queue_size=0),
            vqa=dict(type='VQAHead', num_answers=36),
        )
    )
    config.model.predict_with = ['vqa', 'mlm']
    config.model.tasks = dict(
        caption=('mlm', 'itc'), fact=('mlm',), question=('vqa',), statement=None
    )
    config.model.backbone.pretrained = dict(coarse='work_dirs/stage1/last.pth')
    config.dump(tmp_path / 'trained.py')
    del config.model.backbone.pretrained
    state = build_model(config.model).state_dict()
    torch.save(dict(state_dict=state), tmp_path / 'trained.pth')
    return tmp_path / 'trained.py', tmp_path / 'trained.pth', state


def test_heads_of_training_alone_are_left_out_with_their_weights(
    publish, trained, tmp_path, capsys
):
    config, checkpoint, state = trained
    (tmp_path / 'answers.json').write_text(json.dumps(['yes', 'no']))
    options = ['--heads', 'vqa', 'itc', '--answers', tmp_path / 'answers.json']
    shipped = publish(checkpoint, *options, '--max-mb', 5, config=config)
    gone = {key for key in state if key not in shipped['state_dict']}
    assert gone and all(key.startswith(('heads.mlm.', 'words.')) for key in gone)
    assert {key.split('.')[1] for key in shipped['state_dict'] if key[:6] == 'heads.'} <= {
        'itc',
        'vqa',
    }
    assert shipped['meta']['dataset_meta']['answers'] == ['yes', 'no']
    found = Config.fromfile(tmp_path / 'ship/config.py')
    assert sorted(found.model.heads) == ['itc', 'vqa'] and found.model.predict_with == ['vqa']
    assert found.model.tasks == dict(caption=['itc'], question=['vqa'])
    assert 'pretrained' not in found.model.backbone
    ask = ImageTextInferencer(tmp_path / 'ship/config.py', tmp_path / 'ship/weights.pth', 'cpu')
    assert ask.answers == ['yes', 'no']


@pytest.mark.parametrize(
    'options, said',
    [
        (['--heads', 'vqa', 'captions'], 'captions is not in model.heads .* itc, mlm, vqa'),
        (['--max-mb', 0.1], r'take [0-9.]+ MB, more than --max-mb 0.1'),
        (['--answers', 'trained.py'], 'trained.py'),
    ],
)
def test_nothing_is_shipped_that_was_not_meant(publish, trained, tmp_path, options, said):
    config, checkpoint, _ = trained
    options = [tmp_path / word if word == 'trained.py' else word for word in options]
    with pytest.raises(SystemExit, match=f'(?s)error: .*{said}'):
        publish(checkpoint, *options, config=config)
    assert not list((tmp_path / 'ship').glob('*'))


def test_heads_of_weights_that_are_not_those_of_the_config(publish, trained, tmp_path):
    _, checkpoint, _ = trained
    with pytest.raises(SystemExit, match='trained.pth does not fit the config'):
        publish(checkpoint, '--heads', 'vqa')
