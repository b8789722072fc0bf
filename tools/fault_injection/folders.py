"""Folders that two jobs share, that are full, or that nobody may write to."""

import os
import resource
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from .jobs import PATIENCE, WEIGHTS, Job, Workshop, ended, logged, train
from .results import Result
from .stops import finish_and_compare, newest


def two_jobs(shop: Workshop, tries: int, seed: int) -> Result:
    """A second training, and a test, in the work directory of a training."""
    result = Result(
        'two-jobs',
        'a second training in a work directory: refused in a line that names the first, which '
        'goes on; a test beside it runs; after `kill -9` of the first the next one starts at once',
    )
    work_dir = shop.folder / 'two-jobs'
    for number in range(tries):
        problems = []
        with ended(train(shop.config, work_dir)) as first:
            before = len(logged(work_dir))
            if not first.until(lambda before=before: len(logged(work_dir)) > before):
                result.judge([f'does not start: {first.last_line()}'])
                return result
            with ended(train(shop.config, work_dir, processes=1 + number % 2)) as second:
                code, said = second.wait(), second.last_line('error:')
            if code != 1 or f'process {first.process.pid} on ' not in said:
                problems.append(f'the second ends with {code}: {said or second.last_line()}')
            with ended(_test(shop, work_dir)) as test:
                if test.wait() != 0:
                    problems.append(f'the test fails: {test.last_line()}')
            if first.process.poll() is not None:
                problems.append(f'the first has ended: {first.last_line()}')
            os.kill(first.process.pid, signal.SIGKILL)  # its data worker lives on for seconds
            first.process.wait()
            problems += [f'damaged: {text}' for text in newest(work_dir)[1]]
            with ended(train(shop.config, work_dir)) as third:
                before = len(logged(work_dir))
                if not third.until(lambda before=before: len(logged(work_dir)) > before):
                    problems.append(f'the third does not start: {third.last_line()}')
        result.judge(problems)
    finish_and_compare(result, shop, shop.config, work_dir)
    return result


def _test(shop: Workshop, work_dir: Path, *arguments: object) -> Job:
    log = shop.folder / f'test-{time.monotonic_ns()}.log'
    return Job(log, 'test.py', shop.config, WEIGHTS, '--work-dir', work_dir, *arguments)


# -------------------------------------------------------------- disks
@contextmanager
def disk(folder: Path, megabytes: float) -> Iterator[Path | None]:
    """A file system of its own in memory; None where the system does not allow it.

    Args:
        folder: where it is mounted.
        megabytes: its size.
    """
    folder.mkdir(parents=True, exist_ok=True)
    command = ['mount', '-t', 'tmpfs', '-o', f'size={int(megabytes * 1024)}k', 'faults', folder]
    if subprocess.run(command, capture_output=True).returncode:
        yield None
        return
    try:
        yield folder
    finally:
        subprocess.run(['umount', '-l', folder], check=True)


def remount(folder: Path, options: str) -> None:
    """Change a file system's size, or whether it can be written."""
    subprocess.run(['mount', '-o', f'remount,{options}', folder], check=True)


@contextmanager
def limited_files(size: int) -> Iterator[None]:
    """Let no file of processes that are started now grow beyond a size, as on a full disk."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def outputs(shop: Workshop, place: Path) -> dict[str, tuple[list[Path], Callable[[], Job]]]:
    """Jobs that write files, by what they write: the files, and how to start the job."""
    config = WEIGHTS.with_name('config.py')
    image = shop.images[0]
    prompt = 'red circle . blue star'

    def job(*arguments: object) -> Job:
        return Job(shop.folder / f'job-{time.monotonic_ns()}.log', *arguments)

    return {
        'predictions': (
            [place / 'found.pkl'],
            lambda: _test(shop, shop.folder / 'work', '--out', place / 'found.pkl'),
        ),
        'drawing': (
            [place / 'found.png', place / 'found.json'],
            lambda: job('demo.py', image, prompt, '--out', place / 'found.png'),
        ),
        'published weights': (
            [place / 'out/weights.pth', place / 'out/config.py'],
            lambda: job('publish_checkpoint.py', config, WEIGHTS, place / 'out'),
        ),
        'converted weights': (
            [place / 'official.pth'],
            lambda: job(
                'convert_checkpoint.py',
                WEIGHTS,
                place / 'official.pth',
                '--config',
                config,
                '--reverse',
            ),
        ),
    }


BEFORE = b'what was there before'


def refused(kind: str, files: list[Path], start: Callable[[], Job]) -> list[str]:
    """What is wrong with how a job reacts that cannot write.

    Args:
        kind: of what it writes.
        files: those that it wants to write, which hold :data:`BEFORE`.
        start: starts it.
    """
    names = {file.name for file in files}
    before = {file: sorted(file.parent.iterdir()) for file in files}
    with ended(start()) as job:
        code, said = job.wait(), job.last_line('error:')
    problems = []
    if code != 1:
        problems.append(f'{kind}: exit code {code}: {job.last_line()}')
    if not any(str(file.parent) in said for file in files):
        problems.append(f'{kind}: no line names the place: {said or job.last_line()}')
    for file in files:
        if file.read_bytes() != BEFORE:
            problems.append(f'{kind}: {file.name} has changed')
        more = {path.name for path in file.parent.iterdir()} - names
        more -= {path.name for path in before[file]}
        if more:
            problems.append(f'{kind}: left behind: {sorted(more)}')
    return problems


def full_disk(shop: Workshop, tries: int, seed: int) -> Result:
    """A disk that is full when a checkpoint, predictions, a drawing or weights are written."""
    result = Result(
        'full-disk',
        'a full disk while a checkpoint, predictions, a drawing, published or converted weights '
        'are written: a line names the place, what was there stays, nothing half is left',
    )
    real = 0
    for number in range(tries):
        real += _full_for_training(result, shop, number)
        with disk(shop.folder / f'small-{number}', 2) as small:
            place = small or shop.folder / f'limited-{number}'
            for kind, (files, start) in outputs(shop, place).items():
                for file in files:
                    file.parent.mkdir(parents=True, exist_ok=True)
                    file.write_bytes(BEFORE)
                if small:
                    _fill(small)
                    result.judge(refused(kind, files, start))
                    (small / 'filler').unlink()
                else:
                    with limited_files(1000):
                        result.judge(refused(kind, files, start))
    result.notes.append(
        'file systems of their own' if real else 'limited size of files (no right to mount)'
    )
    return result


def _fill(folder: Path) -> None:
    """Leave no room."""
    with open(folder / 'filler', 'wb', buffering=0) as file:
        for size in (2**16, 2**12, 1):
            try:
                while True:
                    file.write(b'x' * size)
            except OSError:
                pass


def _full_for_training(result: Result, shop: Workshop, number: int) -> bool:
    """A training on a disk with room for one checkpoint, which grows later."""
    place = shop.folder / f'disk-{number}'
    with disk(place, 110) as small:
        work_dir = place / 'work'
        problems = []
        if small is None:
            with ended(train(shop.config, work_dir, 'train_cfg.max_iters=1')) as job:
                job.wait()
            with limited_files(40 * 2**20), ended(train(shop.config, work_dir)) as job:
                code, said = job.wait(), job.last_line('error:')
        else:
            with ended(train(shop.config, work_dir)) as job:
                code, said = job.wait(), job.last_line('error:')
        if code != 1 or str(work_dir) not in said:
            problems.append(f'training: exit code {code}: {said or job.last_line()}')
        if newest(work_dir) != (1, []):
            problems.append(f'the first checkpoint is lost: {newest(work_dir)}')
        if list(work_dir.glob('.*.part')):
            problems.append('a part of a checkpoint is left')
        if small is not None:
            remount(small, 'size=500m')
        with ended(train(shop.config, work_dir, 'train_cfg.max_iters=3')) as job:
            if job.wait() != 0 or newest(work_dir)[0] != 3:
                problems.append(f'does not resume: {job.last_line()}')
        result.judge(problems)
        return small is not None


def read_only(shop: Workshop, tries: int, seed: int) -> Result:
    """A folder that cannot be written, for a training and for all that tools write."""
    result = Result(
        'read-only',
        'a read-only folder for a training, its `--resume`, predictions, a drawing, published or '
        'converted weights: a line names the folder, what was there stays',
    )
    for number in range(tries):
        with disk(shop.folder / f'read-only-{number}', 500) as mounted:
            place = mounted or shop.folder / f'locked-{number}'
            place.mkdir(exist_ok=True)
            if mounted is None and os.getuid() == 0:
                result.notes.append('not tried: root may write anywhere, and cannot mount here')
                return result
            with ended(train(shop.config, place / 'work', 'train_cfg.max_iters=1')) as job:
                if job.wait() != 0:
                    result.judge([f'does not start: {job.last_line()}'])
                    return result
            for _, (files, _) in outputs(shop, place).items():
                for file in files:
                    file.parent.mkdir(parents=True, exist_ok=True)
                    file.write_bytes(BEFORE)
            with _locked(place, mounted is not None):
                for folder in ('work', 'new'):
                    with ended(train(shop.config, place / folder)) as job:
                        code, said = job.wait(PATIENCE), job.last_line('error:')
                    right = code == 1 and str(place) in said
                    result.judge([] if right else [f'{folder}: {code}: {job.last_line()}'])
                for kind, (files, start) in outputs(shop, place).items():
                    result.judge(refused(kind, files, start))
            if newest(place / 'work') != (1, []):
                result.judge(['the checkpoint is lost'])
    return result


@contextmanager
def _locked(folder: Path, mounted: bool) -> Iterator[None]:
    if mounted:
        remount(folder, 'ro')
        yield
        remount(folder, 'rw')
        return
    for path in (folder, *folder.rglob('*')):
        path.chmod(0o555 if path.is_dir() else 0o444)
    yield
    for path in (folder, *folder.rglob('*')):
        path.chmod(0o755 if path.is_dir() else 0o644)
    shutil.rmtree(folder / 'new', ignore_errors=True)
