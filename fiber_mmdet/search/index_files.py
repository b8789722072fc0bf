"""The files of an index of images: features in parts, what images they are of, and what made them.

``index.json`` says what the index was made with and which of the other files belong to it. It is
replaced, whole, after these are written, so that an index is always as it was before or after a
change; what it does not name is left over from one that was interrupted. A part has

- ``part-00000.features.npy``: (n, dim) float32 or float16, rows of length 1;
- ``part-00000.files.npy``: (n,) of ``FILE``, how each file looked;
- ``part-00000.names``: the paths, UTF-8, one after the other.

Small parts are merged when there are many. ``prefixes-00000/`` and so on, if prefixes are kept, are
caches as of :mod:`fiber_mmdet.prefix_store`, each of some rows. A row is the place of an image in
all parts, one after the other, and never changes. Images that are gone or were encoded again stay
in their parts; ``removed-….npy`` has their rows. ``nearest-….faiss`` is what finds neighbours
without comparing all, and ``unreadable.json`` has the images that could not be read, with their
reasons.
"""

import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from fiber_mmdet.prefix_store import PrefixStore
from fiber_mmdet.records import need, read_json

from .nearest import Nearest, NearestError, read_index

FORMAT = 1
MANIFEST = 'index.json'
UNREADABLE = 'unreadable.json'
DTYPES = ('float32', 'float16')
FILE = np.dtype([('size', '<i8'), ('modified', '<i8'), ('content', 'u1', 16), ('end', '<i8')])
OPEN = 32  # caches of prefixes at a time
AGAIN = 'make another one, in another folder'


class ImageIndexError(ValueError):
    """An index that cannot be used; the message says why and what to do."""


@dataclass(frozen=True)
class Part:
    """A part of an index, or the kept prefixes of some rows.

    Attributes:
        name: of its files.
        images: number of rows.
    """

    name: str
    images: int


@dataclass(frozen=True)
class NearestFile:
    """The file of what finds neighbours.

    Attributes:
        file: its name.
        kind: 'hnsw' or 'ivf'.
        images: number of rows that it has, the first ones.
        built: number of these when it was built; more were added later.
    """

    file: str
    kind: str
    images: int
    built: int


@dataclass(frozen=True)
class IndexManifest:
    """What an index was made with, and its files.

    Attributes:
        made_with: ``weights``, ``tower`` and ``normalisation`` of the model.
        prefixes_made_with: the same, of the weights that image prefixes depend on.
        source: where the weights came from, for messages.
        transforms: what is done to each image, in order.
        root: the folder that names are relative to; those of files elsewhere are absolute.
        dim: channels of a feature.
        dtype: of the features, one of ``DTYPES``.
        prefixes: dtype of kept prefixes; None if they are recomputed.
        kind: one of ``KINDS``, or 'auto': by the number of images.
        parts: the parts, in order.
        prefix_parts: the kept prefixes, in order.
        removed: file with the removed rows, '' for none.
        nearest: what finds neighbours; None if all images are compared.
        finished: whether the last change came to its end.
    """

    made_with: Mapping[str, str]
    prefixes_made_with: Mapping[str, str]
    source: str
    transforms: Sequence[Mapping[str, Any]]
    root: str
    dim: int
    dtype: str = 'float32'
    prefixes: str | None = None
    kind: str = 'auto'
    parts: Sequence[Part] = ()
    prefix_parts: Sequence[Part] = ()
    removed: str = ''
    nearest: NearestFile | None = None
    finished: bool = False
    format: int = FORMAT

    def changed(self, **values: Any) -> 'IndexManifest':
        """The same with other values."""
        return replace(self, **values)

    def plain(self) -> dict[str, Any]:
        """As json has it."""
        return asdict(self)


@dataclass(frozen=True, slots=True)
class IndexedFile:
    """An image of an index, as its file looked.

    Attributes:
        name: relative to the root of the index, or absolute.
        size, modified, content: of the file, in bytes, in ns, and a fingerprint.
    """

    name: str
    size: int
    modified: int
    content: str


def read_index_manifest(folder: str | Path) -> IndexManifest:
    """What an index was made with.

    Raises:
        ImageIndexError: there is none, it is damaged, or of another version.
    """
    path = Path(folder) / MANIFEST
    if not path.is_file():
        raise ImageIndexError(
            f'{folder} is no index of images ({MANIFEST} is missing): make one with `fiber index '
            'IMAGES FOLDER`'
        )
    try:
        fields = read_json(str(path), dict, 'an object that describes an index')
        if fields.get('format') != FORMAT:
            raise ValueError(f'format {fields.get("format")!r}, this version reads {FORMAT}')
        need(fields, IndexManifest.__dataclass_fields__, str(path), AGAIN)
        values = {name: fields[name] for name in IndexManifest.__dataclass_fields__}
        for name in ('parts', 'prefix_parts'):
            values[name] = tuple(Part(**part) for part in values[name])
        if values['nearest'] is not None:
            values['nearest'] = NearestFile(**values['nearest'])
    except (ValueError, TypeError) as error:
        raise ImageIndexError(f'{path} is damaged or of another version ({error}): {AGAIN}') from (
            error
        )
    return IndexManifest(**values)


class IndexFiles:
    """The images and features of an index, mapped from its files.

    Args:
        folder: of the index.

    Attributes:
        manifest: what it was made with.
        blocks: (n, dim) features of each part.
        tables: (n,) of ``FILE`` of each part.
        names: (bytes,) uint8, the paths of each part.
        removed: (r,) int64, the rows that are not to be found, sorted.

    Raises:
        ImageIndexError: it is none, or a file of it is missing or damaged.
    """

    def __init__(self, folder: str | Path) -> None:
        self.folder = Path(folder)
        self.manifest = read_index_manifest(folder)
        while True:
            try:
                self._map()
                break
            except ImageIndexError:
                before, self.manifest = self.manifest, read_index_manifest(folder)
                if self.manifest == before:  # otherwise a writer has just merged parts
                    raise
        self._prefixes = lru_cache(OPEN)(lambda name: PrefixStore(Path(folder) / name, False))
        self._nearest: Nearest | None = None

    def _map(self) -> None:
        self.blocks: list[np.ndarray] = []
        self.tables: list[np.ndarray] = []
        self.names: list[np.ndarray] = []
        for part in self.manifest.parts:
            self.map_part(part)
        self.removed = np.zeros(0, np.int64)
        if self.manifest.removed:
            self.removed = np.asarray(self._load(self.manifest.removed))
        self._prefix_ends = np.cumsum([part.images for part in self.manifest.prefix_parts])

    def map_part(self, part: Part) -> None:
        """Map the files of one more part."""
        features = self._load(f'{part.name}.features.npy')
        files = self._load(f'{part.name}.files.npy')
        names = self.folder / f'{part.name}.names'
        size = names.stat().st_size if names.is_file() else 0
        shape = part.images, self.manifest.dim
        if (
            features.shape != shape
            or features.dtype != self.manifest.dtype
            or files.shape != shape[:1]
            or files.dtype != FILE
            or size != files['end'][-1]
        ):
            raise self._damaged(f'{part.name}.*', 'they do not have what index.json says')
        self.blocks.append(features)
        self.tables.append(files)
        self.names.append(np.memmap(names, np.uint8, 'r'))

    def _load(self, name: str) -> np.ndarray:
        path = self.folder / name
        try:
            return np.load(path, mmap_mode='r', allow_pickle=False)
        except (OSError, ValueError, EOFError) as error:
            raise self._damaged(name, str(error)) from error

    def _damaged(self, name: str, why: str) -> ImageIndexError:
        return ImageIndexError(
            f'{self.folder / name} is missing or damaged ({why}): restore the index from a copy, '
            f'or {AGAIN}'
        )

    def __len__(self) -> int:
        """Number of rows, with those that were removed."""
        return sum(map(len, self.blocks))

    @property
    def found(self) -> int:
        """Number of images that can be found."""
        return len(self) - len(self.removed)

    def is_removed(self, rows: np.ndarray) -> np.ndarray:
        """Whether rows were removed, bool of the same shape."""
        places = np.searchsorted(self.removed, rows)
        places = np.minimum(places, max(len(self.removed) - 1, 0))
        return self.removed[places] == rows if len(self.removed) else np.zeros(rows.shape, bool)

    # ------------------------------------------------------------- images
    def place(self, row: int) -> tuple[int, int]:
        """The number of the part of a row, and its place in it."""
        for number, block in enumerate(self.blocks):
            if row < len(block):
                return number, row
            row -= len(block)
        raise IndexError(f'the index {self.folder} has {len(self)} rows')

    def file(self, row: int) -> IndexedFile:
        """The image of a row."""
        number, at = self.place(row)
        files = self.tables[number]
        begin = int(files['end'][at - 1]) if at else 0
        name = os.fsdecode(self.names[number][begin : int(files['end'][at])].tobytes())
        size, modified, content, _ = files[at]
        return IndexedFile(name, int(size), int(modified), content.tobytes().hex())

    def files(self) -> Iterator[tuple[int, IndexedFile]]:
        """The rows that can be found, and their images."""
        removed = set(self.removed.tolist())
        row = 0
        for files, names in zip(self.tables, self.names):
            text, contents = names.tobytes(), files['content'].tobytes()
            begin = 0
            columns = (files[name].tolist() for name in ('size', 'modified', 'end'))
            for at, (size, modified, end) in enumerate(zip(*columns)):
                if row not in removed:
                    content = contents[16 * at : 16 * at + 16].hex()
                    yield row, IndexedFile(os.fsdecode(text[begin:end]), size, modified, content)
                begin = end
                row += 1

    def unreadable(self) -> dict[str, list]:
        """Images that could not be read: name -> size, time of change and reason.

        Raises:
            ImageIndexError: the file is damaged.
        """
        path = self.folder / UNREADABLE
        if not path.is_file():
            return {}
        try:
            return read_json(str(path), dict, 'an object')
        except ValueError as error:
            raise ImageIndexError(f'{error}; or remove it, and it is made anew') from error

    def prefixes(self, row: int) -> PrefixStore | None:
        """The kept prefixes that a row is in; None if they are not kept.

        Raises:
            PrefixCacheError: they are damaged.
        """
        if not self.manifest.prefix_parts:
            return None
        number = int(np.searchsorted(self._prefix_ends, row, 'right'))
        return self._prefixes(self.manifest.prefix_parts[number].name)

    # ---------------------------------------------------------- neighbours
    def nearest(self) -> Nearest:
        """What finds neighbours among all rows.

        Raises:
            ImageIndexError: its file is damaged.
            MissingExtra: FAISS is not installed.
        """
        if self._nearest is None:
            known = self.manifest.nearest
            if known is None:
                self._nearest = Nearest(self.blocks)
            else:
                try:
                    index = read_index(self.folder / known.file)
                except NearestError as error:
                    raise ImageIndexError(
                        f'{error}: remove the file, and `fiber index` builds it anew from the '
                        'features'
                    ) from error
                if (index.d, index.ntotal) != (self.manifest.dim, known.images):
                    raise self._damaged(known.file, 'it is of another index')
                self._nearest = Nearest(self.blocks, index, known.images)
        return self._nearest
