"""A signal stops a training with a checkpoint, from which it continues as if it had not stopped."""

import os
import signal
import subprocess
import time
from multiprocessing import get_context

import pytest
import torch
from mmengine.hooks import Hook

from fiber_mmdet.engine.epoch_loop import batches_done
from fiber_mmdet.engine.start import newest_whole
from fiber_mmdet.engine.stop_signals import OutlivingWorker, is_running
from toy_runs import run

SEEDED = dict(type='SeedEveryIterHook')
STOP = dict(type='StopOnSignalHook')
EPOCHS = dict(type='ResumableEpochBasedTrainLoop', max_epochs=3, by_epoch=True)
INFINITE = dict(sampler=dict(type='InfiniteSampler', shuffle=True))
WORKERS = dict(num_workers=2)
PERSISTENT = dict(num_workers=2, persistent_workers=True)
CASES = {
    'iterations': (dict(max_iters=9, val_interval=3), INFINITE),
    'iterations, workers': (dict(max_iters=9, val_interval=3), dict(INFINITE, **PERSISTENT)),
    'epochs': (EPOCHS, {}),
    'epochs, workers': (EPOCHS, WORKERS),
    'epochs, persistent workers': (EPOCHS, PERSISTENT),
}


class Signals(Hook):
    """Sends a signal to this process, before an iteration or in a validation."""

    def __init__(self, at, number=signal.SIGTERM, where='before_train_iter'):
        self.at, self.number, self.where = at, number, where

    def before_train_iter(self, runner, batch_idx, data_batch=None):
        if self.where == 'before_train_iter' and runner.iter == self.at:
            os.kill(os.getpid(), self.number)

    def before_val_iter(self, runner, batch_idx, data_batch=None):
        if self.where == 'before_val_iter' and runner.iter == self.at:
            os.kill(os.getpid(), self.number)


def checkpoints(loop, **more):
    hook = dict(type='WholeCheckpointHook', by_epoch='max_epochs' in loop, max_keep_ckpts=1)
    return dict(
        default_hooks=dict(
            checkpoint=dict(hook, interval=1 if 'max_epochs' in loop else 100, **more),
            start=dict(type='CheckpointCheckHook'),
        )
    )


def stopped(folder, at, loop, loader=None, code=143, signals=None, **more):
    """Let a training be stopped; returns its newest checkpoint."""
    hook = signals or Signals(at)
    with pytest.raises(SystemExit) as caught:
        run(folder, [SEEDED, STOP, hook], loop, loader, **checkpoints(loop), **more)
    assert caught.value.code == code
    assert signal.getsignal(signal.SIGTERM) == signal.SIG_DFL
    newest, skipped = newest_whole(folder)
    assert not skipped
    return newest


@pytest.fixture(scope='module', params=CASES)
def uninterrupted(request, tmp_path_factory):
    loop, loader = CASES[request.param]
    folder = tmp_path_factory.mktemp('full')
    return loop, loader, run(folder, [SEEDED], loop, loader, **checkpoints(loop))[0]


@pytest.mark.parametrize('at', [1, 3, 6])
def test_resumed(uninterrupted, at, tmp_path):
    """The first, the last and a middle iteration of an epoch of four."""
    loop, loader, expected = uninterrupted
    newest = stopped(tmp_path, at, loop, loader)
    kind = 'iter_{}.pth' if 'max_iters' in loop else 'interrupted_iter_{}.pth'
    assert newest.name == kind.format(at + 1)
    last = max(expected.iters) + 1
    again, runner = run(tmp_path, [SEEDED, STOP], loop, loader, resume=newest, **checkpoints(loop))
    assert list(again.iters) == list(range(at + 1, last))
    for i, (loss, samples, _) in again.iters.items():
        assert torch.equal(samples, expected.iters[i][1]), i
        assert loss == pytest.approx(expected.iters[i][0], rel=1e-6), i
    assert again.metrics[-1] == pytest.approx(expected.metrics[-1], rel=1e-6)
    assert runner.iter == last and (runner.epoch == 3 or 'max_iters' in loop)
    (left,) = tmp_path.glob('*.pth')  # the checkpoint of the interruption has been replaced
    assert left.name in (f'iter_{last}.pth', 'epoch_3.pth')


@pytest.mark.parametrize('loop', [EPOCHS, dict(max_iters=9, val_interval=4)])
def test_a_validation_is_finished_and_counts(loop, tmp_path, monkeypatch):
    monkeypatch.setattr('mmengine.runner.loops.time.sleep', lambda seconds: None)
    expected, _ = run(tmp_path / 'full', [SEEDED], loop, **checkpoints(loop))
    signals = Signals(4, where='before_val_iter')
    newest = stopped(tmp_path / 'part', 4, loop, signals=signals)
    meta = torch.load(newest, weights_only=False)['meta']
    assert meta['iter'] == 4 and meta.get('batches_of_epoch') is None
    again, _ = run(tmp_path / 'part', [SEEDED], loop, resume=newest, **checkpoints(loop))
    assert again.losses == pytest.approx(
        {i: loss for i, loss in expected.losses.items() if i >= 4}, rel=1e-6
    )
    assert [step for step, _ in again.metrics] == [step for step, _ in expected.metrics[1:]]


def test_twice_within_an_epoch(tmp_path):
    expected, _ = run(tmp_path / 'full', [SEEDED], EPOCHS, size=16, **checkpoints(EPOCHS))
    folder = tmp_path / 'part'
    stopped(folder, 1, EPOCHS, size=16)
    second = stopped(folder, 4, EPOCHS, size=16, resume='auto')
    assert (
        [file.name for file in folder.glob('*.pth')] == [second.name] == ['interrupted_iter_5.pth']
    )
    again, _ = run(folder, [SEEDED], EPOCHS, size=16, resume='auto', **checkpoints(EPOCHS))
    assert list(again.iters) == list(range(5, 24))
    assert again.losses == pytest.approx(
        {i: loss for i, loss in expected.losses.items() if i >= 5}, rel=1e-6
    )


def test_workers_outlive_a_signal_to_all_and_end_with_their_parent():
    """A worker in a process of its own, whose parent is this one."""
    context = get_context('fork')
    ready = context.Event()

    def work():
        OutlivingWorker(lambda number: ready.set(), [signal.SIGTERM, signal.SIGUSR1])(0)
        time.sleep(60)

    worker = context.Process(target=work)
    worker.start()
    assert ready.wait(20)
    time.sleep(0.2)
    for name in ('USR1', 'TERM'):  # from somebody else
        subprocess.run(['sh', '-c', f'kill -{name} {worker.pid}'], check=True)
    worker.join(0.5)
    assert worker.is_alive()
    worker.terminate()
    worker.join(20)
    assert worker.exitcode == 0


def test_accumulated_gradients_are_not_lost(tmp_path):
    """The signal comes in the first of two iterations of a step."""
    loop = dict(max_iters=8)
    more = dict(optim_wrapper=dict(optimizer=dict(type='SGD', lr=0.1), accumulative_counts=2))
    newest = stopped(tmp_path, 2, loop, INFINITE, **more)
    assert newest.name == 'iter_4.pth'


def test_the_last_iteration_ends_the_training(tmp_path):
    loop = dict(max_iters=3)
    again, _ = run(tmp_path, [STOP, Signals(2)], loop, **checkpoints(loop))
    assert (tmp_path / 'iter_3.pth').is_file() and again.metrics


def test_another_signal(tmp_path):
    loop = dict(max_iters=3)
    newest = stopped(tmp_path, 0, loop, code=138, signals=Signals(0, signal.SIGUSR1))
    assert newest.name == 'iter_1.pth'
    with pytest.raises(ValueError, match='SIGNONE'):
        run(tmp_path, [dict(STOP, signals=('SIGNONE',))], loop)


def test_without_the_loop_nothing_half_is_written(tmp_path):
    """mmengine's loop would begin the epoch anew and count its iterations twice."""
    loop = dict(max_epochs=2)
    assert stopped(tmp_path, 5, loop).name == 'epoch_1.pth'


def test_handlers_of_others_stay(tmp_path):
    came = []
    signal.signal(signal.SIGTERM, lambda *_: came.append(1))
    try:
        loop = dict(max_iters=3)
        run(tmp_path, [STOP, Signals(1)], loop, **checkpoints(loop))
        assert came
    finally:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)


def test_places_in_an_epoch():
    assert [batches_done(place, 4) for place in ([1, 2], [3, 4], [9, 4], [2, 0])] == [2, 3, 4, 0]
    for strange in (None, 3, [1], [1, 'a'], [True, 2], [-1, 2], {}):
        assert batches_done(strange, 4) == 0


def test_a_loop_is_found_where_it_runs():
    import sys

    class Loop:
        def run(self, work):
            return work()

    loop = Loop()
    assert loop.run(lambda: is_running(loop, sys._getframe()))
    assert not is_running(loop, sys._getframe())


def test_another_batch_size_goes_on_in_the_same_place(tmp_path):
    """Half of the epoch is left out, whatever the batch."""
    newest = stopped(tmp_path, 1, EPOCHS)
    again, _ = run(
        tmp_path, [SEEDED], EPOCHS, dict(batch_size=4), resume=newest, **checkpoints(EPOCHS)
    )
    assert list(again.iters) == list(range(2, 2 + 1 + 2 + 2))
