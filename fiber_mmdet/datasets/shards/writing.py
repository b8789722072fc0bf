"""Making shards of datasets of captions: in the layout of img2dataset, with an index of counts."""

import json
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import asdict, dataclass, field
from itertools import chain, islice
from pathlib import Path
from typing import Any

import numpy as np
from mmengine import fileio

from fiber_mmdet.host import need_extra
from fiber_mmdet.images import image_ending
from fiber_mmdet.outputs import OutputError, write_text
from fiber_mmdet.records import read_json
from fiber_mmdet.whole_files import remove_leftovers, replacing

from ..dataset_tree import leaves
from ..image_text.captions import CaptionDataset
from .names import INDEX

JOURNAL = '.making.jsonl'  # beside the shards, until all are written


@dataclass(frozen=True)
class CaptionedImage:
    """An image file and its captions."""

    path: str
    image_id: Any
    captions: tuple[str, ...]


@dataclass
class MadeShard:
    """A shard that is written.

    Attributes:
        url: name of the file; '' if none of its images could be read.
        nsamples: images in it.
        filesize: in bytes.
        images: that were looked at for it, with those left out.
        left_out: path and reason of each.
    """

    url: str
    nsamples: int
    filesize: int
    images: int
    left_out: list[list[str]] = field(default_factory=list)


class CaptionedImages:
    """The images of a dataset, each once with all its captions.

    Args:
        dataset: of captions, possibly inside wrappers.
        shuffle: seed of a random order; None for that of the files.

    Raises:
        ValueError: another kind of dataset.
    """

    def __init__(self, dataset: Any, shuffle: int | None = None) -> None:
        self.parts = list(leaves(dataset))
        for part in self.parts:
            if not isinstance(part, CaptionDataset):
                raise ValueError(
                    f'{type(part).__name__} has other than images with captions, which shards do '
                    'not hold: choose a config of captions, such as WebCaptionDataset'
                )
            if getattr(part, '_indices', None) is not None:
                raise ValueError('shards are made of whole datasets: leave indices out')
            part.full_init()
        self.ends = np.cumsum([len(part.images) for part in self.parts])
        self.order = None
        if shuffle is not None:
            self.order = np.random.default_rng(shuffle).permutation(len(self))

    def __len__(self) -> int:
        return int(self.ends[-1])

    def __iter__(self) -> Iterator[CaptionedImage]:
        for place in range(len(self)):
            number = place if self.order is None else int(self.order[place])
            part = int(np.searchsorted(self.ends, number, side='right'))
            inside = number - (int(self.ends[part - 1]) if part else 0)
            image_id, path, captions = self.parts[part].images[inside]
            yield CaptionedImage(path, image_id, tuple(captions))


class ShardFolder:
    """A folder of shards in the making, which an interrupted run goes on with.

    Each shard is written beside its name and renamed, and a line is then added to a journal. The
    last shard written, ``index.json`` takes the journal's place.

    Args:
        out: the folder, which is made.
        settings: what the shards depend on, plain values.
        overwrite: remove shards that were made here with other settings.

    Raises:
        OutputError: the folder has something else, or shards of other settings.
    """

    def __init__(
        self, out: str | Path, settings: Mapping[str, Any], overwrite: bool = False
    ) -> None:
        self.out = Path(out).expanduser()
        if self.out.exists() and not self.out.is_dir():
            raise OutputError(f'{str(self.out)!r} is a file: name a folder for the shards')
        self.settings = json.loads(json.dumps(settings))
        known, self.made, self.complete = self._read()
        if known is None and any(self.out.glob('*')):
            raise OutputError(
                f'{self.out} has files, but none of a run that makes shards: choose an empty folder'
            )
        if known is not None and known != self.settings:
            if not overwrite:
                differing = [key for key in self.settings if known.get(key) != self.settings[key]]
                raise OutputError(
                    f'{self.out} has shards made with another {", ".join(differing) or "version"}: '
                    'choose another folder, or pass --overwrite'
                )
            self._remove()
        self.out.mkdir(parents=True, exist_ok=True)
        remove_leftovers(self.out)
        if not self.complete:
            lines = [dict(settings=self.settings), *map(asdict, self.made)]
            # anew, without the half line of a run that was killed
            write_text(self.out / JOURNAL, ''.join(f'{json.dumps(line)}\n' for line in lines))

    def _read(self) -> tuple[Any, list[MadeShard], bool]:
        """Settings and shards of a run before; whether it had finished."""
        index, journal = self.out / INDEX, self.out / JOURNAL
        if index.is_file() and not journal.is_file():
            content = read_json(str(index), dict, 'an index of shards')
            if 'made' not in content:
                return None, [], False
            made = [MadeShard(**row) for row in content['made']]
            return content.get('settings'), made, True
        lines: list[dict] = []
        if journal.is_file():
            for line in journal.read_text(encoding='utf-8').splitlines():
                try:
                    lines.append(json.loads(line))
                except ValueError:
                    break
        if not lines:
            return ({} if journal.is_file() else None), [], False
        made = []
        for row in lines[1:]:
            shard = MadeShard(**row)
            path = self.out / shard.url
            if shard.url and not (path.is_file() and path.stat().st_size == shard.filesize):
                break  # it, and all after it, are made again
            made.append(shard)
        return lines[0].get('settings'), made, False

    def _remove(self) -> None:
        for name in [*(shard.url for shard in self.made if shard.url), INDEX, JOURNAL]:
            (self.out / name).unlink(missing_ok=True)
        self.made, self.complete = [], False

    @property
    def done(self) -> int:
        """Images that were looked at before."""
        return sum(shard.images for shard in self.made)

    def add(self, shard: MadeShard) -> None:
        """Note that a shard is written."""
        with open(self.out / JOURNAL, 'a', encoding='utf-8') as journal:
            journal.write(f'{json.dumps(asdict(shard))}\n')
            journal.flush()
            os.fsync(journal.fileno())
        self.made.append(shard)

    def finish(self) -> None:
        """Write the index, as webdataset's wids reads it, with the settings beside it."""
        rows = [
            dict(url=shard.url, nsamples=shard.nsamples, filesize=shard.filesize)
            for shard in self.made
            if shard.url
        ]
        content = dict(
            wids_version=1,
            shardlist=rows,
            settings=self.settings,
            made=[asdict(shard) for shard in self.made],
        )
        write_text(self.out / INDEX, json.dumps(content))
        (self.out / JOURNAL).unlink(missing_ok=True)
        self.complete = True


def make_shards(
    images: Iterable[CaptionedImage], folder: ShardFolder, samples: int, size: int
) -> Iterator[MadeShard]:
    """Write what is left of the images into shards.

    Image files are copied as they are; what does not open as an image is left out.

    Args:
        images: all of them, in the order of the run before.
        folder: where.
        samples: images of a shard at most.
        size: bytes of images after which a shard ends.

    Yields:
        Each shard, when it is written. Nothing is lost if the run ends in between.

    Raises:
        MissingExtra: webdataset is not installed.
        OSError: the disk refuses; shards that are written stay.
    """
    number = folder.done
    rest = islice(iter(images), number, None)
    for first in rest:
        shard = _write(chain([first], rest), number, folder, samples, size)
        number += shard.images
        folder.add(shard)
        yield shard
    folder.finish()


def _write(
    images: Iterable[CaptionedImage], number: int, folder: ShardFolder, samples: int, size: int
) -> MadeShard:
    writer = need_extra('webdataset.writer', 'shards', 'writing shards').TarWriter
    path = folder.out / f'{sum(bool(shard.url) for shard in folder.made):05d}.tar'
    made = MadeShard(path.name, 0, 0, 0)
    written = 0
    with replacing(path) as part:
        with (
            open(part, 'wb') as file,
            closing(
                # the same images make the same bytes
                writer(file, encoder=False, mtime=0, user='', group='')
            ) as archive,
        ):
            for image in images:
                try:
                    content = fileio.get(image.path)
                    ending = image_ending(content, image.path)
                except (OSError, ValueError) as error:
                    made.left_out.append([image.path, ' '.join(str(error).split())])
                else:
                    archive.write(_sample(image, number + made.images, ending, content))
                    made.nsamples += 1
                    written += len(content)
                made.images += 1
                if made.nsamples >= samples or written >= size:
                    break
        made.filesize = part.stat().st_size
    if not made.nsamples:
        path.unlink()
        made.url, made.filesize = '', 0
    return made


def _sample(image: CaptionedImage, number: int, ending: str, content: bytes) -> dict[str, Any]:
    record = dict(caption=image.captions[0], captions=list(image.captions), image_id=image.image_id)
    return {
        '__key__': f'{number:09d}',
        ending: content,
        'txt': image.captions[0].encode(),
        'json': json.dumps(record, ensure_ascii=False).encode(),
    }


def left_out(made: Sequence[MadeShard]) -> list[tuple[str, str]]:
    """Path and reason of all images that are in no shard."""
    return [(path, reason) for shard in made for path, reason in shard.left_out]
