"""Epochs that a resumed training continues where they were interrupted."""

from collections.abc import Iterable, Iterator
from itertools import islice
from typing import Any

from mmdet.registry import LOOPS
from mmengine.hooks import Hook
from mmengine.runner import EpochBasedTrainLoop
from torch.utils.data import DataLoader, IterableDataset

from .start import is_count

BATCHES = 'batches_of_epoch'  # key of a checkpoint's meta: those done and those of an epoch


@LOOPS.register_module()
class ResumableEpochBasedTrainLoop(EpochBasedTrainLoop):
    """mmengine's ``EpochBasedTrainLoop``, which can go on within an epoch.

    Differs from mmengine's, with the same arguments: a checkpoint that was written within an epoch
    says how many of its batches were done, and a training that is resumed from it loads and trains
    on the others only. mmengine's repeats the whole epoch, and counts its iterations twice. After a
    change of batch size or number of processes, the same share of the epoch is skipped.
    """

    def __init__(self, runner: Any, *args: Any, **kwargs: Any) -> None:
        super().__init__(runner, *args, **kwargs)
        self.done = 0  # batches of the next epoch that were trained on before a resume
        self.epoch_start = 0  # iteration with which the running epoch began
        runner.register_hook(_EpochPosition(), 'LOWEST')

    def run_epoch(self) -> None:
        """Iterate one epoch, or the rest of one."""
        done, self.done = self.done, 0
        self.epoch_start = self._iter - done
        if done == 0:
            super().run_epoch()
        else:
            self.runner.logger.info(
                f'Epoch {self._epoch + 1} goes on after {done} of {len(self.dataloader)} batches'
            )
            self.runner.call_hook('before_train_epoch')
            self.runner.model.train()
            for number, batch in enumerate(rest_of(self.dataloader, done), start=done):
                self.run_iter(number, batch)
            self.runner.call_hook('after_train_epoch')
            self._epoch += 1
        self.epoch_start = self._iter


class _EpochPosition(Hook):
    """Writes into checkpoints, and reads from them, how far an epoch has come."""

    def before_save_checkpoint(self, runner: Any, checkpoint: dict) -> None:
        meta, loop = checkpoint['meta'], runner.train_loop
        if meta['epoch'] == loop.epoch and meta['iter'] > loop.epoch_start:
            meta[BATCHES] = [meta['iter'] - loop.epoch_start, len(loop.dataloader)]

    def after_load_checkpoint(self, runner: Any, checkpoint: dict) -> None:
        loop = runner.train_loop
        loop.done = 0
        if runner._resume:
            position = checkpoint.get('meta', {}).get(BATCHES)
            loop.done = batches_done(position, len(loop.dataloader))


def batches_done(position: Any, batches: int) -> int:
    """Batches of an epoch that a checkpoint's training has done, of as many as there are now.

    Args:
        position: what the checkpoint says; anything, if it is a stranger's.
        batches: of an epoch.
    """
    if not isinstance(position, list) or len(position) != 2 or not all(map(is_count, position)):
        return 0
    done, total = position
    return min(round(done * batches / total), batches) if total else 0


def rest_of(loader: DataLoader, done: int) -> Iterable:
    """The batches of one pass of a loader, but for the first ones, which are not loaded.

    Args:
        loader: the loader.
        done: how many batches to leave out.
    """
    if loader.batch_sampler is None or isinstance(loader.dataset, IterableDataset):
        return islice(loader, done, None)  # nobody knows what is in a batch without loading it
    rest: Iterator[list] = islice(iter(loader.batch_sampler), done, None)
    workers: dict[str, Any] = {}
    if loader.num_workers:
        workers = dict(
            prefetch_factor=loader.prefetch_factor,
            multiprocessing_context=loader.multiprocessing_context,
            timeout=loader.timeout,
        )
    return DataLoader(
        loader.dataset,
        batch_sampler=list(rest),
        num_workers=loader.num_workers,
        collate_fn=loader.collate_fn,
        pin_memory=loader.pin_memory,
        worker_init_fn=loader.worker_init_fn,
        generator=loader.generator,
        **workers,
    )
