"""A kill or a full disk at any moment of writing leaves a checkpoint to go on from."""

import errno
from pathlib import Path

import pytest
import torch
from mmengine.fileio import LocalBackend

from fiber_mmdet.engine.start import newest_whole
from fiber_mmdet.engine.work_dir_lock import LOCK
from fiber_mmdet.whole_files import part_of, remove_leftovers, replacing
from toy_runs import run


class Killed(BaseException):
    """What ends a process at once: no `except Exception` holds it up."""


def hooks(by_epoch=True, **more):
    checkpoint = dict(type='WholeCheckpointHook', interval=1, by_epoch=by_epoch, max_keep_ckpts=1)
    return dict(
        default_hooks=dict(
            checkpoint=dict(checkpoint, **more), start=dict(type='CheckpointCheckHook')
        )
    )


LOOPS = {'epochs': (dict(max_epochs=3), True), 'iterations': (dict(max_iters=3), False)}
BEST = dict(save_best='toy/score', rule='greater')


def names(folder):
    return sorted(
        path.name
        for path in folder.iterdir()
        if path.is_file() and path.suffix != '.py' and path.name != LOCK
    )


@pytest.mark.parametrize('loop, by_epoch', LOOPS.values(), ids=LOOPS)
def test_one_checkpoint_is_kept(tmp_path, loop, by_epoch):
    run(tmp_path, [], loop, validate=False, **hooks(by_epoch))
    name = 'epoch_3.pth' if by_epoch else 'iter_3.pth'
    assert names(tmp_path) == [name, 'last_checkpoint']
    assert (tmp_path / 'last_checkpoint').read_text() == str(tmp_path / name)
    hub = torch.load(tmp_path / name, weights_only=False)['message_hub']['runtime_info']
    assert hub['keep_ckpt_ids'][-1] == 3


def test_best_and_last_are_kept(tmp_path):
    run(tmp_path, [], dict(max_epochs=3), values=[0.1, 0.3, 0.2], **hooks(**BEST))
    assert names(tmp_path) == ['best_toy_score_epoch_2.pth', 'epoch_3.pth', 'last_checkpoint']


@pytest.mark.parametrize('moment', ['writing', 'replacing', 'pointing', 'removing'])
def test_killed_while_it_saves(tmp_path, monkeypatch, moment):
    """The second of three checkpoints; the best one is saved, too."""
    kills = []

    def killing(function, matches):
        def replacement(*args, **kwargs):
            if any(matches in str(value) for value in args):
                kills.append(matches)
                if moment == 'writing':
                    Path(args[2]).write_bytes(args[1][:1000])
                raise Killed
            return function(*args, **kwargs)

        return replacement

    if moment == 'writing':
        monkeypatch.setattr(LocalBackend, 'put', killing(LocalBackend.put, 'epoch_2.pth'))
    elif moment == 'replacing':
        target = 'fiber_mmdet.engine.checkpoint_saving.put_in_place'
        from fiber_mmdet.whole_files import put_in_place

        monkeypatch.setattr(target, killing(put_in_place, '.epoch_2.pth'))
    elif moment == 'pointing':
        target = 'fiber_mmdet.engine.checkpoint_saving.replacing'
        calls = []

        def second(path):
            calls.append(path)
            if len(calls) == 3:  # with the best of the first epoch, the checkpoint is written twice
                kills.append(path)
                raise Killed
            return replacing(path)

        monkeypatch.setattr(target, second)
    else:
        monkeypatch.setattr(LocalBackend, 'remove', killing(LocalBackend.remove, 'epoch_1.pth'))
    with pytest.raises(Killed):
        run(tmp_path, [], dict(max_epochs=3), values=[0.1, 0.3, 0.2], **hooks(**BEST))
    monkeypatch.undo()
    assert kills
    newest, skipped = newest_whole(tmp_path)
    done = 2 if moment in ('pointing', 'removing') else 1
    assert (newest, skipped) == (tmp_path / f'epoch_{done}.pth', [])
    values = [0.3, 0.2][done - 1 :]
    again, _ = run(tmp_path, [], dict(max_epochs=3), values=values, resume=newest, **hooks(**BEST))
    assert list(again.iters) == list(range(4 * done, 12))
    assert 'epoch_3.pth' in names(tmp_path) and not list(tmp_path.glob('.*.part'))
    assert len(list(tmp_path.glob('epoch_*'))) == 1


@pytest.mark.parametrize('file', ['epoch_2.pth', 'best_toy_score_epoch_2.pth'])
def test_a_full_disk_ends_the_training_and_takes_nothing(tmp_path, monkeypatch, file):
    put = LocalBackend.put

    def full(self, content, path):
        if file in str(path):
            Path(path).write_bytes(content[:500])
            raise OSError(errno.ENOSPC, 'No space left on device')
        put(self, content, path)

    monkeypatch.setattr(LocalBackend, 'put', full)
    with pytest.raises(OSError, match=f'{file} cannot be written .No space left') as caught:
        run(tmp_path, [], dict(max_epochs=3), values=[0.1, 0.3, 0.2], **hooks(**BEST))
    assert caught.value.errno == errno.ENOSPC
    monkeypatch.undo()
    last = 'epoch_1.pth' if file == 'epoch_2.pth' else 'epoch_2.pth'
    assert names(tmp_path) == sorted(['best_toy_score_epoch_1.pth', last, 'last_checkpoint'])
    for one in tmp_path.glob('*.pth'):
        torch.load(one, weights_only=False)


def test_files_of_others_are_not_removed(tmp_path):
    """What a checkpoint calls the best weights so far may be anything."""
    precious = tmp_path / 'best_precious.txt'
    precious.write_text('mine')
    first = tmp_path / 'first'
    run(first, [], dict(max_epochs=1), values=[0.1], **hooks(**BEST))
    checkpoint = torch.load(first / 'epoch_1.pth', weights_only=False)
    for path in (str(precious), 3, str(first / 'best_toy_score_epoch_1.pth')):
        checkpoint['message_hub']['runtime_info'].update(best_ckpt=path, keep_ckpt_ids=['../x', 1])
        torch.save(checkpoint, tmp_path / 'foreign.pth')
        run(
            tmp_path / 'second',
            [],
            dict(max_epochs=2),
            values=[0.9],
            resume=tmp_path / 'foreign.pth',
            **hooks(**BEST),
        )
    assert precious.is_file() and (first / 'best_toy_score_epoch_1.pth').is_file()


def test_published_weights_are_whole(tmp_path):
    run(tmp_path, [], dict(max_epochs=1), validate=False, **hooks(published_keys=['state_dict']))
    (published,) = tmp_path.glob('epoch_1-*.pth')
    assert list(torch.load(published)) == ['state_dict']


# ------------------------------------------------------------ whole files
def test_a_file_appears_when_it_is_finished(tmp_path):
    path = tmp_path / 'new' / 'a.txt'
    with replacing(path) as part:
        part.write_text('first')
        assert not path.exists() and part.parent == path.parent
    with pytest.raises(RuntimeError), replacing(path) as part:
        part.write_text('sec')
        raise RuntimeError
    assert path.read_text() == 'first' and list(path.parent.iterdir()) == [path]


def test_leftovers_of_dead_processes_go(tmp_path):
    import os

    kept = [tmp_path / 'a.pth', tmp_path / '.hidden', part_of(tmp_path / 'b', os.getppid())]
    gone = [
        part_of(tmp_path / 'c', 2**22 + 5),
        part_of(tmp_path / 'd', 'x'),
        part_of(tmp_path / 'e'),
    ]
    for file in kept + gone:
        file.touch()
    gone[0].unlink()
    gone[0].mkdir()
    assert sorted(remove_leftovers(tmp_path)) == sorted(gone)
    assert sorted(tmp_path.iterdir()) == sorted(kept)
