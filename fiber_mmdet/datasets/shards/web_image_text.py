"""Image-text pairs from shards, in the layout that img2dataset writes."""

import os.path as osp
from collections.abc import Generator, Iterator, Sequence
from contextlib import closing
from typing import Any

import numpy as np
from mmdet.registry import DATASETS
from mmengine.dataset import Compose

from fiber_mmdet.arguments import strict_arguments
from fiber_mmdet.images import ImageError

from ..file_arguments import FileArgument
from ..image_errors import ImageReadError
from ..texts_per_image import check_texts_per_image
from .entries import Entry, EntryReader
from .names import read_index, refuse_missing, shard_names
from .reading import Fault, count_samples, read_shard
from .streams import (
    EndlessOrder,
    Lane,
    ShuffledBlocks,
    State,
    StreamedDataset,
    digest,
    refuse_too_many,
)

Place = tuple[int, int, int]  # position of the shard, sample in it, entry of the sample


@DATASETS.register_module()
@strict_arguments
class WebImageTextDataset(StreamedDataset):
    """Images with captions from tar files, on the package webdataset (extra ``shards``).

    A sample of a shard is an image ``KEY.jpg`` (png, webp, …) with ``KEY.txt``, ``KEY.json`` or
    both. The samples of this dataset are those of :class:`ImageTextDataset`: the image as bytes
    (``img_bytes`` of its view), which ``LoadImageFromFile`` decodes by the same rules as files.
    ``image_id`` is that of the json file, or else the path ``SHARD/KEY.jpg``.

    Shards are read whole and in a new random order in each pass, each by one data worker; samples
    are shuffled among ``shuffle`` of them. The order is a function of the seed, and a resumed
    training goes on with the sample that comes next (:class:`StreamedDataset`).

    Samples without a readable image or caption, and shards that cannot be read to their end, are
    left out, counted, and named in the log; with too many the training stops.

    Args:
        shards: below ``data_root``: paths or addresses with braces (``cc3m/{00000..00331}.tar``),
            paths with wildcards, text files with one path or address in each line, or a list of
            these. Addresses are those that webdataset reads (http, https, gs, hf, …); ``pipe:``
            and a command reads what the command prints, and is refused in text files.
        data_root: folder of relative paths.
        pipeline: configs of transforms, as those of any image-text dataset.
        caption_field: of the json file, whose value is a caption or a list of captions; None for
            the txt file.
        texts_per_image: see :class:`ImageTextDataset`.
        shuffle: samples among which the next is chosen at random; each worker holds as many in
            memory, not decoded. 1 for none, which also leaves the order of the shards as it is.
        retries: of a shard that cannot be opened, or breaks off, after 1, 2, 4, … seconds.
        max_broken: share of broken samples, or shards, with which a training stops. Up to 1000
            samples, and for two shards, it does not count unless it is 0.
        index: file below ``data_root`` with the number of samples of each shard
            (:func:`~fiber_mmdet.datasets.shards.names.read_index`); None for ``index.json`` beside
            the shards, if it is there. With it, a shard that has fewer is noticed.
        outside_paths: allow paths in text files that leave their folder.

    Raises:
        MissingExtra: webdataset is not installed.
        TypeError: an unknown argument.
        FileNotFoundError: a file, or a local shard, is missing.
        ValueError: an address that cannot be read, a shard that is named twice, or a number that is
            none.
    """

    FILES = (FileArgument('shards', annotations=True, shards=True), FileArgument('index'))

    def __init__(
        self,
        shards: str | Sequence[str],
        data_root: str = '',
        pipeline: Sequence[Any] = (),
        caption_field: str | None = None,
        texts_per_image: int = 1,
        shuffle: int = 1000,
        retries: int = 3,
        max_broken: float = 0.1,
        index: str | None = None,
        outside_paths: bool = False,
    ) -> None:
        super().__init__()
        self.shards = shard_names(shards, data_root, outside_paths)
        refuse_missing(self.shards)
        self.texts_per_image = check_texts_per_image(texts_per_image, False)
        for name, value, low in (('shuffle', shuffle, 1), ('retries', retries, 0)):
            if isinstance(value, bool) or not isinstance(value, int) or value < low:
                raise ValueError(f'{name}={value!r} must be a whole number, {low} or more')
        if not 0 <= max_broken <= 1:
            raise ValueError(f'max_broken={max_broken!r} must be a share, 0 to 1')
        self.reader = EntryReader(caption_field, texts_per_image)
        self.shuffle, self.retries, self.max_broken = shuffle, retries, max_broken
        self.facts = read_index(self.shards, index and osp.join(data_root, index))
        self.pipeline = Compose(list(pipeline))
        self._ends: np.ndarray | None = None  # images up to the end of each shard

    def fingerprint(self) -> str:
        """Of the names of the shards, without their folders, and what the order depends on."""
        names = [name.rpartition('/')[2] for name in self.shards]
        return digest(names, self.reader, self.shuffle)

    def size_said(self) -> str:
        """Numbers of shards and samples."""
        count = f'{len(self.shards)} shard{"s" * (len(self.shards) != 1)}'
        samples = self.samples()
        return count if samples is None else f'{samples} images in {count}'

    def remarks(self, streams: int) -> Iterator[str]:
        """Fewer shards than data workers."""
        if len(self.shards) < streams:
            yield (
                f'{streams} data workers read {len(self.shards)} shards ({self.shards[0]}, …): '
                'some read the same shard at the same time, for passes that follow each other. '
                'Make more and smaller shards, or use fewer workers'
            )

    def samples(self) -> int | None:
        """Images in all shards; None if the index does not name them all."""
        if len(self.facts) < len(self.shards):
            return None
        return sum(facts.samples for facts in self.facts.values())

    def counts(self) -> list[int]:
        """Images of each shard; those that the index does not name are counted by their headers.

        Raises:
            OSError: such a shard cannot be read to its end.
        """
        return [
            self.facts[name].samples if name in self.facts else count_samples(name)
            for name in self.shards
        ]

    def prepare_data(self, index: int) -> Any:
        """Image ``index``, in the order of the shards, with its first captions.

        Returns:
            What the pipeline makes of it; None if it drops it.

        Raises:
            OSError: it is broken, or its shard is.
        """
        if self._ends is None:
            self._ends = np.cumsum(self.counts())
        shard = int(np.searchsorted(self._ends, index, side='right'))
        inside = index - (int(self._ends[shard - 1]) if shard else 0)
        with closing(self.entries(self.shards[shard], inside)) as entries:
            _, _, entry = next(entries)
        if isinstance(entry, Fault):
            raise OSError(str(entry))
        return self.prepare(entry)

    def most_texts(self, tasks: Sequence[str] | None = None) -> int:
        """See ``ImageTextDataset``."""
        return self.texts_per_image

    def open_stream(self, lane: Lane, state: State | None) -> 'ShardStream':
        """See :class:`StreamedDataset`."""
        return ShardStream(self, lane, state)

    def go_on(self, states: Sequence[State], lane: Lane) -> State:
        """See :class:`StreamedDataset`."""
        first = max(state['front'] for state in states) + 1 + lane.number
        return beginning(first)

    def entries(
        self, name: str, start: int = 0
    ) -> Generator[tuple[int, int, Entry | Fault], None, None]:
        """What is in a shard, from a sample on.

        Args:
            name: of the shard.
            start: samples that are read over.

        Yields:
            Number of the sample, number of the entry in it, the entry or what is wrong.
        """
        number, whole = start, True
        for sample in read_shard(name, start, self.retries):
            if isinstance(sample, Fault):
                whole = False
                yield number, 0, sample
                continue
            for part, entry in enumerate(self.reader.entries(sample)):
                yield number, part, entry
            number += 1
        facts = self.facts.get(name)
        if whole and facts is not None and number != facts.samples:
            reason = f'it has {number} samples, its index says {facts.samples}'
            yield number, 0, Fault(name, '', reason)

    def prepare(self, entry: Entry) -> Any:
        """An entry after the pipeline.

        Raises:
            ImageReadError: its image cannot be read.
        """
        return self.pipeline(entry.sample(self.texts_per_image > 1))


FRESH: State = dict(used=0, samples=0, faults=0, broken_shards=0)


def beginning(position: int) -> State:
    """The state of a stream that has read nothing.

    Args:
        position: of its first shard in the order of all.
    """
    return dict(FRESH, first=position, front=position, start=[position, 0, 0])


class ShardStream:
    """A stream of a :class:`WebImageTextDataset`.

    Its state holds the place where the running block of the shuffle begins, how many of the block
    are used, and what was counted: a resumed stream reads that block again, and nothing before.

    Args:
        dataset: the dataset.
        lane: which stream.
        state: where it is; None for its beginning.
    """

    def __init__(self, dataset: WebImageTextDataset, lane: Lane, state: State | None) -> None:
        self.dataset, self.lane = dataset, lane
        self._faults: list[Fault] = []
        state = beginning(lane.number) if state is None else dict(state)
        start, used = tuple(state.pop('start')), state.pop('used')
        self.counts: dict[str, int] = state
        shuffled = dataset.shuffle > 1
        self._order = EndlessOrder(len(dataset.shards), lane.seed, shuffled)
        self._blocks: ShuffledBlocks[Entry | Fault] = ShuffledBlocks(
            self._read, dataset.shuffle, lane.seed, start, used, self._same_pass
        )

    def __iter__(self) -> 'ShardStream':
        return self

    def __next__(self) -> Any:
        while True:
            entry = next(self._blocks)
            if entry.key:
                self.counts['samples'] += 1
            if isinstance(entry, Fault):
                self._count(entry)
                continue
            try:
                sample = self.dataset.prepare(entry)
                reason = 'the pipeline drops it'
            except (ImageError, ImageReadError) as error:
                sample, reason = None, _said(error)
            if sample is not None:
                return sample
            self._count(Fault(entry.shard, entry.key, reason))

    def state(self) -> State:
        """See :class:`~fiber_mmdet.datasets.shards.streams.Stream`."""
        return dict(self.counts, start=list(self._blocks.start), used=self._blocks.used)

    def take_faults(self) -> list[Fault]:
        """What was left out since the last call."""
        faults, self._faults = self._faults, []
        return faults

    def _read(self, start: Place) -> Iterator[tuple[Place, Entry | Fault]]:
        """Entries in the order of their files, for ever."""
        position, sample, part = start
        while True:
            name = self.dataset.shards[self._order[position]]
            self.counts['front'] = max(self.counts['front'], position)
            for at, piece, entry in self.dataset.entries(name, sample):
                if (at, piece) >= (sample, part):
                    yield (position, at, piece), entry
            position, sample, part = position + self.lane.count, 0, 0

    def _same_pass(self, one: Place, other: Place) -> bool:
        size = len(self.dataset.shards)
        return one[0] // size == other[0] // size

    def _count(self, fault: Fault) -> None:
        self._faults.append(fault)
        counts = self.counts
        if fault.key:
            counts['faults'] += 1
        else:
            counts['broken_shards'] += 1
        shards = (counts['front'] - counts['first']) // self.lane.count + 1
        refuse_too_many(
            counts['faults'],
            counts['samples'],
            counts['broken_shards'],
            shards,
            self.dataset.max_broken,
            fault,
        )


def _said(error: Exception) -> str:
    cause = error.__cause__ or error
    said = cause.reason if isinstance(cause, ImageError) else str(cause)
    return f'its image cannot be read ({" ".join(said.split())})'
