"""Encoding the images of an index: those that are new or changed, part by part."""

import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset
from tqdm import tqdm

from fiber_mmdet.engine.work_dir_lock import WorkDirInUseError, lock, unlock
from fiber_mmdet.images import ImageError
from fiber_mmdet.prefix_store import look_at_file
from fiber_mmdet.prefix_writer import Parts
from fiber_mmdet.search.index_files import ImageIndexError, IndexedFile
from fiber_mmdet.search.index_writer import IndexWriter

from .image_text_running import ImageTextRunner
from .indexed_images import name_of, state_of

LOCK = '.index.lock'
PART_IMAGES = 8192
PART_SECONDS = 300  # at most so much work is lost when a process is killed
PART_BYTES = 256 * 2**20  # of kept prefixes


@dataclass
class Changes:
    """What a call did to an index.

    Attributes:
        added: number of images that are new in it, or there again.
        renewed: number of those whose file had changed.
        removed: number of those whose file is gone, or is no image any more.
        unreadable: names of files that cannot be read, with the reason.
        total: number of images that can be found.
    """

    added: int = 0
    renewed: int = 0
    removed: int = 0
    unreadable: dict[str, str] = field(default_factory=dict)
    total: int = 0

    def __str__(self) -> str:
        parts = [f'{self.total} images', f'{self.added} new']
        for count, what in (
            (self.renewed, 'encoded again, since their files have changed'),
            (self.removed, 'left out, since their files are gone'),
            (len(self.unreadable), 'that cannot be read'),
        ):
            if count:
                parts.append(f'{count} {what}')
        return ', '.join(parts)


class FileReader(Dataset):
    """Image files as the model sees them, also in other processes.

    Args:
        paths: of the files.
        read: to (3, S, S).
    """

    def __init__(self, paths: Sequence[Path], read: Any) -> None:
        self.paths, self.read = list(paths), read

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, index: int) -> tuple[int, tuple[int, int, str] | None, Tensor | str]:
        """The number of a file, what it looks like, and its pixels or why it cannot be read."""
        facts = None
        try:
            facts = look_at_file(str(self.paths[index]))
            return index, facts, self.read(self.paths[index])
        except (OSError, ImageError) as error:
            return index, facts, ' '.join(str(error).split())


def update_index(
    writer: IndexWriter,
    ask: ImageTextRunner,
    paths: Iterable[Path],
    workers: int = 0,
    check_files: bool = True,
) -> Changes:
    """Bring an index up to date with image files.

    Args:
        writer: of the index.
        ask: with the model that made it.
        paths: image files that it should have.
        workers: processes that read images.
        check_files: whether to look at the files of all images that it has.

    Returns:
        What was done.

    Raises:
        ImageIndexError: it cannot be written; or the folder of the images is not there.
        MissingExtra: FAISS is not installed.
    """
    return _Update(writer, ask, workers, check_files).run(paths)


@contextmanager
def writing_alone(folder: Path) -> Iterator[None]:
    """Keep other processes from writing to an index.

    Raises:
        ImageIndexError: one of them does, or the folder cannot be made.
    """
    try:
        held = lock(folder, LOCK)
    except WorkDirInUseError as error:
        raise ImageIndexError(
            f'{folder} is being written by another process: wait until it has ended'
        ) from error
    except OSError as error:
        raise ImageIndexError(f'{folder} cannot be written ({error.strerror or error})') from error
    try:
        yield
    finally:
        unlock(held)


class _Update:
    """One call of :func:`update_index`."""

    def __init__(
        self, writer: IndexWriter, ask: ImageTextRunner, workers: int, check_files: bool
    ) -> None:
        self.writer, self.ask, self.workers = writer, ask, workers
        self.check_files = check_files
        self.root = Path(writer.manifest.root)
        self.changes = Changes()
        self.unreadable = writer.files.unreadable()
        self.keeps = writer.manifest.prefixes is not None
        self.bar: tqdm | None = None
        # what waits to be written
        self.images: list[IndexedFile] = []
        self.features: list[np.ndarray] = []
        self.prefixes: list[Parts] = []
        self.instead: list[int] = []
        self.back: list[int] = []
        self.bytes = 0
        self.since = time.monotonic()

    def run(self, paths: Iterable[Path]) -> Changes:
        """See :func:`update_index`."""
        pending = self._pending(paths)
        if pending or self.instead or self.back:
            self.writer.mark(finished=False)
        try:
            self._encode(pending)
        except KeyboardInterrupt:
            self._write()
            raise
        self._write()
        self.writer.renew_nearest(self._show_neighbours)
        self.writer.mark(finished=True)
        self.changes.total = self.writer.files.found
        self.changes.unreadable = {name: found[2] for name, found in self.unreadable.items()}
        return self.changes

    def _show_neighbours(self, rows: int, total: int) -> None:
        """A bar, once there is something to show."""
        if self.bar is None:
            self.bar = self._bar(None, total, 'image', 'neighbours')
        self.bar.update(rows)
        if self.bar.n >= total:
            self.bar.close()

    def _bar(self, items: Iterable | None, total: int, unit: str, what: str) -> tqdm:
        disable = None if self.ask.show_progress else True  # None: in a terminal only
        return tqdm(items, total=total, unit=unit, desc=what, disable=disable)

    # ---------------------------------------------------------------- looking
    def _pending(self, paths: Iterable[Path]) -> dict[str, int | None]:
        """Names of the files that are to be read, and the rows whose place they take."""
        known: dict[str, int] = {}
        pending: dict[str, int | None] = {}
        files = self.writer.files
        if self.check_files and files.found and not self.root.is_dir():
            raise ImageIndexError(
                f'{self.root}, where the images of {files.folder} lie, is not there: mount its '
                'disk, or say where they are (ImageIndex.open(…, root=…))'
            )
        for row, file in self._bar(files.files(), files.found, 'file', 'looking at files'):
            known[file.name] = row
            if not self.check_files:
                continue
            state = state_of(self.root / file.name, file)
            if state == 'gone':
                self.instead.append(row)
                self.changes.removed += 1
            elif state == 'changed':
                pending[file.name] = row
        removed = ((row, files.file(row)) for row in files.removed.tolist())
        gone = {file.name: (row, file) for row, file in removed}
        for path in paths:
            name = name_of(path, self.root)
            if name in known or name in pending or self._failed_before(name):
                continue
            if name in gone and not state_of(self.root / name, gone[name][1]):
                self.back.append(gone[name][0])  # a disk that is there again
                self.changes.added += 1
                known[name] = gone[name][0]
            else:
                pending[name] = None
        for name in list(self.unreadable) if self.check_files else ():
            if not (self.root / name).exists():  # files that were removed need no listing
                del self.unreadable[name]
            elif not self._failed_before(name):
                pending.setdefault(name, None)
        return pending

    def _failed_before(self, name: str) -> bool:
        """Whether a file could not be read and is as it was."""
        if name not in self.unreadable:
            return False
        try:
            facts = (self.root / name).stat()
        except OSError:
            return False
        return [facts.st_size, facts.st_mtime_ns] == list(self.unreadable[name][:2])

    # --------------------------------------------------------------- encoding
    def _encode(self, pending: Mapping[str, int | None]) -> None:
        names = list(pending)
        reader = FileReader([self.root / name for name in names], self.ask.read)
        loader = DataLoader(
            reader,
            batch_size=self.ask.batch_size,
            num_workers=self.workers,
            collate_fn=list,
        )
        with self._bar(None, len(names), 'image', 'encoding') as bar:
            for batch in loader:
                readable = [one for one in batch if isinstance(one[2], Tensor)]
                for number, facts, found in batch:
                    row = pending[names[number]]
                    if isinstance(found, str):
                        self._note_unreadable(names[number], facts, found, row)
                if readable:
                    self._encode_batch(
                        [names[number] for number, _, _ in readable],
                        [facts for _, facts, _ in readable],
                        [pixels for _, _, pixels in readable],
                    )
                    rows = (pending[names[number]] for number, _, _ in readable)
                    for row in rows:
                        if row is None:
                            self.changes.added += 1
                        else:
                            self.changes.renewed += 1
                            self.instead.append(row)
                bar.update(len(batch))
                if (
                    len(self.images) >= PART_IMAGES
                    or self.bytes >= PART_BYTES
                    or time.monotonic() - self.since > PART_SECONDS
                ):
                    self._write()

    def _note_unreadable(
        self, name: str, facts: tuple[int, int, str] | None, why: str, row: int | None
    ) -> None:
        size, modified = facts[:2] if facts else (-1, -1)
        self.unreadable[name] = [size, modified, why]
        if row is not None:
            self.instead.append(row)
            self.changes.removed += 1

    @torch.no_grad()
    def _encode_batch(
        self,
        names: Sequence[str],
        facts: Sequence[tuple[int, int, str]],
        pixels: Sequence[Tensor],
    ) -> None:
        for one in pixels:
            self.ask.warn_of_photos(one)
        model = self.ask.model
        prefix = model.encode_image(self.ask.normalised(pixels))
        self.features.append(model.image_features(prefix).cpu().numpy())
        self.images += [IndexedFile(name, *known) for name, known in zip(names, facts)]
        for name in names:
            self.unreadable.pop(name, None)
        if self.keeps:
            parts = {name: part.float().cpu().numpy() for name, part in prefix.parts().items()}
            dtype = np.dtype(self.writer.manifest.prefixes)
            for i in range(len(names)):
                self.prefixes.append({name: part[i] for name, part in parts.items()})
                self.bytes += sum(part[i].size for part in parts.values()) * dtype.itemsize

    def _write(self) -> None:
        """Write what waits."""
        features = np.concatenate(self.features) if self.features else np.zeros((0, 0))
        self.writer.add(
            self.images,
            features,
            self.prefixes if self.keeps else None,
            self.instead,
            self.back,
            self.unreadable,
        )
        self.images, self.features, self.prefixes = [], [], []
        self.instead, self.back = [], []
        self.bytes, self.since = 0, time.monotonic()
