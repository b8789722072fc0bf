"""Writing an index of images, part by part; see :mod:`.index_files`."""

import errno
import os
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from fiber_mmdet.outputs import write_json
from fiber_mmdet.prefix_store import Manifest, PrefixCacheError
from fiber_mmdet.prefix_writer import ImageEntry, Parts, PrefixWriter, fingerprint_of_names
from fiber_mmdet.whole_files import remove_leftovers, replacing

from .index_files import (
    FILE,
    MANIFEST,
    UNREADABLE,
    ImageIndexError,
    IndexedFile,
    IndexFiles,
    IndexManifest,
    NearestFile,
    Part,
)
from .nearest import (
    NearestError,
    build_index,
    extend_index,
    in_pieces,
    kind_for,
    read_index,
    write_index,
)

OURS = ('part-', 'prefixes-', 'removed-', 'nearest-')  # beginnings of the names of files
LATER = 10_000  # images that are compared one by one before the index is extended by them
GROWTH = 2  # an index that has become so many times larger is built anew
LARGE = 2**20  # images of a part that is not merged any more
SMALL_PARTS = 32  # are merged; each part is three open files
FULL = 2**20  # bytes; a disk with less is called full


class IndexWriter:
    """Adds to an index, or makes one. Whatever ends it, the index is as it was after a commit.

    Args:
        folder: of the index; empty or not there, if one is made.
        new: what it is made with; None opens one that is there.

    Attributes:
        files: the index as it was committed.

    Raises:
        ImageIndexError: it is none or damaged; or the folder of a new one has other files.
    """

    def __init__(self, folder: str | Path, new: IndexManifest | None = None) -> None:
        self.folder = Path(folder)
        if new is not None:
            self._refuse_others()
            with self._saving():
                self.folder.mkdir(parents=True, exist_ok=True)
                write_json(self.folder / MANIFEST, new.plain(), indent=1)
        self.files = IndexFiles(folder)
        self._remove_leftovers()

    def _refuse_others(self) -> None:
        if self.folder.is_dir() and any(
            not file.name.startswith('.') for file in self.folder.iterdir()
        ):
            raise ImageIndexError(
                f'{self.folder} has files that are no index of images: name an empty folder'
            )

    @property
    def manifest(self) -> IndexManifest:
        """Of what was committed."""
        return self.files.manifest

    def _remove_leftovers(self) -> None:
        """Remove what an interrupted writer left that the index does not name."""
        remove_leftovers(self.folder)
        there = self.manifest
        named = {there.removed, *(part.name for part in (*there.parts, *there.prefix_parts))}
        if there.nearest is not None:
            named.add(there.nearest.file)
        for path in self.folder.iterdir():
            stem = path.name.partition('.')[0] if path.name.startswith('part-') else path.name
            if path.name.startswith(OURS) and stem not in named:
                if path.is_dir():
                    shutil.rmtree(path, ignore_errors=True)
                else:
                    path.unlink(missing_ok=True)

    # ---------------------------------------------------------------- changes
    def add(
        self,
        images: Sequence[IndexedFile],
        features: np.ndarray,
        prefixes: Sequence[Parts] | None = None,
        instead_of: Sequence[int] = (),
        back: Sequence[int] = (),
        unreadable: Mapping[str, Sequence] | None = None,
    ) -> None:
        """Add images as one part, and leave out others, or take them back.

        Args:
            images: n of them; with none, others are only left out.
            features: (n, dim) of length 1.
            prefixes: the parts of the prefix of each, if they are kept.
            instead_of: rows that are left out from now on.
            back: rows that were left out and are found again from now on.
            unreadable: all images that could not be read, see :meth:`IndexFiles.unreadable`; None
                leaves them as they are.

        Raises:
            ImageIndexError: they cannot be written, or a number cannot be stored.
        """
        manifest, part = self.manifest, None
        removed: np.ndarray = self.files.removed
        with self._saving():
            if unreadable is not None:
                write_json(self.folder / UNREADABLE, unreadable, indent=0, ensure_ascii=True)
            if images:
                part = Part(self._next_part(), len(images))
                self._write_part(part, images, features)
                manifest = manifest.changed(parts=(*manifest.parts, part))
                if prefixes is not None:
                    kept = Part(f'prefixes-{len(manifest.prefix_parts):05d}', len(images))
                    self._write_prefixes(kept, images, prefixes)
                    manifest = manifest.changed(prefix_parts=(*manifest.prefix_parts, kept))
            if len(instead_of) or len(back):
                removed = np.union1d(removed, np.asarray(instead_of, np.int64))
                removed = np.setdiff1d(removed, np.asarray(back, np.int64))
                name = self._next('removed', manifest.removed, 'npy')
                self._save(name, removed)
                manifest = manifest.changed(removed=name)
            self._commit(manifest)
        if part is not None:
            self.files.map_part(part)
        self.files.removed = removed
        self._merge()

    def _write_part(self, part: Part, images: Sequence[IndexedFile], features: np.ndarray) -> None:
        stored = features.astype(self.manifest.dtype)
        if not np.isfinite(stored).all():
            row = int(np.argmin(np.isfinite(stored).all(1)))
            raise ImageIndexError(
                f'the features of {images[row].name} are not finite: look at the weights of the '
                'model'
            )
        names = [os.fsencode(image.name) for image in images]
        files = np.zeros(len(images), FILE)
        files['size'] = [image.size for image in images]
        files['modified'] = [image.modified for image in images]
        files['content'] = [list(bytes.fromhex(image.content)) for image in images]
        files['end'] = np.cumsum([len(name) for name in names])
        self._save(f'{part.name}.features.npy', stored)
        self._save(f'{part.name}.files.npy', files)
        with replacing(self.folder / f'{part.name}.names') as place:
            place.write_bytes(b''.join(names))

    def _write_prefixes(
        self, part: Part, images: Sequence[IndexedFile], prefixes: Sequence[Parts]
    ) -> None:
        """Prefixes, a cache of one shard."""
        paths = [image.name for image in images]
        manifest = Manifest(
            made_with=self.manifest.prefixes_made_with,
            source=self.manifest.source,
            transforms=self.manifest.transforms,
            datasets=[part.name],
            dtype=str(self.manifest.prefixes),
            mirrored=False,
            images=len(paths),
            names=fingerprint_of_names(paths),
            per_shard=len(paths),
        )
        entries = [
            ImageEntry(image.name, (image.size, image.modified, image.content), 0, 0, [parts])
            for image, parts in zip(images, prefixes)
        ]
        folder = self.folder / part.name
        if folder.is_dir():  # of a writer that was interrupted
            shutil.rmtree(folder)
        try:
            PrefixWriter(folder, manifest, paths).write(0, entries)
        except PrefixCacheError as error:
            raise ImageIndexError(str(error).replace('--half', '--keep-prefixes float16')) from (
                error
            )

    def _merge(self) -> None:
        """Make few large parts of many small ones that follow each other."""
        parts = self.manifest.parts
        if sum(part.images < LARGE for part in parts) < SMALL_PARTS:
            return
        groups: list[list[int]] = []
        for number, part in enumerate(parts):
            size = sum(parts[i].images for i in groups[-1]) if groups else LARGE
            if size + part.images <= LARGE:
                groups[-1].append(number)
            else:
                groups.append([number])
        merged = []
        with self._saving():
            for group in groups:
                if len(group) == 1:
                    merged.append(parts[group[0]])
                else:
                    merged.append(self._merged([*group], self._next_part(len(merged))))
            self._commit(self.manifest.changed(parts=tuple(merged)))
        self.files = IndexFiles(self.folder)
        self._remove_leftovers()

    def _merged(self, group: Sequence[int], name: str) -> Part:
        """Write some parts as one."""
        files, start = [], 0
        for number in group:
            files.append(np.array(self.files.tables[number]))
            files[-1]['end'] += start
            start = int(files[-1]['end'][-1])
        blocks = [self.files.blocks[number] for number in group]
        count = sum(map(len, blocks))
        header = dict(
            descr=np.lib.format.dtype_to_descr(blocks[0].dtype),
            fortran_order=False,
            shape=(count, blocks[0].shape[1]),
        )
        with replacing(self.folder / f'{name}.features.npy') as place, open(place, 'wb') as file:
            np.lib.format.write_array_header_1_0(file, header)
            for piece in in_pieces(blocks):
                file.write(np.ascontiguousarray(piece).data)
        self._save(f'{name}.files.npy', np.concatenate(files))
        with replacing(self.folder / f'{name}.names') as place, open(place, 'wb') as file:
            for number in group:
                file.write(self.files.names[number].tobytes())
        return Part(name, count)

    def _next_part(self, more: int = 0) -> str:
        """A name that no part has."""
        numbers = [int(part.name.removeprefix('part-')) for part in self.manifest.parts]
        return f'part-{max(numbers, default=-1) + 1 + more:05d}'

    def renew_nearest(
        self, said: Callable[[int, int], Any] = lambda rows, total: None
    ) -> NearestFile | None:
        """Build what finds neighbours, extend it, or leave it, as the number of images demands.

        Up to ``LATER`` images are left to be compared one by one.

        Args:
            said: called with numbers of rows as they are done, and with that of all.

        Returns:
            What there is now; None if all images are compared.

        Raises:
            MissingExtra: FAISS is not installed.
            ImageIndexError: it cannot be written.
            MemoryError: it does not fit into memory.
        """
        manifest, total = self.manifest, len(self.files)
        kind = kind_for(total) if manifest.kind == 'auto' else manifest.kind
        known, index, start = manifest.nearest, None, 0
        if kind == 'exact' or not total:
            if known is not None:
                with self._saving():
                    self._commit(manifest.changed(nearest=None))
            return None
        if known is not None and known.kind == kind and total <= GROWTH * known.built:
            try:
                enough = total - known.images <= LATER
                index = read_index(self.folder / known.file, mapped=enough)
                start = known.images
            except NearestError:
                pass  # it is built anew
            else:
                if enough:
                    return known
        if index is None:
            built = total
            index = build_index(kind, self.files.blocks, lambda rows: said(rows, total))
        else:
            assert known is not None
            built = known.built
            extend_index(index, self.files.blocks, start, lambda rows: said(rows, total - start))
        name = self._next('nearest', known.file if known else '', 'faiss')
        found = NearestFile(name, kind, total, built)
        with self._saving():
            with replacing(self.folder / name) as place:
                write_index(index, place)
            self._commit(manifest.changed(nearest=found))
        return found

    def mark(self, finished: bool, **values: Any) -> None:
        """Note whether a change has come to its end, and other values of the manifest.

        Raises:
            ImageIndexError: it cannot be written.
        """
        with self._saving():
            self._commit(self.manifest.changed(finished=finished, **values))

    # ---------------------------------------------------------------- files
    def _commit(self, manifest: IndexManifest) -> None:
        """From here on the index is what the manifest says."""
        if manifest != self.manifest:
            write_json(self.folder / MANIFEST, manifest.plain(), indent=1)
            before, self.files.manifest = self.manifest, manifest
            for old, new in (
                (before.removed, manifest.removed),
                (
                    before.nearest and before.nearest.file,
                    manifest.nearest and manifest.nearest.file,
                ),
            ):
                if old and old != new:
                    (self.folder / old).unlink(missing_ok=True)

    def _save(self, name: str, array: np.ndarray) -> None:
        with replacing(self.folder / name) as place, open(place, 'wb') as file:
            np.save(file, array, allow_pickle=False)

    @staticmethod
    def _next(what: str, name: str, ending: str) -> str:
        """The name of the next file of a kind, after that of the one before."""
        number = int(name.removeprefix(f'{what}-').partition('.')[0]) + 1 if name else 0
        return f'{what}-{number:05d}.{ending}'

    @contextmanager
    def _saving(self) -> Iterator[None]:
        """Say of a failure to write what stays and what to do."""
        try:
            yield
        except OSError as error:
            try:
                free = shutil.disk_usage(self.folder).free
            except OSError:
                free = FULL
            full = free < FULL or error.errno in (errno.ENOSPC, errno.EDQUOT)
            done = self.files.found if hasattr(self, 'files') else 0
            raise ImageIndexError(
                f'{self.folder} cannot be written ('
                f'{"the disk is full" if full else error.strerror or error}): the {done} images '
                'that are indexed stay. '
                f'{"Make room on that disk" if full else "Mend that"}, and the same call goes on'
            ) from error
