"""Endless streams of samples: who reads what, in which order, and how far it has come.

A dataset that is read from beginning to end has no index by which samples could be dealt out. So
every data worker of every process reads a stream of its own. The order of a stream is a function of
the seed and of a few numbers, its *state*; who has the state of a stream goes on where it was.
"""

import hashlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Protocol, TypeVar

import numpy as np
from mmengine.dist import get_rank, get_world_size
from torch.utils.data import IterableDataset, get_worker_info

from .reading import Fault

T = TypeVar('T')
State = dict[str, Any]  # plain numbers, lists and dictionaries
ENDLESS = 2**62
ORDER, BLOCK = 1, 2  # what random numbers are for
LEAST = 1000  # samples, of which the share of broken ones is not taken seriously before
LEAST_SHARDS = 2  # shards that may be broken, whatever their share


class BrokenDataError(ValueError):
    """Too much of the data is broken to go on; the message says what.

    torch's workers hand an error on with their traceback before its message, which is cut off.
    """

    def __init__(self, message: str) -> None:
        super().__init__(message.rpartition('BrokenDataError: ')[2].strip())


class Stream(Protocol):
    """An endless iterator of samples that can say where it is."""

    def __iter__(self) -> Iterator[Any]: ...

    def __next__(self) -> Any: ...

    def state(self) -> State:
        """Where it is, after the sample that it returned last."""

    def take_faults(self) -> list[Fault]:
        """What was left out since the last call."""


@dataclass(frozen=True)
class Lane:
    """Which stream of a dataset.

    Attributes:
        number: of the stream, from 0.
        count: streams of all workers of all processes.
        seed: of the training, and what tells datasets apart.
    """

    number: int
    count: int
    seed: tuple[int, ...]

    def within(self, part: int) -> 'Lane':
        """The stream of a part of the dataset."""
        return replace(self, seed=(*self.seed, part))

    def at(self, number: int) -> 'Lane':
        """Another stream of the same."""
        return replace(self, number=number)


class EndlessOrder:
    """The numbers from 0 to ``size`` - 1, for ever, in a new random order each time.

    Position p is the (p mod size)-th number of pass p // size. Streams divide the positions: number
    n of c has n, n + c, n + 2c, …, so that each number is once in every pass, in one stream.

    Args:
        size: how many.
        seed: of the order.
        shuffle: whether it is random.
    """

    def __init__(self, size: int, seed: Sequence[int], shuffle: bool = True) -> None:
        self.size, self.seed, self.shuffle = size, tuple(seed), shuffle
        self._pass = -1
        self._order: np.ndarray = np.arange(size)

    def __getitem__(self, position: int) -> int:
        number, index = divmod(position, self.size)
        if self.shuffle and number != self._pass:
            self._order = np.random.default_rng((ORDER, *self.seed, number)).permutation(self.size)
            self._pass = number
        return int(self._order[index])


class ShuffledBlocks(Iterator[T]):
    """A shuffle with a buffer whose order can be repeated from any point.

    What comes is shuffled in blocks, which end with a pass; while one is handed out, the next is
    read, one for each, so that there are never many more than ``size`` in memory. (webdataset's
    ``shuffle`` draws from a buffer that holds some of all that came before: to repeat it,
    everything would have to be read again.)

    Args:
        source: what is shuffled, each with its place, from a place on; endless.
        size: of a block, at most.
        seed: of the order.
        start: place of the first of a block.
        used: how many of that block were handed out before.
        together: whether two places may be in one block.
    """

    def __init__(
        self,
        source: Callable[[Any], Iterator[tuple[Any, T]]],
        size: int,
        seed: Sequence[int],
        start: tuple[int, ...],
        used: int,
        together: Callable[[Any, Any], bool],
    ) -> None:
        self.size, self.seed, self.together = size, tuple(seed), together
        self._source = source(start)
        self._after: tuple[Any, T] | None = None  # what was read and is not in the next block
        self._begin([])
        self.used = used
        for index in self._order[:used]:
            self._block[index] = None
        self._next: list[Any] = []
        self._fill(self._next, used)

    def __next__(self) -> T:
        if self.used == len(self._block):
            self._begin(self._next)
            self._next = []
        index = self._order[self.used]
        _, found = self._block[index]
        self._block[index] = None
        self._fill(self._next, 1)
        self.used += 1
        return found

    def _begin(self, block: list[Any]) -> None:
        """Begin with a block, of which some may have been read."""
        self._fill(block, self.size)
        self._block, self.start, self.used = block, block[0][0], 0
        random = np.random.default_rng((BLOCK, *self.seed, *self.start))
        self._order = random.permutation(len(block))

    def _fill(self, block: list[Any], count: int) -> None:
        """Read up to ``count`` more into a block, as long as they belong into it."""
        for _ in range(min(count, self.size - len(block))):
            found = next(self._source) if self._after is None else self._after
            self._after = None
            if block and not self.together(block[0][0], found[0]):
                self._after = found
                return
            block.append(found)


class IndexedStream:
    """A stream of a dataset whose samples are found by index.

    Args:
        dataset: with ``__len__`` and ``__getitem__``.
        lane: which stream.
        state: where it is; None for its beginning.
    """

    def __init__(self, dataset: Any, lane: Lane, state: State | None = None) -> None:
        self.dataset, self._step = dataset, lane.count
        self._order = EndlessOrder(len(dataset), lane.seed)
        self._at = lane.number if state is None else state['at']

    def __iter__(self) -> 'IndexedStream':
        return self

    def __next__(self) -> Any:
        index = self._order[self._at]
        self._at += self._step
        return self.dataset[index]

    def state(self) -> State:
        """The position of the next sample."""
        return dict(at=self._at)

    def take_faults(self) -> list[Fault]:
        """None: such datasets have rules of their own."""
        return []

    @staticmethod
    def go_on(states: Sequence[State], lane: Lane) -> State:
        """See :meth:`StreamedDataset.go_on`."""
        return dict(at=max(state['at'] for state in states) + lane.number)


@dataclass
class Progress:
    """What a batch of a stream brings along.

    Attributes:
        stream: number of the stream.
        state: of the stream after it.
        faults: what was left out since the batch before.
    """

    stream: int
    state: State
    faults: list[Fault] = field(default_factory=list)


class StreamedDataset(IterableDataset):
    """Base of datasets that are read from beginning to end, over and over, for training.

    A data loader reads it without a sampler, in a loop of iterations. Batch i of a process comes
    from stream i mod n of its n workers, as torch asks them in turn. Without ``BriefRunner``, which
    ``tools/train.py`` uses, the seed is 0 and a resumed training begins anew.

    Subclasses implement :meth:`open_stream` and :meth:`fingerprint`, and are endless.
    """

    metainfo: dict = {}

    def __init__(self) -> None:
        super().__init__()
        self.process, self.processes = get_rank(), get_world_size()
        self.seed = self._first = 0
        self._states: Mapping[int, State | None] = {}
        self._running: tuple[int, Stream] | None = None

    def open_stream(self, lane: Lane, state: State | None) -> Stream:
        """A stream.

        Args:
            lane: which one.
            state: where it goes on; None for its beginning.
        """
        raise NotImplementedError

    def fingerprint(self) -> str:
        """What a state belongs to: equal if the samples and their order are."""
        raise NotImplementedError

    def go_on(self, states: Sequence[State], lane: Lane) -> State:
        """The state of a stream after a change of the number of streams.

        Nothing that was used is used again in the running pass; what the streams had begun to read
        is left.

        Args:
            states: of all streams before.
            lane: which one, of the streams that there are now.
        """
        raise NotImplementedError

    def size_said(self) -> str:
        """What there is, in a few words."""
        raise NotImplementedError

    def remarks(self, streams: int) -> Iterator[str]:
        """What is worth a warning before a training.

        Args:
            streams: how many there are.
        """
        yield from ()

    def most_texts(self, tasks: Sequence[str] | None = None) -> int:
        """The largest number of texts that an image of a batch has; see ``ImageTextDataset``."""
        return 1

    def __len__(self) -> int:
        """A number that is never reached: mmengine asks loaders how many batches they have."""
        return ENDLESS

    # ------------------------------------------------------------------ reading
    def lane(self, worker: int, workers: int) -> Lane:
        """The stream of a worker of this process.

        Args:
            worker: its number.
            workers: how many this process has.
        """
        number = self.process + self.processes * worker
        return Lane(number, self.processes * workers, (self.seed,))

    def begin_after(self, batches: int, states: Mapping[int, State | None]) -> None:
        """Begin later, when iteration begins next.

        Args:
            batches: of this process that were used before.
            states: of its streams after them; those that are not here begin at their beginning.
        """
        self._first, self._states = batches, states

    def __iter__(self) -> Iterator[Any]:
        info = get_worker_info()
        worker, workers = (info.id, info.num_workers) if info else (0, 1)
        # new workers are asked in turn from 0 on, whoever would be the next
        worker = (self._first + worker) % workers
        lane = self.lane(worker, workers)
        stream = self.open_stream(lane, self._states.get(lane.number))
        self._running = lane.number, stream
        yield from stream

    def progress(self) -> Progress:
        """Where the stream is that this process, or worker, reads."""
        assert self._running is not None
        number, stream = self._running
        return Progress(number, stream.state(), stream.take_faults())


def digest(*parts: Any) -> str:
    """A short text that is equal for equal parts.

    Args:
        *parts: plain values.
    """
    return hashlib.sha256(repr(parts).encode()).hexdigest()[:16]


def refuse_too_many(
    faults: int, samples: int, broken_shards: int, shards: int, limit: float, last: Fault
) -> None:
    """End a training whose data are broken.

    Args:
        faults: broken samples of a stream.
        samples: all of them.
        broken_shards: shards that could not be read to their end.
        shards: all that were begun.
        limit: the share that is tolerated.
        last: the last fault.

    Raises:
        BrokenDataError: there are more.
    """
    too_many = faults > limit * max(samples, LEAST)
    least = LEAST_SHARDS if limit else 0
    if too_many or broken_shards > max(limit * shards, least):
        raise BrokenDataError(
            f'{faults} of {samples} samples and {broken_shards} of {shards} shards that a data '
            f'worker has read are broken, more than max_broken={limit:g} of them; the last one: '
            f'{last}. Mend the shards, name others, or raise max_broken'
        )
