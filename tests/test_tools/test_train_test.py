"""tools/train.py and tools/test.py on generated scenes.

The first training is a command in a process of its own, as users start it; what follows runs here.
"""

import itertools
import json
import os
import runpy
import shutil
import subprocess
import sys
from pathlib import Path
from pickle import UnpicklingError

import pytest
import torch
from mmengine.runner import CheckpointLoader

from official_files import write_detector

CHECKOUT = Path(__file__).resolve().parents[2]
COUNT = itertools.count()
NO_WORKERS = {
    'train.py': ['train_dataloader.num_workers=0', 'train_dataloader.persistent_workers=False'],
    'test.py': [],
}

CONFIG = """
_base_ = ['{base}']
data_root = '{root}/'
model = {model}


def moved(dataset):
    return dict(dataset, data_root=data_root)


train_dataloader = dict(batch_size=2, dataset=dict(
    datasets=[moved(d) for d in _base_.train_dataloader.dataset.datasets]))
val_dataloader = test_dataloader = dict(
    batch_size=2, num_workers=0, persistent_workers=False, dataset=dict(data_root=data_root))
"""
TRAINING = """
val_evaluator = dict(ann_file=data_root + 'annotations/coco_val.json')
test_evaluator = dict(ann_file=data_root + 'annotations/coco_test.json')
train_cfg = dict(max_iters=4, val_interval=4)
default_hooks = dict(logger=dict(interval=1), checkpoint=dict(interval=2))
log_processor = dict(window_size=1)
"""


@pytest.fixture
def run(monkeypatch):
    """``run(tool, *arguments)`` in this process."""
    monkeypatch.setattr(CheckpointLoader, '_schemes', dict(CheckpointLoader._schemes))

    def run(tool, *arguments):
        # loggers and visualizers live as long as the process, by name
        name = f'run-{next(COUNT)}'
        options = [f'experiment_name={name}', f'visualizer.name={name}']
        argv = [tool, *map(str, arguments), '--cfg-options', *options, *NO_WORKERS[tool]]
        monkeypatch.setattr(sys, 'argv', argv)
        run_to_its_end(tool)

    return run


def run_to_its_end(tool):
    """Run a tool as a program; only exit codes that tell of a failure are raised."""
    try:
        runpy.run_path(str(CHECKOUT / 'tools' / tool), run_name='__main__')
    except SystemExit as end:
        if end.code:
            raise


def records(folder):
    """What training logged, one record an iteration and one for the validation."""
    (file,) = folder.glob('*/vis_data/scalars.json')
    return [json.loads(line) for line in file.read_text().splitlines()]


def losses(folder):
    return {
        r['step']: {k: v for k, v in r.items() if 'loss' in k or k in ('lr', 'grad_norm')}
        for r in records(folder)
        if 'loss' in r
    }


def metrics(folder):
    (file,) = folder.glob('*/*.json')
    return json.loads(file.read_text())


@pytest.fixture(scope='module')
def configs(tmp_path_factory, tiny_scenes, tiny_sizes):
    """The configs of training and of phrase grounding, for the tiny model and data."""
    folder = tmp_path_factory.mktemp('configs')
    # mmdet's metric reports nothing at all if there is no detection
    model, files = dict(tiny_sizes, test_cfg=dict(score_thr=0.0)), []
    for name, more in (('fiber_mini_scenes', TRAINING), ('fiber_mini_scenes_grounding', '')):
        base = CHECKOUT / 'configs/scenes' / f'{name}.py'
        files.append(folder / f'{name}.py')
        files[-1].write_text(CONFIG.format(base=base, root=tiny_scenes, model=model) + more)
    return files


@pytest.fixture(scope='module')
def trained(tmp_path_factory, configs):
    """Folder of an uninterrupted training of 4 iterations."""
    folder = tmp_path_factory.mktemp('trained')
    command = [sys.executable, CHECKOUT / 'tools/train.py', configs[0], '--work-dir', folder]
    env = dict(os.environ, PYTHONPATH=str(CHECKOUT), OMP_NUM_THREADS='1')
    done = subprocess.run(
        command, env=env, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )
    assert done.returncode == 0, done.stdout[-5000:]
    return folder


def test_training_writes_checkpoints_and_finite_losses(trained):
    assert {path.name for path in trained.glob('*.pth')} == {'iter_2.pth', 'iter_4.pth'}
    found = losses(trained)
    assert list(found) == [1, 2, 3, 4]
    for values in found.values():
        assert {'loss', 'loss_token', 'loss_bbox', 'loss_centerness', 'grad_norm'} <= set(values)
        assert all(0 < value < 1e4 for value in values.values())
    assert 'coco/bbox_mAP' in records(trained)[-1]


def test_training_changes_all_weights_but_the_frozen_one(trained):
    # under `state_dict` lie the averages, which hardly move in so few iterations
    first, last = (
        {
            key.removeprefix('module.'): value
            for key, value in torch.load(trained / f'iter_{i}.pth', weights_only=False)[
                'ema_state_dict'
            ].items()
            if key != 'steps'
        }
        for i in (2, 4)
    )
    still = [
        name
        for name in first
        if first[name].is_floating_point() and torch.equal(first[name], last[name])
    ]
    assert still == ['bbox_head.token_proj.bias']  # lr_mult=0 in mini_from_scratch.py


def test_resumed_training_is_the_uninterrupted_one(run, trained, configs, tmp_path):
    """A training that stopped after 2 of 4 iterations: its checkpoint, then --resume."""
    shutil.copy(trained / 'iter_2.pth', tmp_path)
    (tmp_path / 'last_checkpoint').write_text(str(tmp_path / 'iter_2.pth'))
    run('train.py', configs[0], '--work-dir', tmp_path, '--resume')
    expected, found = losses(trained), losses(tmp_path)
    assert list(found) == [3, 4]
    for step in (3, 4):
        assert found[step] == pytest.approx(expected[step], rel=1e-4), step


def test_test_reports_coco_metrics(run, trained, configs, tmp_path):
    run('test.py', configs[0], trained / 'iter_4.pth', '--work-dir', tmp_path)
    found = metrics(tmp_path)
    assert 0 <= found['coco/bbox_mAP'] <= 1 and found['coco/bbox_mAP_50'] >= found['coco/bbox_mAP']


def test_test_reports_phrase_recall(run, trained, configs, tmp_path):
    run('test.py', configs[1], trained / 'iter_4.pth', '--work-dir', tmp_path)
    found = metrics(tmp_path)
    assert 0 <= found['grounding/R@1'] <= found['grounding/R@5'] <= found['grounding/R@10'] <= 1
    assert found['grounding/phrases'] > 0


class Harmful:
    def __init__(self, path):
        self.path = str(path)

    def __reduce__(self):
        return os.mkdir, (self.path,)


def test_checkpoint_that_would_run_code_is_refused(run, trained, configs, tmp_path):
    checkpoint = torch.load(trained / 'iter_4.pth', weights_only=False)
    torch.save(dict(checkpoint, extra=Harmful(tmp_path / 'proof')), tmp_path / 'evil.pth')
    with pytest.raises(UnpicklingError, match='weights_only'):
        run('test.py', configs[0], tmp_path / 'evil.pth', '--work-dir', tmp_path / 'work')
    assert not (tmp_path / 'proof').exists()


@pytest.fixture(scope='module')
def official(trained, configs, tmp_path_factory):
    """What the reference's trainer would have saved of the same weights."""
    from mmdet.registry import MODELS
    from mmengine.config import Config
    from mmengine.registry import DefaultScope

    with DefaultScope.overwrite_default_scope('mmdet'):
        model = MODELS.build(Config.fromfile(configs[0]).model)
    model.load_state_dict(torch.load(trained / 'iter_4.pth', weights_only=False)['state_dict'])
    path = tmp_path_factory.mktemp('official') / 'official.pth'
    write_detector(path, model)
    return path


def test_official_file_is_tested_as_what_it_was_made_of(
    run, trained, configs, official, tmp_path, monkeypatch
):
    for checkpoint, folder in ((trained / 'iter_4.pth', 'ours'), (official, 'official')):
        run('test.py', configs[0], checkpoint, '--work-dir', tmp_path / folder)
    ours, theirs = metrics(tmp_path / 'ours'), metrics(tmp_path / 'official')
    times = {key for key in ours if 'time' in key}
    assert len(ours) > len(times)
    assert all(theirs[key] == ours[key] for key in set(ours) - times)
    # and the converter's file as well
    arguments = ['convert_checkpoint.py', official, tmp_path / 'ours.pth', '--config', configs[0]]
    monkeypatch.setattr(sys, 'argv', list(map(str, arguments)))
    run_to_its_end('convert_checkpoint.py')
    converted = torch.load(tmp_path / 'ours.pth')['state_dict']
    weights = torch.load(trained / 'iter_4.pth', weights_only=False)['state_dict']
    assert all(torch.equal(converted[key], value) for key, value in weights.items())


def test_official_file_starts_a_training(run, configs, official, tmp_path):
    config = tmp_path / 'start.py'
    config.write_text(
        f'_base_ = [{str(configs[0])!r}]\nload_from = {str(official)!r}\n'
        'train_cfg = dict(max_iters=1, val_interval=4)\n'
        'default_hooks = dict(checkpoint=dict(interval=1))\n'
        'optim_wrapper = dict(optimizer=dict(lr=1e-12))\n'
    )
    run('train.py', config, '--work-dir', tmp_path / 'work')
    found = torch.load(tmp_path / 'work/iter_1.pth', weights_only=False)['state_dict']
    model = torch.load(official)['model']
    name = 'module.rpn.head.dyhead_tower.0.DyConv.0.conv.weight'
    torch.testing.assert_close(found['bbox_head.tower.0.from_coarser.conv.weight'], model[name])
    (log,) = (tmp_path / 'work').glob('*/*.log')
    told = [line for line in log.read_text().splitlines() if 'an official FIBER' in line]
    assert len(told) == 1 and 'converted in memory' in told[0]


def test_official_file_is_not_resumed(run, configs, official, tmp_path):
    with pytest.raises(ValueError, match=r'official\.pth is an official .*start .* load_from'):
        run('train.py', configs[0], '--work-dir', tmp_path, '--resume', official)


def test_borrowed_file_starts_a_training(run, configs, official, tmp_path, monkeypatch, capsys):
    """A file of GLIP's form is refused as a start, and what was borrowed from it is one."""
    weights = {key.removeprefix('module.'): x for key, x in torch.load(official)['model'].items()}
    glip = {
        key.replace('fusion_backbone.backbone.', 'backbone.'): value
        for key, value in weights.items()
        if key.startswith(('rpn.', 'fusion_backbone.backbone.')) and '_i2t' not in key
    }
    torch.save(dict(model=glip), tmp_path / 'glip.pth')
    config = tmp_path / 'start.py'
    config.write_text(
        f'_base_ = [{str(configs[0])!r}]\n'
        'train_cfg = dict(max_iters=1, val_interval=4)\n'
        'default_hooks = dict(checkpoint=dict(interval=1))\n'
        'optim_wrapper = dict(optimizer=dict(lr=1e-12))\n'
    )

    def train(weights):
        option = f'load_from={tmp_path / weights}'
        run('train.py', config, '--work-dir', tmp_path / 'work', '--cfg-options', option)

    with pytest.raises(ValueError, match='glip.pth is a checkpoint of GLIP .*fiber borrow'):
        train('glip.pth')
    arguments = ['borrow_weights.py', 'glip.pth', 'start.pth', '--config', 'start.py']
    monkeypatch.setattr(sys, 'argv', arguments)
    monkeypatch.chdir(tmp_path)
    assert runpy.run_path(str(CHECKOUT / 'tools/borrow_weights.py'))['main']() == 0
    assert 'borrowed from GLIP without early fusion (glip.pth)' in capsys.readouterr().out
    train('start.pth')
    found = torch.load('work/iter_1.pth', weights_only=False)
    for ours, theirs in (
        (
            'bbox_head.tower.0.from_coarser.conv.weight',
            'rpn.head.dyhead_tower.0.DyConv.0.conv.weight',
        ),
        ('backbone.image.patch_embed.proj.weight', 'backbone.body.patch_embed.proj.weight'),
    ):
        torch.testing.assert_close(found['state_dict'][ours], glip[theirs])
    assert 'borrowed' not in found['meta']
    log = max((tmp_path / 'work').glob('*/*.log')).read_text()
    assert 'image, neck, tower, boxes' in log
    assert 'not in it and as initialised: backbone.image' in log
