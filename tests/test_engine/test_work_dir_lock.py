"""Two trainings do not write into one folder, and no lock outlives its process."""

import fcntl
import json
import os
import subprocess
import sys
import time
from multiprocessing import get_context
from threading import Timer

import pytest

from fiber_mmdet.engine import work_dir_lock
from fiber_mmdet.engine.work_dir_lock import LOCK, WorkDirInUseError, lock, training_in, unlock
from toy_runs import run

HOLD = """
import fcntl, os, sys, time
os.makedirs(sys.argv[1])
file = open(sys.argv[1] + '/.training.lock', 'w')
fcntl.flock(file, fcntl.LOCK_EX)
print('{"process": %d, "host": "there", "since": "now"}' % os.getpid(), file=file, flush=True)
print('ready', flush=True)
time.sleep(60)
"""
CHECKPOINTS = dict(default_hooks=dict(checkpoint=dict(type='WholeCheckpointHook', interval=1)))


@pytest.fixture
def holder(tmp_path):
    """Another process that has the lock of ``tmp_path / 'work'``."""
    process = subprocess.Popen(
        [sys.executable, '-c', HOLD, tmp_path / 'work'],
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout.readline() == 'ready\n'
    yield process
    process.kill()
    process.wait()
    process.stdout.close()


def test_another_process_is_refused_until_the_first_is_killed(tmp_path, holder):
    folder = tmp_path / 'work'
    with pytest.raises(WorkDirInUseError, match=f'work is in use .*process {holder.pid} on ') as e:
        lock(folder)
    assert '--work-dir' in str(e.value) and '\n' not in str(e.value)
    with pytest.raises(WorkDirInUseError):
        run(folder, [], dict(max_epochs=1), validate=False, **CHECKPOINTS)
    assert not list(folder.glob('*.pth'))
    run(tmp_path / 'other', [], dict(max_epochs=1), validate=False, **CHECKPOINTS)
    holder.kill()
    holder.wait()
    run(folder, [], dict(max_epochs=1), validate=False, **CHECKPOINTS)
    assert (folder / 'epoch_1.pth').is_file() and not (folder / LOCK).exists()


def test_a_training_that_replaces_a_lost_one_waits_for_its_lock(tmp_path):
    held = open(tmp_path / LOCK, 'w')
    fcntl.flock(held, fcntl.LOCK_EX)
    with pytest.raises(WorkDirInUseError):
        lock(tmp_path, patience=0.3)
    timer = Timer(0.3, held.close)
    timer.start()
    with training_in([tmp_path], patience=60):
        assert held.closed
    timer.join()


def test_data_workers_do_not_keep_it(tmp_path):
    """They may live on for seconds after their training was killed."""
    path = lock(tmp_path)
    with open(path) as seen:
        worker = get_context('fork').Process(target=time.sleep, args=(60,))
        worker.start()
        time.sleep(0.1)
        unlock(path)
        fcntl.flock(seen, fcntl.LOCK_EX | fcntl.LOCK_NB)
        worker.kill()
        worker.join()


def test_within_a_process(tmp_path):
    with training_in([tmp_path, tmp_path]), training_in([tmp_path]):
        who = json.loads((tmp_path / LOCK).read_text())
        assert who['process'] == os.getpid()
    assert not list(tmp_path.iterdir())


def test_what_a_killed_process_left_is_no_lock(tmp_path):
    (tmp_path / LOCK).write_text('{"process": 1}')
    with training_in([tmp_path]):
        assert json.loads((tmp_path / LOCK).read_text())['process'] == os.getpid()


def take_turns(folder, results):
    for _ in range(50):
        try:
            path = lock(folder)
        except WorkDirInUseError:
            continue
        alone = folder / 'alone'
        try:
            alone.touch(exist_ok=False)
            alone.unlink()
        except FileExistsError:
            results.put('two at a time')
        unlock(path)
    results.put('done')


def test_never_two_at_a_time(tmp_path):
    """Files that owners remove and others open at the same time."""
    context = get_context('fork')
    results = context.Queue()
    processes = [context.Process(target=take_turns, args=(tmp_path, results)) for _ in range(4)]
    for process in processes:
        process.start()
    assert [results.get(timeout=60) for _ in processes] == ['done'] * 4
    for process in processes:
        process.join()


def test_file_systems_without_locks_are_used_with_a_warning(tmp_path, monkeypatch):
    def lacking(*_):
        raise OSError(38, 'Function not implemented')

    monkeypatch.setattr(work_dir_lock.fcntl, 'flock', lacking)
    with pytest.warns(UserWarning, match='cannot be locked.*not impl'), training_in([tmp_path]):
        assert not list(tmp_path.iterdir())
    monkeypatch.setattr(work_dir_lock, 'fcntl', None)  # Windows
    with pytest.warns(UserWarning, match='cannot be locked.*no flock'), training_in([tmp_path]):
        assert not list(tmp_path.iterdir())


def test_tools_say_it_in_one_line(tmp_path, holder, monkeypatch):
    from fiber_mmdet.engine.launch import refusals_in_one_line

    for error in (OSError(28, 'No space left on device'), OSError(30, 'Read-only', 'place/x')):
        with pytest.raises(SystemExit, match=r'^error: .*(place/x|work directory: work)'):
            with refusals_in_one_line('work'):
                raise error
    with pytest.raises(FileNotFoundError), refusals_in_one_line('work'):
        raise FileNotFoundError(2, 'No such file')
    config = tmp_path / 'empty.py'
    config.write_text('')
    monkeypatch.setattr(
        sys, 'argv', ['train.py', str(config), '--work-dir', str(tmp_path / 'work')]
    )
    from fiber_mmdet.engine.launch import run_mmdet_tool

    with pytest.raises(SystemExit, match='error: .*work is in use'):
        run_mmdet_tool('train.py')
