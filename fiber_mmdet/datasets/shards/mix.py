"""Several image-text datasets in one endless stream, each with its share."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from mmdet.registry import DATASETS

from fiber_mmdet.arguments import strict_arguments

from ..dataset_tree import leaves
from .reading import Fault
from .streams import IndexedStream, Lane, State, Stream, StreamedDataset, digest

CHOICE = 3  # what random numbers are for
DRAWN = 4096  # choices that are drawn together


@DATASETS.register_module()
@strict_arguments
class WeightedMixDataset(StreamedDataset):
    """Image-text datasets, each sample from a random one of them: shards, and sets with an index.

    Of 1000 samples, a dataset with weight 3 has about three times as many as one with weight 1,
    however large they are. Each is read in its own order: all of it, then again, shuffled anew.
    Which dataset is next is a function of the seed and the number of the sample, so that a resumed
    training goes on with the samples that come next. Batches hold samples of several datasets;
    where these do not fit into one batch, use ``OneSourcePerBatchSampler``.

    Args:
        datasets: configs of :class:`WebImageTextDataset` and of datasets with an index, such as
            ``KarpathyCaptionDataset`` or a ``ConcatDataset``, each with its pipeline.
        weights: of each, in any unit.

    Raises:
        TypeError: an unknown argument.
        ValueError: not one weight above 0 for each, or a dataset without samples.
    """

    def __init__(self, datasets: Sequence[Any], weights: Sequence[float]) -> None:
        super().__init__()
        if not datasets or len(datasets) != len(weights) or not all(w > 0 for w in weights):
            raise ValueError(
                f'WeightedMixDataset: weights={list(weights)} must have a number above 0 for each '
                f'of the {len(datasets)} datasets'
            )
        self.datasets = [
            DATASETS.build(one) if isinstance(one, Mapping) else one for one in datasets
        ]
        for number, dataset in enumerate(self.datasets):
            if hasattr(dataset, 'full_init'):
                dataset.full_init()
            if not isinstance(dataset, StreamedDataset) and not len(dataset):
                raise ValueError(f'WeightedMixDataset: datasets[{number}] has no sample')
        self.shares = np.asarray(weights, dtype=float) / sum(weights)

    def fingerprint(self) -> str:
        """Of all datasets and their weights."""
        parts = [
            one.fingerprint() if isinstance(one, StreamedDataset) else len(one)
            for one in self.datasets
        ]
        return digest(parts, self.shares.tolist())

    def size_said(self) -> str:
        """What each dataset has."""
        sizes = (
            one.size_said() if isinstance(one, StreamedDataset) else f'{len(one)} samples'
            for one in self.datasets
        )
        return ', '.join(
            f'{share:.0%} from {size}' for share, size in zip(self.shares.tolist(), sizes)
        )

    def remarks(self, streams: int) -> Iterator[str]:
        """See :class:`StreamedDataset`."""
        for one in self.datasets:
            if isinstance(one, StreamedDataset):
                yield from one.remarks(streams)

    def most_texts(self, tasks: Sequence[str] | None = None) -> int:
        """See ``ImageTextDataset``."""
        inside = [one for part in self.datasets for one in leaves(part)]
        return max(
            (one.most_texts(tasks) for one in inside if hasattr(one, 'most_texts')), default=1
        )

    def open_stream(self, lane: Lane, state: State | None) -> 'MixedStream':
        """See :class:`StreamedDataset`."""
        return MixedStream(self, lane, state)

    def go_on(self, states: Sequence[State], lane: Lane) -> State:
        """See :class:`StreamedDataset`."""
        parts = [
            (one if isinstance(one, StreamedDataset) else IndexedStream).go_on(
                [state['parts'][i] for state in states], lane
            )
            for i, one in enumerate(self.datasets)
        ]
        return dict(drawn=max(state['drawn'] for state in states), parts=parts)


class MixedStream:
    """A stream of a :class:`WeightedMixDataset`.

    Args:
        mix: the dataset.
        lane: which stream.
        state: where it is; None for its beginning.
    """

    def __init__(self, mix: WeightedMixDataset, lane: Lane, state: State | None) -> None:
        self.lane, self.shares = lane, mix.shares
        self._drawn = 0 if state is None else state['drawn']
        states = [None] * len(mix.datasets) if state is None else state['parts']
        self._streams: list[Stream] = [
            one.open_stream(lane.within(i), part)
            if isinstance(one, StreamedDataset)
            else IndexedStream(one, lane.within(i), part)
            for i, (one, part) in enumerate(zip(mix.datasets, states))
        ]
        self._block = -1
        self._choices: np.ndarray = np.zeros(0, dtype=int)

    def __iter__(self) -> Iterator[Any]:
        return self

    def __next__(self) -> Any:
        block, index = divmod(self._drawn, DRAWN)
        if block != self._block:
            random = np.random.default_rng((CHOICE, *self.lane.seed, self.lane.number, block))
            self._choices = random.choice(len(self.shares), DRAWN, p=self.shares)
            self._block = block
        self._drawn += 1
        return next(self._streams[self._choices[index]])

    def state(self) -> State:
        """How many samples it has had, and the state of each of its streams."""
        return dict(drawn=self._drawn, parts=[stream.state() for stream in self._streams])

    def take_faults(self) -> list[Fault]:
        """What was left out since the last call."""
        return [fault for stream in self._streams for fault in stream.take_faults()]
