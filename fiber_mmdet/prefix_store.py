"""A folder with the image prefixes of a dataset, written once and read in any order.

``prefixes.json`` says what the prefixes were made of. They lie in shards: ``shard-00000.npy``, all
numbers of some images one after the other, and ``shard-00000.json``, where each image lies and how
its file looked. A shard is there when its json file is; all files are written beside their place
and then renamed.
"""

import hashlib
import os
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import zip_longest
from pathlib import Path
from typing import Any

import numpy as np

from .records import need, read_json

FORMAT = 1
MANIFEST = 'prefixes.json'
DTYPES = ('float32', 'float16')
AGAIN = 'make another one with `fiber cache-prefixes`, in another folder'
SETTINGS = dict(
    tower='an image tower of other settings',
    normalisation='another normalisation of images (data_preprocessor)',
)


class PrefixCacheError(ValueError):
    """A cache that does not belong to a training; the message says why and what to do."""


@dataclass(frozen=True)
class Manifest:
    """What a cache was made of.

    Attributes:
        made_with: ``weights``, ``tower`` and ``normalisation`` of the model.
        source: where the weights came from, for messages.
        transforms: what is done to each image, in order.
        datasets: their classes and files, for messages.
        dtype: of the numbers, one of ``DTYPES``.
        mirrored: whether each image is followed by its mirrored copy.
        images: number of images.
        names: fingerprint of their paths.
        per_shard: images in a shard, fewer in the last.
    """

    made_with: Mapping[str, str]
    source: str
    transforms: Sequence[Mapping[str, Any]]
    datasets: Sequence[str]
    dtype: str
    mirrored: bool
    images: int
    names: str
    per_shard: int
    format: int = FORMAT

    @property
    def shards(self) -> int:
        """Number of shards."""
        return -(-self.images // self.per_shard)


@dataclass(frozen=True, slots=True)
class CachedImage:
    """An image of a shard.

    Attributes:
        path: as the dataset names it.
        size, modified, content: of the file, in bytes, in ns, and a fingerprint.
        height, width: of the image as it was read, in pixels.
        layout: number of the layout of its prefix in the shard.
        start: of its first number in the shard.
        checksums: CRC-32 of the prefix, and of the mirrored one.
    """

    path: str
    size: int
    modified: int
    content: str
    height: int
    width: int
    layout: int
    start: int
    checksums: Sequence[int]


def key_of(path: str) -> str:
    """The name of an image in a cache: its path as the dataset has it, without detours."""
    return os.path.normpath(path)


def look_at_file(path: str) -> tuple[int, int, str]:
    """Size in bytes, time of the last change in ns, and a fingerprint of the content of a file."""
    facts = os.stat(path)
    digest = hashlib.blake2b(Path(path).read_bytes(), digest_size=16)
    return facts.st_size, facts.st_mtime_ns, digest.hexdigest()


# ---------------------------------------------------------------- differences
def refuse_other_model(folder: str, cached: Mapping[str, str], found: Mapping[str, str]) -> None:
    """Refuse a cache that another model made.

    Args:
        folder: of the cache.
        cached: ``made_with`` of the cache, and its ``source``.
        found: ``made_with`` of the model.

    Raises:
        PrefixCacheError: saying what differs.
    """
    for key, what in SETTINGS.items():
        if cached[key] != found[key]:
            raise PrefixCacheError(
                f'the prefixes in {folder} were made by {what}: {cached[key]}; that of the model '
                f'is: {found[key]}. Take the config they were made with, or {AGAIN}'
            )
    if cached['weights'] != found['weights']:
        source = cached.get('source', 'another checkpoint')
        raise PrefixCacheError(
            f'the prefixes in {folder} are stale: they were made with the weights of {source} '
            f'(fingerprint {cached["weights"]} of the image tower before the first fused block), '
            f'but those of the model have the fingerprint {found["weights"]}. Start the training '
            f'with load_from={source}, or {AGAIN}'
        )


def refuse_other_transforms(
    folder: str, cached: Sequence[Mapping[str, Any]], found: Sequence[Mapping[str, Any]]
) -> None:
    """Refuse a cache of images that were read or resized in another way.

    Raises:
        PrefixCacheError: naming the first transform that differs.
    """
    difference = transforms_differ(cached, found)
    if difference:
        raise PrefixCacheError(
            f'the prefixes in {folder} are of images that were prepared in another way: their '
            f'{difference}. Use the same transforms, or {AGAIN}'
        )


def transforms_differ(
    cached: Sequence[Mapping[str, Any]], found: Sequence[Mapping[str, Any]]
) -> str:
    """The first step that differs, as words: what it was, and what it is in a pipeline; or ''."""
    for i, (was, now) in enumerate(zip_longest(cached, found)):
        if was != now:
            return f'step {i + 1} was {_said(was)}, in this pipeline it is {_said(now)}'
    return ''


def _said(step: Mapping[str, Any] | None) -> str:
    if step is None:
        return 'not there'
    rest = ', '.join(f'{key}={value!r}' for key, value in step.items() if key != 'type')
    return f'{step["type"]}({rest})'


# ---------------------------------------------------------------- reading
def read_manifest(folder: str | Path) -> Manifest:
    """What a cache was made of.

    Raises:
        PrefixCacheError: there is none, or of another version.
    """
    path = Path(folder) / MANIFEST
    if not path.is_file():
        raise PrefixCacheError(
            f'{folder} holds no cached prefixes ({MANIFEST} is missing): write them with '
            'fiber cache-prefixes CONFIG WEIGHTS FOLDER'
        )
    fields = read_json(str(path), dict, 'an object that describes a cache')
    if fields.get('format') != FORMAT:
        raise PrefixCacheError(
            f'{path} has format {fields.get("format")!r}, this version reads {FORMAT}: {AGAIN}'
        )
    need(fields, Manifest.__dataclass_fields__, str(path), AGAIN, PrefixCacheError)
    return Manifest(**{name: fields[name] for name in Manifest.__dataclass_fields__})


class PrefixStore:
    """The prefixes of a complete cache; files are mapped when they are first read.

    Args:
        folder: of the cache.
        check_files: refuse images whose file has changed.

    Raises:
        PrefixCacheError: it is none, is damaged, or has not been finished.
    """

    def __init__(self, folder: str | Path, check_files: bool = True) -> None:
        self.folder = str(folder)
        self.check_files = check_files
        self.manifest = read_manifest(folder)
        self._images: dict[str, tuple[int, CachedImage]] = {}
        self._layouts: list[list[dict[str, tuple[int, ...]]]] = []
        self._maps: dict[int, np.ndarray] = {}
        self._unchanged: set[str] = set()
        shards = range(self.manifest.shards)
        missing = [number for number in shards if not shard(folder, number, 'json').is_file()]
        if missing:
            raise PrefixCacheError(
                f'{folder} has {len(shards) - len(missing)} of its {len(shards)} shards: run '
                '`fiber cache-prefixes` again, which goes on where it was interrupted'
            )
        for number in shards:
            layouts, images = read_index(folder, number)
            self._layouts.append(layouts)
            self._images.update((image.path, (number, image)) for image in images)

    def __reduce__(self) -> tuple:
        """Copies, also in other processes, map the files anew."""
        return PrefixStore, (self.folder, self.check_files)

    @property
    def made_with(self) -> dict[str, str]:
        """What is known of the model that wrote it, with the ``source`` of its weights."""
        return dict(self.manifest.made_with, source=self.manifest.source)

    def find(self, path: str) -> CachedImage:
        """An image, whose file is still the one that was read.

        Args:
            path: as the dataset names it.

        Raises:
            PrefixCacheError: it is not in the cache, or its file has changed.
            FileNotFoundError: its file is not there.
        """
        key = key_of(path)
        if key not in self._images:
            raise PrefixCacheError(
                f'{path} is not among the {len(self._images)} images of {self.folder}, which were '
                f'those of {", ".join(self.manifest.datasets)}: use the cache with that data_root '
                f'and that file, or {AGAIN}'
            )
        image = self._images[key][1]
        if self.check_files and key not in self._unchanged:
            refuse_changed_file(self.folder, image)
            self._unchanged.add(key)
        return image

    def read(self, path: str, mirrored: bool = False) -> dict[str, np.ndarray]:
        """The parts of the prefix of an image, copies in memory.

        Raises:
            PrefixCacheError: see :meth:`find`; or there is no mirrored copy, or the file of the
                cache is damaged.
        """
        image = self.find(path)
        number = self._images[image.path][0]
        if mirrored and not self.manifest.mirrored:
            raise PrefixCacheError(
                f'{self.folder} has no mirrored copies of its images: make one with --mirrored yes'
            )
        layout = self._layouts[number][image.layout]
        count = sum(int(np.prod(shape)) for shape in layout.values())
        start = image.start + mirrored * count
        numbers = np.array(self._map(number)[start : start + count])
        if len(numbers) != count or zlib.crc32(numbers.data) != image.checksums[mirrored]:
            raise PrefixCacheError(
                f'{shard(self.folder, number, "npy")} is damaged where {path} lies: remove '
                f'{shard(self.folder, number, "json").name} and run `fiber cache-prefixes` again'
            )
        return split(numbers, layout)

    def _map(self, number: int) -> np.ndarray:
        if number not in self._maps:
            path = shard(self.folder, number, 'npy')
            try:
                self._maps[number] = np.load(path, mmap_mode='r', allow_pickle=False)
            except (OSError, ValueError, EOFError) as error:
                raise PrefixCacheError(
                    f'{path} is damaged ({error}): remove it with its json file and run '
                    '`fiber cache-prefixes` again'
                ) from error
        return self._maps[number]


def refuse_changed_file(folder: str, image: CachedImage) -> None:
    """Refuse a prefix whose image is another one by now.

    Raises:
        PrefixCacheError: naming the image.
        FileNotFoundError: its file is not there.
    """
    facts = os.stat(image.path)
    if facts.st_size == image.size and facts.st_mtime_ns == image.modified:
        return
    size, _, content = look_at_file(image.path)
    if content != image.content:
        raise PrefixCacheError(
            f'{image.path} has changed since its prefix was cached in {folder}: it had '
            f'{image.size} bytes (fingerprint {image.content}), now it has {size} ({content}). '
            'Restore the file, or run `fiber cache-prefixes` again, which renews its shard'
        )


def split(numbers: np.ndarray, layout: Mapping[str, tuple[int, ...]]) -> dict[str, np.ndarray]:
    """Numbers in a row as the parts of a prefix."""
    parts, start = {}, 0
    for name, shape in layout.items():
        count = int(np.prod(shape))
        parts[name] = numbers[start : start + count].reshape(shape)
        start += count
    return parts


def shard(folder: str | Path, number: int, ending: str) -> Path:
    """A file of a shard."""
    return Path(folder) / f'shard-{number:05d}.{ending}'


def read_index(
    folder: str | Path, number: int
) -> tuple[list[dict[str, tuple[int, ...]]], list[CachedImage]]:
    """The layouts and the images of a shard.

    Raises:
        PrefixCacheError: the file is damaged.
    """
    path = shard(folder, number, 'json')
    try:
        content = read_json(str(path), dict, "an object with 'layouts' and 'images'")
        layouts = [
            {name: tuple(map(int, shape)) for name, shape in layout.items()}
            for layout in content['layouts']
        ]
        return layouts, [CachedImage(*fields) for fields in content['images']]
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise PrefixCacheError(
            f'{path} is damaged ({error}): remove it and run `fiber cache-prefixes` again'
        ) from error
