"""Batches that come from one of several datasets each."""

from collections.abc import Iterator, Sequence
from itertools import islice
from typing import Any

from mmdet.datasets.samplers import MultiSourceSampler
from mmdet.registry import DATA_SAMPLERS

from fiber_mmdet.arguments import strict_arguments


@DATA_SAMPLERS.register_module()
@strict_arguments
class OneSourcePerBatchSampler(MultiSourceSampler):
    """An endless sampler that fills each batch from one of the datasets of a ``ConcatDataset``.

    For datasets whose samples do not fit into one batch, such as questions about one image and
    statements about two. The next batch comes from the dataset that is furthest behind its share:
    with shares of 3 and 1, every fourth batch comes from the second one. That order is not random,
    and so all processes train on the same dataset in each step, as their heads require. Within a
    dataset, all samples are used before one is repeated, in a new random order each time.

    Differs from mmdet's ``MultiSourceSampler``, which mixes the datasets within each batch; and an
    interrupted training goes on with the samples that come next (``skip``), without loading those
    before.

    Args:
        dataset: a ``ConcatDataset``; given by the runner.
        batch_size: that of the dataloader.
        source_ratio: share of the batches that each dataset has, in any unit.
        shuffle: whether the order within the datasets is random.
        seed: of that order, the same in all processes; None for a random one.

    Raises:
        TypeError: an unknown argument.
        ValueError: not a ``ConcatDataset``, a ``batch_size`` that is none, shares that are not
            positive numbers, one for each dataset, or a dataset without samples.
    """

    def __init__(
        self,
        dataset: Any,
        batch_size: int,
        source_ratio: Sequence[float],
        shuffle: bool = True,
        seed: int | None = None,
    ) -> None:
        name = type(self).__name__
        if not hasattr(dataset, 'cumulative_sizes'):
            raise ValueError(f'{name} needs a ConcatDataset, not a {type(dataset).__name__}')
        if not isinstance(batch_size, int) or batch_size < 1:
            raise ValueError(f'{name}.batch_size={batch_size!r} must be a number of samples')
        count = len(dataset.datasets)
        if len(source_ratio) != count or not all(share > 0 for share in source_ratio):
            raise ValueError(
                f'{name}.source_ratio={list(source_ratio)} must have a share above 0 for each of '
                f'the {count} datasets'
            )
        empty = [i for i, part in enumerate(dataset.datasets) if not len(part)]
        if empty:
            raise ValueError(f'{name}: dataset {empty[0]} of the ConcatDataset has no sample')
        super().__init__(dataset, batch_size, list(source_ratio), shuffle, seed)
        self._first = 0  # batch with which the next iteration begins

    def __iter__(self) -> Iterator[int]:
        """Numbers of samples in the ``ConcatDataset``, for ever."""
        used = [0] * len(self.source_ratio)
        for _ in range(self._first):
            used[self._next_source(used)] += 1
        streams = [
            islice(self._indices_of_rank(len(part)), batches * self.batch_size, None)
            for part, batches in zip(self.dataset.datasets, used)
        ]
        while True:
            source = self._next_source(used)
            used[source] += 1
            for index in islice(streams[source], self.batch_size):
                yield self.cumulative_sizes[source] + index

    def skip(self, num_samples: int) -> None:
        """Begin later; see mmengine's ``InfiniteSampler.skip``.

        Args:
            num_samples: how many samples of this process were used before, whole batches.

        Raises:
            ValueError: not whole batches.
        """
        self._first, rest = divmod(num_samples, self.batch_size)
        if rest:
            raise ValueError(
                f'{type(self).__name__}.batch_size={self.batch_size} is not that of the '
                f'dataloader: {num_samples} samples are no whole batches. Set both to the same'
            )

    def _next_source(self, used: Sequence[int]) -> int:
        """The dataset that is furthest behind its share after so many batches of each."""
        turn = (sum(used) + 1) / sum(self.source_ratio)
        behind = [share * turn - count for share, count in zip(self.source_ratio, used)]
        return behind.index(max(behind))
