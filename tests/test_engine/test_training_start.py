"""Where a training starts: never from nothing if there is something, and never without a word."""

import argparse
import os
import shutil
import sys

import pytest
import torch
from mmengine.registry import DefaultScope
from torch import nn

import disguises
from fiber_mmdet.engine import launch
from fiber_mmdet.engine.start import NotResumable, ResumableFlexibleRunner, choose_start
from toy_runs import COUNT, Noisy, Toy, run


def checkpoint(path, step=1, age=0, **more):
    """A small checkpoint of a training, written `age` seconds ago."""
    torch.save(disguises.training(meta=dict(epoch=step, iter=step), **more), path)
    touch(path, age)
    return path


def touch(path, age):
    time = 1_700_000_000 - age
    os.utime(path, (time, time))


def damage(path, how):
    content = path.read_bytes()
    age = path.stat().st_mtime
    path.write_bytes(dict(empty=b'', half=content[: len(content) // 2]).get(how, content))
    if how == 'gone':
        path.unlink()
        return
    if how == 'hole':
        path.write_bytes(content[:-400] + bytes(100) + content[-300:])
    if how == 'nan':
        torch.save(disguises.training({'a': torch.tensor(float('nan'))}), path)
    os.utime(path, (age, age))


@pytest.fixture
def work(tmp_path):
    """A work directory with two checkpoints, and one of the best weights."""
    folder = tmp_path / 'work'
    folder.mkdir()
    checkpoint(folder / 'epoch_1.pth', 1, age=30)
    checkpoint(folder / 'epoch_2.pth', 2, age=20)
    torch.save(dict(state_dict={}), folder / 'best_x_epoch_2.pth')
    (folder / 'last_checkpoint').write_text(str(folder / 'epoch_2.pth'))
    touch(folder / 'last_checkpoint', 19)
    return folder


@pytest.fixture
def weights(tmp_path):
    path = tmp_path / 'weights.pth'
    torch.save(dict(state_dict=dict(a=torch.ones(1))), path)
    return str(path)


@pytest.mark.parametrize('resume', [True, 'auto'])
def test_nothing_to_resume(tmp_path, weights, resume):
    start = choose_start(resume, weights, tmp_path / 'new')
    assert (start.resume, start.load_from) == (False, weights)
    assert 'no checkpoint in' in start.remarks[-1] and weights in start.remarks[-1]
    start = choose_start(resume, None, tmp_path / 'new')
    assert (start.resume, start.load_from) == (False, None)
    assert 'from new weights' in start.remarks[-1]


@pytest.mark.parametrize('resume', [True, 'auto'])
@pytest.mark.parametrize('load_from', [True, False])
def test_the_last_checkpoint_is_resumed(work, weights, resume, load_from):
    start = choose_start(resume, weights if load_from else None, work)
    assert (start.resume, start.load_from) == (True, str(work / 'epoch_2.pth'))


def test_a_checkpoint_of_a_training_is_resumed_from_if_it_is_named(work, tmp_path):
    other = str(checkpoint(tmp_path / 'other.pth'))
    assert choose_start(True, other, work).load_from == other
    assert choose_start('auto', other, work).load_from == str(work / 'epoch_2.pth')
    start = choose_start('auto', other, tmp_path / 'new')
    assert (start.resume, start.load_from) == (False, other)


def test_without_resume_nothing_is_looked_at(work, weights):
    assert choose_start(False, weights, work).load_from == weights


@pytest.mark.parametrize('how', ['empty', 'half', 'hole', 'gone', 'nan'])
def test_a_damaged_checkpoint_falls_back_to_the_one_before(work, how):
    damage(work / 'epoch_2.pth', how)
    start = choose_start('auto', None, work)
    assert (start.resume, start.load_from) == (True, str(work / 'epoch_1.pth'))
    (remark,) = start.remarks
    assert 'epoch_2.pth' in remark and 'epoch_1.pth' in remark


@pytest.mark.parametrize('content', [b'', b'\0\0\0', b'\xff\xfe', b'/gone/epoch_9.pth', None])
def test_a_damaged_pointer(work, content):
    pointer = work / 'last_checkpoint'
    if content is None:
        pointer.unlink()
    else:
        pointer.write_bytes(content)
    start = choose_start('auto', None, work)
    assert (start.resume, start.load_from) == (True, str(work / 'epoch_2.pth'))
    assert content is None or 'last_checkpoint' in start.remarks[0]
    damage(work / 'epoch_2.pth', 'half')
    assert choose_start('auto', None, work).load_from == str(work / 'epoch_1.pth')


def test_a_moved_work_directory(work, tmp_path):
    shutil.move(work, tmp_path / 'moved')
    assert choose_start('auto', None, tmp_path / 'moved').load_from == str(
        tmp_path / 'moved/epoch_2.pth'
    )


def test_a_checkpoint_whose_pointer_was_not_written(work):
    checkpoint(work / 'epoch_3.pth', 3, age=5)
    assert choose_start('auto', None, work).load_from == str(work / 'epoch_3.pth')
    # but not one that was put there, or to which somebody went back
    checkpoint(work / 'epoch_3.pth', 3, age=25)
    assert choose_start('auto', None, work).load_from == str(work / 'epoch_2.pth')
    (work / 'last_checkpoint').write_text(str(work / 'epoch_1.pth'))
    assert choose_start('auto', None, work).load_from == str(work / 'epoch_1.pth')


def test_another_folder_of_checkpoints(work, tmp_path):
    other = tmp_path / 'out' / 'work'
    other.mkdir(parents=True)
    shutil.move(work / 'epoch_2.pth', other)
    (work / 'last_checkpoint').write_text('')
    (work / 'epoch_1.pth').unlink()
    assert choose_start('auto', None, work, other).load_from == str(other / 'epoch_2.pth')


def test_nothing_whole_starts_from_the_weights(work, weights):
    for name in ('epoch_1.pth', 'epoch_2.pth'):
        damage(work / name, 'half')
    start = choose_start('auto', weights, work)
    assert (start.resume, start.load_from) == (False, weights)
    assert 'epoch_1.pth' in start.remarks[0] and 'epoch_2.pth' in start.remarks[0]


# ------------------------------------------------------------ in runners
HOOKS = dict(default_hooks=dict(start=dict(type='CheckpointCheckHook'), checkpoint=None))


@pytest.mark.parametrize('resume', [True, 'auto'])
def test_a_runner_starts_from_the_weights(tmp_path, resume):
    model = Toy()
    nn.init.constant_(model.last.bias, 7)
    torch.save(dict(state_dict=model.state_dict()), tmp_path / 'weights.pth')
    loop = dict(max_iters=1)
    more = dict(HOOKS, validate=False, lr=0.0, log_level='WARNING')
    plain, _ = run(tmp_path / 'a', [], loop, start=tmp_path / 'weights.pth', **more)
    found, runner = run(
        tmp_path / 'b', [], loop, start=tmp_path / 'weights.pth', resume=resume, **more
    )
    assert runner.model.last.bias.item() == 7 and found.losses == plain.losses
    (log,) = (tmp_path / 'b').rglob('*.log')
    assert 'from the weights of' in log.read_text()


@pytest.mark.parametrize('resume', [True, 'auto'])
def test_a_flexible_runner_does_too(tmp_path, resume):
    model = Toy()
    nn.init.constant_(model.last.bias, 7)
    torch.save(dict(state_dict=model.state_dict()), tmp_path / 'weights.pth')

    def train(**more):
        with DefaultScope.overwrite_default_scope('mmdet'):
            runner = ResumableFlexibleRunner(
                model=Toy(),
                work_dir=str(tmp_path / 'work'),
                experiment_name=f'flexible-{next(COUNT)}',
                default_scope='mmdet',
                log_level='ERROR',
                train_dataloader=dict(
                    batch_size=2,
                    num_workers=0,
                    dataset=Noisy(4),
                    collate_fn=dict(type='default_collate'),
                    sampler=dict(type='DefaultSampler', shuffle=True),
                ),
                train_cfg=dict(by_epoch=True, max_epochs=1),
                optim_wrapper=dict(optimizer=dict(type='SGD', lr=0.0)),
                param_scheduler=[],
                default_hooks=dict(
                    checkpoint=dict(type='WholeCheckpointHook', interval=1, max_keep_ckpts=1)
                ),
                **more,
            )
            runner.train()
        return runner

    weights = str(tmp_path / 'weights.pth')
    first = train(resume=resume, load_from=weights)
    assert first.model.last.bias.item() == 7 and not first._resume
    assert sorted(x.name for x in (tmp_path / 'work').glob('*.pth')) == ['epoch_1.pth']
    again = train(resume=resume, load_from=weights)
    assert again._resume and again._load_from.endswith('epoch_1.pth') and again.iter == 2


# ------------------------------------------------------------ tools/train.py
@pytest.fixture
def config(tmp_path, weights):
    file = tmp_path / 'config.py'
    file.write_text(f'load_from = {weights!r}\nwork_dir = {str(tmp_path / "work")!r}\n')
    return file


def settle(config, **arguments):
    defaults = dict(resume=None, work_dir=None, cfg_options=None, launcher='none')
    return launch.settle_arguments(
        argparse.Namespace(config=str(config), **{**defaults, **arguments})
    )


@pytest.mark.parametrize('form', [dict(resume='auto'), dict(cfg_options=dict(resume=True))])
def test_command_line(config, work, tmp_path, form, capsys):
    found = settle(config, **form)
    assert found.resume == str(work / 'epoch_2.pth') and found.cfg_options['resume'] is False
    found = settle(config, work_dir=str(tmp_path / 'new'), **form)
    assert found.resume is None and found.cfg_options['resume'] is False
    assert 'weights.pth' in capsys.readouterr().out


def test_a_file_to_resume_from_is_taken_as_it_is(config, work, weights):
    first = str(work / 'epoch_1.pth')
    assert settle(config, resume=first).resume == first
    with pytest.raises(NotResumable, match='weights.pth holds no state of a training .*load_from'):
        settle(config, resume=weights)
    assert settle(config).resume is None


def test_training_itself_is_mmdets(monkeypatch, config, tmp_path):
    """The tool of mmdet runs with the arguments that were settled."""
    seen = []

    class Runner:
        @classmethod
        def from_cfg(cls, cfg):
            seen.append((cfg.get('resume'), cfg.load_from))
            return cls()

        def train(self):
            pass

    monkeypatch.setattr('fiber_mmdet.engine.launch.BriefRunner', Runner)
    for arguments in (['--resume'], ['--resume', 'auto', '--cfg-options', 'x=1'], []):
        monkeypatch.setattr(
            sys, 'argv', ['train.py', str(config), '--work-dir', str(tmp_path / 'new'), *arguments]
        )
        launch.run_mmdet_tool('train.py')
    assert seen[:2] == [(False, str(tmp_path / 'weights.pth'))] * 2
    assert seen[2] == (None, str(tmp_path / 'weights.pth'))


def test_config_text_of_a_checkpoint_is_not_run(tmp_path):
    """`--resume FILE`, by a Runner whose process has mmengine's own loaders."""
    run(tmp_path, [], dict(max_iters=1), validate=False, **HOOKS_SAVING)
    path, proof = tmp_path / 'iter_1.pth', tmp_path / 'proof'
    content = torch.load(path, weights_only=False)
    content['meta']['config'] = f'import os\nos.mkdir({str(proof)!r})\n'
    torch.save(content, path)
    again, _ = run(tmp_path, [], dict(max_iters=2), validate=False, resume=path, **HOOKS_SAVING)
    assert list(again.iters) == [1] and not proof.exists()


HOOKS_SAVING = dict(
    default_hooks=dict(
        start=dict(type='CheckpointCheckHook'),
        checkpoint=dict(type='WholeCheckpointHook', interval=1, by_epoch=False),
    )
)
