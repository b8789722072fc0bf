"""A training that a scheduler tells to end writes a checkpoint first."""

import math
import os
import signal
import time
from collections.abc import Callable
from threading import Thread
from types import FrameType
from typing import Any

import torch
from mmdet.registry import HOOKS
from mmengine.dist import all_reduce
from mmengine.hooks import Hook
from mmengine.runner import EpochBasedTrainLoop

from .checkpoint_saving import WholeCheckpointHook
from .epoch_loop import ResumableEpochBasedTrainLoop

SIGNALS = ('SIGTERM', 'SIGUSR1')
GRACE = 30  # seconds for which data workers outlive a signal to all processes of a job


@HOOKS.register_module()
class StopOnSignalHook(Hook):
    """Stop a training at a signal, with a checkpoint of all that it has done.

    Schedulers send SIGTERM before they kill (SLURM on ``scancel``, preemption and at the time
    limit, and what ``--signal`` names earlier). The training goes on to the end of the running
    iteration (of the running step, where gradients are accumulated; of the running validation, so
    that its result counts), writes a checkpoint with :class:`WholeCheckpointHook`, and ends with
    the exit code 128 + the signal's number: 143 for SIGTERM, 138 for SIGUSR1. Resuming continues
    with the losses of an uninterrupted training. All processes stop at the same iteration,
    whichever of them got the signal, and data workers outlive a signal for 30 seconds.

    A signal is left alone if the program has its own handler for it, or while nothing is trained.
    In the last iteration it no longer stops anything, and a second one changes nothing.

    Args:
        signals: names of the signals; those that the system lacks are left out.

    Raises:
        ValueError: no such signal.
    """

    priority = 'LOWEST'  # after the hooks that belong to an iteration, and their checkpoints

    def __init__(self, signals: tuple[str, ...] = SIGNALS) -> None:
        known = {item.name for item in signal.Signals} | set(SIGNALS)
        for name in signals:
            if name not in known:
                raise ValueError(f'signals={signals!r}: {name!r} is not the name of a signal')
        self.signals = signals
        self.received = 0
        self.position: dict[str, int] | None = None  # of the checkpoint that is being written
        self._trains = False
        self._handlers: dict[int, Any] = {}

    def before_train(self, runner: Any) -> None:
        """Listen, and prepare the data workers that start later."""
        self.received = 0
        self.position = None
        self._loop, self._process = runner.train_loop, os.getpid()
        numbers = [getattr(signal, name) for name in self.signals if hasattr(signal, name)]
        for loop in (runner.train_loop, runner.val_loop):
            loader: Any = getattr(loop, 'dataloader', None)
            if getattr(loader, 'num_workers', 0):
                loader.worker_init_fn = OutlivingWorker(loader.worker_init_fn, numbers)
        self._handlers = {}
        for number in numbers:
            before = signal.getsignal(number)
            if before != signal.SIG_DFL:
                runner.logger.info(f'{name_of(number)} is left to the handler that it has')
                continue
            try:
                signal.signal(number, self._note)
            except ValueError:  # only the main thread may
                runner.logger.info('signals do not stop a training outside the main thread')
                break
            self._handlers[number] = before
        self._trains = True

    def _note(self, number: int, frame: FrameType | None) -> None:
        """Handle a signal: remember it while the training runs."""
        if os.getpid() != self._process:  # a child that inherited this
            signal.signal(number, signal.SIG_DFL)
            os.kill(os.getpid(), number)
        elif is_running(self._loop, frame):
            self.received = self.received or number
            if os.environ.get('RANK', '0') == '0':  # logging is not made for handlers
                os.write(2, f'{name_of(number)}: stopping after this step\n'.encode())
        else:  # it has ended with an error, and somebody went on
            self._listen_no_longer()
            os.kill(os.getpid(), number)

    def _listen_no_longer(self) -> None:
        for number, before in self._handlers.items():
            signal.signal(number, before)
        self._handlers = {}

    def after_train(self, runner: Any) -> None:
        """Listen no longer."""
        self._trains = False
        self._listen_no_longer()

    def after_train_iter(
        self, runner: Any, batch_idx: int, data_batch: Any = None, outputs: Any = None
    ) -> None:
        """Stop if a signal came.

        Raises:
            SystemExit: with the exit code.
        """
        complete = getattr(runner.optim_wrapper, 'should_update', lambda: True)()
        if complete and not self.is_last_train_iter(runner):
            self._stop(runner, runner.iter + 1)

    def after_val_epoch(self, runner: Any, metrics: Any = None) -> None:
        """Stop if a signal came during the validation.

        Raises:
            SystemExit: with the exit code.
        """
        if self._trains and runner.iter < runner.max_iters:
            self._stop(runner, runner.iter)

    def _stop(self, runner: Any, done: int) -> None:
        """Stop if any process got a signal.

        Args:
            runner: the runner.
            done: iterations that are finished.
        """
        number = self.received
        if runner.world_size > 1:
            shared = torch.tensor(number)
            all_reduce(shared, 'max')
            number = int(shared)
        if not number:
            return
        code = 128 + number
        runner.logger.warning(
            f'{name_of(number)}: stopped after iteration {done}. {self._save(runner, done)} '
            f'(exit code {code})'
        )
        self.after_train(runner)
        for loop in (runner.train_loop, runner.val_loop):
            end_workers(loop)
        raise SystemExit(code)

    def _save(self, runner: Any, done: int) -> str:
        """Write a checkpoint if it can be resumed from; returns a sentence about it."""
        hook = next((hook for hook in runner.hooks if isinstance(hook, WholeCheckpointHook)), None)
        if hook is None:
            return 'No checkpoint is written: this needs WholeCheckpointHook'
        loop = runner.train_loop
        if isinstance(loop, EpochBasedTrainLoop) and not isinstance(
            loop, ResumableEpochBasedTrainLoop
        ):
            return (
                'No checkpoint is written: a training can only be resumed within an epoch with '
                "train_cfg.type='ResumableEpochBasedTrainLoop'"
            )
        self.position = dict(epoch=runner.epoch, iter=done)
        try:
            path = hook.save_between(runner, done)
        finally:
            self.position = None
        return f'The checkpoint is {path}: go on with --resume'

    def before_save_checkpoint(self, runner: Any, checkpoint: dict) -> None:
        """Correct what some versions of mmengine count otherwise outside of an iteration."""
        if self.position is not None:
            checkpoint['meta'].update(self.position)


class OutlivingWorker:
    """A data worker's start, after which signals to the whole job do not end it at once.

    Otherwise the training would end with an error about its workers. Workers still end when their
    training does, and when it ends them. Systems without ``sigwaitinfo`` (macOS) keep torch's way.

    Args:
        start: the loader's own ``worker_init_fn``.
        numbers: the signals.
    """

    def __init__(self, start: Callable[[int], None] | None, numbers: list[int]) -> None:
        self.start = start
        self.numbers = numbers

    def __call__(self, worker: int) -> None:
        """Prepare this worker."""
        if self.start is not None:
            self.start(worker)
        if hasattr(signal, 'sigwaitinfo'):  # it says who sent a signal; handlers do not learn that
            signal.pthread_sigmask(signal.SIG_BLOCK, self.numbers)
            Thread(target=outlive, args=(self.numbers,), daemon=True).start()


def outlive(numbers: list[int]) -> None:
    """Receive a worker's signals, of which SIGTERM ends it: of the parent's now, others later."""
    end = math.inf
    while end > time.monotonic():
        left = min(end - time.monotonic(), 3600)
        info = signal.sigtimedwait(numbers, max(left, 0))
        if info is not None and info.si_signo == signal.SIGTERM:
            if info.si_pid == os.getppid():
                os._exit(0)
            end = min(end, time.monotonic() + GRACE)
    os._exit(1)


def end_workers(loop: Any) -> None:
    """End the data workers of a loop; at the end of a program, torch waits 5 seconds for each."""
    infinite = getattr(loop, 'dataloader_iterator', None)
    for holder in (getattr(loop, 'dataloader', None), infinite):
        end = getattr(getattr(holder, '_iterator', None), '_shutdown_workers', None)
        if end is not None:
            end()


def is_running(loop: Any, frame: FrameType | None) -> bool:
    """Whether a method of a loop is being executed in a thread.

    Args:
        loop: the loop.
        frame: where the thread is.
    """
    while frame is not None:
        if frame.f_locals.get('self') is loop:
            return True
        frame = frame.f_back
    return False


def name_of(number: int) -> str:
    """The name of a signal."""
    return signal.Signals(number).name
