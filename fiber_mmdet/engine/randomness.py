"""Random numbers that depend on the position in a training alone, not on its interruptions."""

import random
from typing import Any

import numpy as np
import torch
from mmdet.registry import HOOKS
from mmengine.hooks import Hook
from mmengine.runner import IterBasedTrainLoop, Runner
from torch.utils.data import BatchSampler, DataLoader, get_worker_info

MODEL, DATA = 0, 1  # streams of random numbers


def seed_process(*key: int) -> None:
    """Seed ``random``, numpy and torch (all devices) of this process.

    Args:
        *key: numbers >= 0; different keys give unrelated random numbers.
    """
    words = [int(word) for word in np.random.SeedSequence(key).generate_state(4)]
    random.seed(words[0])
    np.random.seed(words[1])
    torch.manual_seed(words[2] << 32 | words[3])


class BatchSeeds:
    """Seeding of a data loader's workers by the number of each batch in the training.

    Replaces ``collate_fn`` and ``worker_init_fn``, which run
    in the workers. torch gives batch i of a pass to worker ``i % num_workers``, so
    each worker knows the number of its next batch.

    Args:
        loader: the data loader.
        seed: seed of the training.
        rank: rank of the process that owns the loader.
        endless: the sampler never ends, so the batch counter never restarts.
    """

    def __init__(self, loader: DataLoader, seed: int, rank: int, endless: bool) -> None:
        self.collate_fn = loader.collate_fn
        self.worker_init_fn = loader.worker_init_fn
        self.key: tuple[int, ...] = (seed, rank, DATA)
        self.per_pass: int | None = None if endless else len(loader)
        self.first = 0  # number of the first batch that new workers load
        # mix the pass number into the seed, when several passes start at the same batch
        self.salted = False

    def start_worker(self, worker: int) -> None:
        """Prepare this worker; serves as the loader's ``worker_init_fn``."""
        if self.worker_init_fn is not None:
            self.worker_init_fn(worker)
        info = get_worker_info()
        assert info is not None  # only called in workers
        self.worker, self.stride, self.loaded = worker, info.num_workers, 0
        if self.salted:  # the same for all workers of a pass
            self.key = (*self.key, info.seed - worker)
        self._seed()

    def __call__(self, samples: list) -> Any:
        """Collate a batch, then seed for the next; serves as the loader's ``collate_fn``."""
        batch = self.collate_fn(samples)
        self.loaded += 1
        self._seed()
        return batch

    def _seed(self) -> None:
        passed, index = 0, self.loaded
        if self.per_pass is not None:
            share = max(len(range(self.worker, self.per_pass, self.stride)), 1)
            passed, index = divmod(self.loaded, share)
        number = self.first + passed * (self.per_pass or 0) + self.worker + index * self.stride
        seed_process(*self.key, number)


@HOOKS.register_module()
class SeedEveryIterHook(Hook):
    """Random numbers as a function of seed, rank and iteration, repeated by a resumed training.

    Without this hook, dropout depends on the state of a generator that checkpoints
    do not contain, data workers repeat their augmentations every epoch
    (mmengine starts them with the same seed each time), and the state of persistent
    workers cannot be restored. With it,

    - the model draws the same numbers in an iteration, resumed or not, and
      different ones on each rank;
    - samples are loaded with the same numbers, for any number of workers,
      persistent or not, in epoch- and iteration-based loops.

    For equal losses after resuming, the order of samples must be equal as well: this requires the
    seed of the config (``randomness.seed``), a sampler that mmengine can advance (or a stream, see
    :class:`StreamPositionHook`), and in an
    epoch-based loop checkpoints at the ends of epochs or ``ResumableEpochBasedTrainLoop``. An
    ``InfiniteSampler`` is advanced without loading anything; with other samplers
    and workers an iteration-based loop loads and discards the samples before
    (unless ``train_cfg.fast_forward_on_resume=True`` gives up the order).
    """

    priority = 'LOWEST'

    def __init__(self) -> None:
        self.seeds: BatchSeeds | None = None

    def before_train(self, runner: Runner) -> None:
        """Make workers seed themselves."""
        loader = runner.train_loop.dataloader
        self.by_iter = isinstance(runner.train_loop, IterBasedTrainLoop)
        # base seeds of workers are drawn from it instead of the model's generator
        loader.generator = torch.Generator()
        self.seeds = None
        if loader.num_workers > 0:
            self.seeds = BatchSeeds(loader, runner.seed, runner.rank, endless=self.by_iter)
            loader.collate_fn, loader.worker_init_fn = self.seeds, self.seeds.start_worker

    def before_train_epoch(self, runner: Runner) -> None:
        """Set the number of the loader's first batch."""
        loop = runner.train_loop
        loop.dataloader.generator.manual_seed(runner.seed)
        if self.seeds is not None:
            self.seeds.first = runner.iter
            if self.by_iter and not skips(loop):
                self.seeds.first = 0  # all samples are loaded again
                self.seeds.salted = True
        self._seed_data(runner, runner.iter)

    def before_train_iter(self, runner: Runner, batch_idx: int, data_batch=None) -> None:
        """Seed the model."""
        seed_process(runner.seed, runner.rank, MODEL, runner.iter)

    def after_train_iter(
        self, runner: Runner, batch_idx: int, data_batch=None, outputs=None
    ) -> None:
        """Seed for the next batch."""
        self._seed_data(runner, runner.iter + 1)

    def after_val(self, runner: Runner) -> None:
        """Seed for the next batch again after a validation has drawn numbers."""
        if hasattr(self, 'by_iter'):  # validation within a training
            self._seed_data(runner, runner.iter)

    def _seed_data(self, runner: Runner, number: int) -> None:
        """Seed the loading of batch ``number`` if this process itself loads it."""
        if self.seeds is None:
            seed_process(runner.seed, runner.rank, DATA, number)


def skips(loop: IterBasedTrainLoop) -> bool:
    """Whether a resumed loop starts its loader where it stopped, and loads no earlier samples."""
    batches = loop.dataloader.batch_sampler
    return getattr(loop, 'fast_forward_on_resume', False) or (
        hasattr(loop.dataloader_iterator, 'skip_iter')
        and type(batches) is BatchSampler
        and hasattr(batches.sampler, 'skip')
    )
