"""The worker: loads the model once, and makes a part of each block that it is given.

It is the same class in this process and as an actor of Ray.
"""

from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np

from fiber_mmdet.outputs import OutputError

from .attempts import attempts_at
from .blocks import BlockPlace, read_block
from .images_kept import keep_image
from .labellers import Labeller
from .parts import PartCount, PartLine, part_count, write_part
from .reading import READERS, BulkImage, images_of


class AllFailed(RuntimeError):
    """A model that says nothing about any image of a block: the fault is not of one image."""


@dataclass(frozen=True)
class Work:
    """What a worker has to know.

    Attributes:
        blocks: the list of blocks.
        parts: folder of the parts.
        load: loads what says something about images.
        expected: what its ``settings`` have to be.
        batch_size: images at a time.
        own_texts: whether each image has to have a text.
        images: folder where images of tables and shards are written, too; None for none.
        readers: threads that read and decode images.
    """

    blocks: Path
    parts: Path
    load: Callable[[], Labeller]
    expected: dict[str, Any] | None = None
    batch_size: int = 8
    own_texts: bool = False
    images: Path | None = None
    readers: int = READERS


class Worker:
    """Makes parts.

    Args:
        work: what to do.
        labeller: what :attr:`Work.load` gave, if it is there already.

    Raises:
        OutputError: this machine has other weights, or another version, than the one that started
            the job.
    """

    def __init__(self, work: Work, labeller: Labeller | None = None) -> None:
        self.work = work
        if labeller is None:
            labeller = work.load()
            found = labeller.settings()
            if work.expected is not None and found != work.expected:
                keys = {**found, **work.expected}
                differ = [key for key in keys if found.get(key) != work.expected.get(key)]
                raise OutputError(
                    f'this worker has another {", ".join(differ)} than the process that started '
                    'the job: give all machines the same files and the same version'
                )
        self.label = labeller

    def __call__(self, row: dict[str, Any]) -> dict[str, Any]:
        """Make the part of a block, unless it is there.

        Args:
            row: of a :class:`~.blocks.BlockPlace`.

        Returns:
            Of a :class:`~.parts.PartCount`.

        Raises:
            AllFailed: the model fails for every image of the block.
            OSError: no image can be read, or the part cannot be written.
        """
        place = BlockPlace(**{key: int(row[key]) for key in ('number', 'begin', 'length')})
        count = part_count(self.work.parts, place.number)
        if count is None:
            count = self._make(place)
        return asdict(count)

    def _make(self, place: BlockPlace) -> PartCount:
        work = self.work
        with attempts_at(work.parts, place.number) as attempts:
            size = 1 if attempts.again else work.batch_size
            images = images_of(
                read_block(work.blocks, place),
                work.own_texts,
                0 if attempts.again else 2 * size,
                work.readers,
                attempts.begin,
            )
            lines: list[PartLine] = []
            errors: list[Exception] = []
            unanswered: list[BulkImage] = []
            while batch := list(islice(images, size)):
                lines += self._lines(batch, errors)
                unanswered += [image for image in batch if image.no_answer]
        if len(unanswered) > 1 and len(unanswered) == len(lines):
            first = unanswered[0]
            raise OSError(f'no image of a block can be read, first {first.name}: {first.reason}')
        if len(errors) > 1 and all(line.reason for line in lines):
            said = ' '.join(str(errors[0]).split())
            raise AllFailed(
                f'the model fails for all images of a block, first: {type(errors[0]).__name__}: '
                f'{said}'
            ) from errors[0]
        return write_part(work.parts, place.number, lines)

    def _lines(self, batch: list[BulkImage], errors: list[Exception]) -> Iterator[PartLine]:
        """What is said about some images, in their order."""
        there = [(image, image.pixels) for image in batch if image.pixels is not None]
        # images of one size share a batch of the model if they follow each other
        there.sort(key=lambda one: one[1].shape)
        asked = self._ask([pixels for _, pixels in there], [image.text for image, _ in there])
        found = {id(image): records for (image, _), records in zip(there, asked)}
        for image in batch:
            records = found.get(id(image))
            if records is None:
                yield PartLine(image.name, [], image.reason)
            elif isinstance(records, Exception):
                errors.append(records)
                said = ' '.join(str(records).split()) or type(records).__name__
                yield PartLine(image.name, [], f'the model fails: {said}')
            else:
                yield self._kept(image, records)

    def _kept(self, image: BulkImage, records: list) -> PartLine:
        if self.work.images is not None and image.content is not None:
            try:
                keep_image(self.work.images, image.name, image.content)
            except ValueError as error:  # a name that leads elsewhere
                return PartLine(image.name, [], ' '.join(str(error).split()))
        return PartLine(image.name, records)

    def _ask(self, pixels: list[np.ndarray], texts: list[str | None]) -> list[Any]:
        """Records of images; if that fails, of each image, or the error of those that fail."""
        try:
            return self.label(pixels, texts) if pixels else []
        except (MemoryError, OSError):
            raise
        except Exception as error:
            if len(pixels) == 1:
                return [error]
            return [self._ask([one], [text])[0] for one, text in zip(pixels, texts)]
