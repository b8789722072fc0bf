"""Trainings, tests and demos as users start them, small, in processes that can be ended."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path

from .forks import CHECKOUT, Fork, environment, source

WEIGHTS = CHECKOUT / 'fiber_mmdet/assets/fiber_mini/weights.pth'
PATIENCE = 300  # seconds for what takes a few on an idle machine

CONFIG = """
_base_ = ['{checkout}/configs/scenes/fiber_mini_scenes.py']
data_root = '{root}/'


def small(dataset):
    return dict(dataset, data_root=data_root, pipeline=[
        dict(step, scale=(96, 96)) if step['type'] == 'ShortSideResize' else step
        for step in dataset['pipeline']])


train_dataloader = dict(batch_size=2, dataset=dict(
    datasets=[small(d) for d in _base_.train_dataloader.dataset.datasets]))
val_dataloader = val_evaluator = val_cfg = None
test_dataloader = dict(batch_size=2, dataset=small(_base_.test_dataloader.dataset))
test_evaluator = dict(ann_file=data_root + 'annotations/coco_test.json')
default_hooks = dict(
    logger=dict(interval=1),
    checkpoint=dict(interval=1, max_keep_ckpts=1, by_epoch=False))
log_processor = dict(window_size=1)
"""
EPOCHS = """
train_cfg = dict(
    _delete_=True, type='ResumableEpochBasedTrainLoop', max_epochs=1000, val_interval=1000)
train_dataloader['sampler'] = dict(type='DefaultSampler', shuffle=True)
train_dataloader['batch_sampler'] = dict(type='AspectRatioBatchSampler')
default_hooks['checkpoint'].update(by_epoch=True)
"""


SHARDED = """
_base_ = ['{config}', '{checkout}/configs/_base_/schedules/fsdp.py']
"""


class Workshop:
    """A folder with generated scenes and the configs of small trainings.

    Args:
        folder: where everything is written.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    @cached_property
    def scenes(self) -> Path:
        """Folder of the dataset."""
        from fiber_scenes import write_dataset

        sizes = dict(train=12, val=4, test=6)
        write_dataset(self.folder / 'scenes', sizes, image_size=96, progress=False)
        return self.folder / 'scenes'

    @cached_property
    def config(self) -> Path:
        """Config of a training that counts iterations: FIBER-mini on images of 96 pixels."""
        return self._write('iterations.py', CONFIG)

    @cached_property
    def epochs(self) -> Path:
        """Config of a training that counts epochs, of at least 12 batches each."""
        return self._write('epochs.py', CONFIG + EPOCHS)

    @cached_property
    def sharded(self) -> Path:
        """Config of a training whose weights are in shards (FSDP), in two processes."""
        text = SHARDED.replace('{config}', str(self.config))
        return self._write('sharded.py', text)

    def _write(self, name: str, text: str) -> Path:
        file = self.folder / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text.format(checkout=CHECKOUT, root=self.scenes))
        return file

    @cached_property
    def images(self) -> list[Path]:
        """The images of the test split."""
        return sorted((self.scenes / 'images/test').iterdir())


class Job:
    """A tool that runs in a session of its own.

    A job of one process is a fork of a process that has imported everything (``forks.py``).

    Args:
        log: file for its output.
        arguments: tool and arguments, as after ``python``.
        processes: more than one are started by torchrun.
        restarts: how often torchrun may start them again.
    """

    def __init__(
        self, log: Path, *arguments: object, processes: int = 1, restarts: int = 0
    ) -> None:
        tool, *rest = map(str, arguments)
        log.parent.mkdir(parents=True, exist_ok=True)
        log.write_text('')
        self.log = log
        self.process: Fork | subprocess.Popen
        if processes == 1:
            self.process = Fork(source(), [tool, *rest], log, environment())
            return
        command = [sys.executable, '-m', 'torch.distributed.run', '--standalone']
        command += [f'--nproc_per_node={processes}', f'--max-restarts={restarts}']
        command += [str(CHECKOUT / 'tools' / tool), *rest, '--launcher', 'pytorch']
        with open(log, 'a') as output:
            self.process = subprocess.Popen(
                command, stdout=output, stderr=output, env=environment(), start_new_session=True
            )

    def wait(self, seconds: float = PATIENCE) -> int | None:
        """The exit code; None after this time, when everything is killed."""
        try:
            return self.process.wait(seconds)
        except subprocess.TimeoutExpired:
            self.kill()
            return None

    def kill(self) -> None:
        """Kill the job with all of its processes, torchrun's too, which have their own sessions."""
        for process in [*descendants(self.process.pid), self.process.pid]:
            send(process, signal.SIGKILL)
        self.process.wait()
        try:
            os.killpg(self.process.pid, signal.SIGKILL)  # what its end has set free
        except ProcessLookupError:
            pass

    def until(
        self, what: Callable[[], bool], seconds: float = PATIENCE, pause: float = 0.02
    ) -> bool:
        """Wait for something to happen while the job runs, of which one looks after each pause.

        Returns:
            Whether it did.
        """
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            if what():
                return True
            if self.process.poll() is not None:
                return what()
            time.sleep(pause)
        return False

    def children(self) -> dict[int, int]:
        """Rank -> process of torchrun's processes."""
        found = {}
        parents = parents_of_processes()
        for process, parent in parents.items():
            if parent == self.process.pid:
                try:
                    environment = Path(f'/proc/{process}/environ').read_bytes().split(b'\0')
                except OSError:
                    continue
                found |= {int(e[5:]): process for e in environment if e.startswith(b'RANK=')}
        return found

    @property
    def output(self) -> str:
        """What it has printed so far."""
        return self.log.read_text(errors='replace')

    def last_line(self, start: str = '') -> str:
        """The last line that it printed, or the last one that begins so."""
        lines = [line for line in self.output.splitlines() if line.startswith(start) and line]
        return lines[-1] if lines else ''


def parents_of_processes() -> dict[int, int]:
    """Process -> its parent (Linux)."""
    found = {}
    for entry in Path('/proc').iterdir():
        if entry.name.isdigit():
            try:
                found[int(entry.name)] = int(
                    (entry / 'stat').read_text().rsplit(')')[-1].split()[1]
                )
            except OSError:
                continue
    return found


def descendants(process: int) -> list[int]:
    """Processes that a process has started, and those that they have."""
    parents = parents_of_processes()
    found, level = [], [process]
    while level:
        level = [child for child, parent in parents.items() if parent in level]
        found += level
    return found


def send(process: int, number: int) -> None:
    """Send a signal to a process that may have ended."""
    try:
        os.kill(process, number)
    except ProcessLookupError:
        pass


@contextmanager
def ended(job: Job) -> Iterator[Job]:
    """Kill a job that is left behind."""
    try:
        yield job
    finally:
        job.kill()


def train(
    config: Path,
    work_dir: Path,
    *options: str,
    resume: bool = True,
    processes: int = 1,
    restarts: int = 0,
) -> Job:
    """Start a training; its output goes beside the config."""
    number = len(list(config.parent.glob('train-*.log')))
    log = config.parent / f'train-{number}.log'
    arguments: list[object] = ['train.py', config, '--work-dir', work_dir]
    arguments += ['--resume'] if resume else []
    arguments += ['--cfg-options', *options] if options else []
    return Job(log, *arguments, processes=processes, restarts=restarts)


def logged(work_dir: Path) -> list[tuple[int, float]]:
    """(iteration, loss) of all that the trainings of a folder have logged, in order."""
    found = []
    for file in sorted(work_dir.glob('*/vis_data/scalars.json')):
        for line in file.read_text().splitlines():
            try:
                record = json.loads(line)
            except ValueError:
                continue  # cut off by a kill
            if 'loss' in record:
                found.append((record['step'], record['loss']))
    return found


def differences(
    found: Sequence[tuple[int, float]], expected: Sequence[tuple[int, float]], tolerance: float
) -> list[str]:
    """Iterations whose loss is not the expected one, a sentence each."""
    reference = dict(expected)
    wrong = [
        f'iteration {step}: loss {loss} instead of {reference.get(step)}'
        for step, loss in found
        if step not in reference
        or not abs(loss - reference[step]) <= tolerance * abs(reference[step])
    ]
    lacking = sorted(set(reference) - {step for step, _ in found})
    return wrong[:3] + ([f'iterations {lacking} are not logged'] if lacking else [])
