"""Checkpoints that are whole, or not there; the old one goes when the new one is on the disk."""

import hashlib
import os
import pickle
import re
import shutil
import weakref
from collections import deque
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from mmdet.registry import HOOKS
from mmengine.dist import barrier, broadcast_object_list, is_main_process, master_only
from mmengine.fileio import HardDiskBackend, LocalBackend
from mmengine.hooks import CheckpointHook
from mmengine.runner import FlexibleRunner, save_checkpoint
from mmengine.runner.checkpoint import _load_checkpoint

from fiber_mmdet.whole_files import part_of, put_in_place, remove_leftovers, replacing

from .restarts import patience
from .start import POINTER, folder_of, is_count
from .work_dir_lock import lock_for_training, unlock

INTERRUPTED = 'interrupted_iter_{}.pth'
OF_INTERRUPTION = re.compile(r'interrupted_iter_\d+\.pth')


@HOOKS.register_module()
class WholeCheckpointHook(CheckpointHook):
    """mmengine's ``CheckpointHook``, from which a kill or a full disk takes nothing.

    Differs from mmengine's, with the same arguments:

    - A checkpoint (also the best one, and ``last_checkpoint``) is written under a temporary name in
      its folder, and takes its own name when it is on the disk. mmengine writes in place.
    - Outdated checkpoints are removed after that, not before, so that the disk needs room for one
      more than ``max_keep_ckpts``. A full disk ends the training with an error, and what was there
      stays. What a killed training could not remove is removed when it is resumed.
    - A checkpoint may also be written between two of the interval, see :meth:`save_between`.
    - One training at a time writes into a work directory; another one is refused.
    - Only files of this training are removed. mmengine removes whatever path the checkpoint that
      was resumed from calls its best weights, which are another training's if the work directory
      changed, and any file if the checkpoint is a stranger's.

    Files of remote backends are written by the backend.
    """

    # mmengine's attributes, which it does not annotate
    file_backend: Any
    keep_ckpt_ids: Any
    best_ckpt_path: Any

    def before_train(self, runner: Any) -> None:
        """Lock the folders, remove what killed trainings left, find this training's files.

        Raises:
            WorkDirInUseError: another training writes into one of the folders.
        """
        info = runner.message_hub.runtime_info
        if 'keep_ckpt_ids' in info:
            steps = info['keep_ckpt_ids']
            steps = [step for step in steps if is_count(step)] if isinstance(steps, list) else []
            runner.message_hub.update_info('keep_ckpt_ids', steps)
        # as mmengine will: before it removes anything there
        out_dir = folder_of(self.out_dir, runner.work_dir)
        locks = lock_for_training(
            {str(runner.work_dir), str(out_dir or runner.work_dir)}, patience()
        )
        # also when a training ends with an error, and its process goes on
        self._unlock = weakref.finalize(self, unlock, *locks)
        super().before_train(runner)
        kinds = (LocalBackend, HardDiskBackend)
        self._local = isinstance(getattr(self.file_backend, 'client', self.file_backend), kinds)
        token = [os.getpid()]
        broadcast_object_list(token)
        self._token = token[0]
        if self._local and is_main_process():
            for part in remove_leftovers(self.out_dir):
                runner.logger.info(f'Removed {part}, which was not written to its end')
        if getattr(self, 'best_ckpt_path', None) and not self._is_own(self.best_ckpt_path):
            self.best_ckpt_path = None
        for key, path in getattr(self, 'best_ckpt_path_dict', {}).items():
            if path and not self._is_own(path):
                self.best_ckpt_path_dict[key] = None

    def after_train(self, runner: Any) -> None:
        """Publish weights, if that is wanted, and unlock the folders."""
        super().after_train(runner)
        self._unlock()

    def _is_own(self, path: Any) -> bool:
        """Whether a path names best weights in this training's folder."""
        if not isinstance(path, str):
            return False
        if not self._local:
            return path.startswith(str(self.out_dir))
        return Path(path).name.startswith('best_') and (
            Path(path).resolve().parent == Path(self.out_dir).resolve()
        )

    def _save_checkpoint_with_step(self, runner: Any, step: int, meta: dict) -> None:
        outdated: list[int] = []
        kept: list[int] = []
        if self.max_keep_ckpts > 0:
            steps = [*(one for one in self.keep_ckpt_ids if one != step), step]
            outdated, kept = steps[: -self.max_keep_ckpts], steps[-self.max_keep_ckpts :]
            # those to be removed, too: if there is no time for it, the resumed training does it
            runner.message_hub.update_info('keep_ckpt_ids', steps)
        name = self.filename_tmpl.format(step)
        self.last_ckpt = self.file_backend.join_path(self.out_dir, name)
        runner.message_hub.update_info('last_ckpt', self.last_ckpt)
        self._write_all(runner, name, meta, by_epoch=self.by_epoch)
        self._point_to(runner, self.last_ckpt)
        if self.max_keep_ckpts > 0:
            self.keep_ckpt_ids = deque(kept, self.max_keep_ckpts)
            runner.message_hub.update_info('keep_ckpt_ids', kept)
        if is_main_process():
            for one in outdated:
                self._remove(
                    self.file_backend.join_path(self.out_dir, self.filename_tmpl.format(one))
                )
        self._replace_interruption(runner, None)

    def save_between(self, runner: Any, done: int) -> str:
        """Write a checkpoint of a training that is interrupted.

        Where checkpoints are those of iterations, it is one of them. Where they are those of
        epochs, it is ``interrupted_iter_N.pth``, which the next checkpoint of an epoch replaces.

        Args:
            runner: mmengine's Runner or FlexibleRunner.
            done: iterations that are finished.

        Returns:
            Its path.

        Raises:
            OSError: the checkpoint cannot be written; those that are there are unchanged.
        """
        meta = dict(epoch=runner.epoch, iter=done)
        if not self.by_epoch:
            self._save_checkpoint_with_step(runner, done, meta=meta)
            return str(self.last_ckpt)
        name = INTERRUPTED.format(done)
        path = self.file_backend.join_path(self.out_dir, name)
        before = runner.message_hub.runtime_info.get('interrupted_ckpt')
        runner.message_hub.update_info('interrupted_ckpt', name)
        self._write_all(runner, name, meta, by_epoch=False)
        self._point_to(runner, path)
        self._replace_interruption(runner, name, before)
        return str(path)

    def _write_all(self, runner: Any, name: str, meta: dict, by_epoch: bool) -> None:
        """Write a checkpoint with all that the hook's arguments ask for."""
        self.write(
            runner,
            name,
            file_client_args=self.file_client_args,
            save_optimizer=self.save_optimizer,
            save_param_scheduler=self.save_param_scheduler,
            meta=meta,
            by_epoch=by_epoch,
            backend_args=self.backend_args,
            **self.args,
        )

    def _point_to(self, runner: Any, path: Any) -> None:
        """Write ``last_checkpoint``."""
        if is_main_process():
            with replacing(Path(runner.work_dir) / POINTER) as part:
                part.write_text(str(path))

    def _replace_interruption(self, runner: Any, new: str | None, old: Any = None) -> None:
        """Remove the checkpoint of an interruption that another one has replaced."""
        if new is None:
            old = runner.message_hub.runtime_info.get('interrupted_ckpt')
            runner.message_hub.update_info('interrupted_ckpt', '')
        if old != new and isinstance(old, str) and OF_INTERRUPTION.fullmatch(old):
            if is_main_process():
                self._remove(self.file_backend.join_path(self.out_dir, old))

    def _save_best_checkpoint(self, runner: Any, metrics: dict) -> None:
        backend = self.file_backend
        later = _RemovesLater(backend)
        self.file_backend = later
        try:
            super()._save_best_checkpoint(_WholeSaves(runner, self), metrics)
        finally:
            self.file_backend = backend
        best = {getattr(self, 'best_ckpt_path', None)}
        later.carry_out(best.union(getattr(self, 'best_ckpt_path_dict', {}).values()))

    def write(self, runner: Any, name: str, **options: Any) -> None:
        """Let the runner write a checkpoint, whole or not at all.

        Args:
            runner: mmengine's Runner or FlexibleRunner.
            name: of the file.
            **options: of the runner's ``save_checkpoint``.

        Raises:
            OSError: the checkpoint cannot be written; those that are there are unchanged.
        """
        if isinstance(runner, _WholeSaves):
            runner = runner.runner
        runner.call_hook('before_write_checkpoint')  # in all processes
        if not self._local:
            runner.save_checkpoint(self.out_dir, name, **options)
            return
        target = Path(self.out_dir) / name
        part = part_of(target, self._token)
        with _named(target, part):
            runner.save_checkpoint(self.out_dir, part.name, **options)
            if isinstance(runner, FlexibleRunner):
                barrier()  # each process may write a file of its own
            if is_main_process():
                put_in_place(part, target)

    def _remove(self, path: str) -> None:
        if self.file_backend.isfile(path):
            self.file_backend.remove(path)
        elif self.file_backend.isdir(path):
            self.file_backend.rmtree(path)

    @master_only
    def _publish_model(self, runner: Any, ckpt_path: str) -> None:
        checkpoint = _load_checkpoint(ckpt_path)
        published = {key: checkpoint[key] for key in checkpoint if key in self.published_keys}
        digest = hashlib.sha256(pickle.dumps(published)).hexdigest()
        path = str(Path(ckpt_path).with_suffix('')) + f'-{digest[:8]}.pth'
        if not self._local:
            save_checkpoint(published, path)
            return
        with replacing(path) as part:
            save_checkpoint(published, str(part))
        runner.logger.info(f'The checkpoint {ckpt_path} is published to {path}.')


class _RemovesLater:
    """A file backend whose removals wait."""

    def __init__(self, backend: Any) -> None:
        self._backend = backend
        self._waiting: list[tuple[Callable, str]] = []

    def __getattr__(self, name: str) -> Any:
        return getattr(self._backend, name)

    def remove(self, path: str) -> None:
        """Note a file to be removed."""
        self._waiting.append((self._backend.remove, path))

    def rmtree(self, path: str) -> None:
        """Note a folder to be removed."""
        self._waiting.append((self._backend.rmtree, path))

    def carry_out(self, kept: Collection[str | None]) -> None:
        """Remove what was noted, except the given paths."""
        for how, path in self._waiting:
            if path not in kept:
                how(path)


class _WholeSaves:
    """A runner whose checkpoints are written by a hook."""

    def __init__(self, runner: Any, hook: WholeCheckpointHook) -> None:
        self.runner, self._hook = runner, hook

    def __getattr__(self, name: str) -> Any:
        return getattr(self.runner, name)

    def save_checkpoint(self, out_dir: str, filename: str, **options: Any) -> None:
        """Write a checkpoint."""
        self._hook.write(self.runner, filename, **options)


@contextmanager
def _named(target: Path, part: Path) -> Iterator[None]:
    """Remove the part if writing fails, and say which file it was meant for."""
    try:
        yield
    except OSError as error:
        if is_main_process():
            shutil.rmtree(part, ignore_errors=True)
            part.unlink(missing_ok=True)
        raise OSError(
            error.errno,
            f'{target} cannot be written ({error.strerror or error}); the checkpoints that are '
            'there are unchanged',
        ) from error
