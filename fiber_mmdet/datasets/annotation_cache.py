"""Which cache belongs to a dataset, and how it is made: once, whole, by one process."""

import logging
import os
import os.path as osp
import re
import shutil
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from copy import deepcopy
from pathlib import Path
from typing import Any

import mmdet
from mmengine.logging import MMLogger

from fiber_mmdet.caches import alone, cache_folder
from fiber_mmdet.host import MissingExtra
from fiber_mmdet.version import __version__
from fiber_mmdet.whole_files import part_of, remove_leftovers, replacing

from .reading_options import ASIDE, digest, options_of, said_plainly, sources_of
from .stored_records import (
    CannotStore,
    DamagedRecords,
    RecordFile,
    RecordWriter,
    StoredRecords,
    need_packages,
    writing_to,
)

# What readers make of a file, beside what the classes themselves say: a new number makes all caches
# again.
RECORDS = 1
SAMPLES = 'samples'


def records_of(dataset: Any) -> StoredRecords | None:
    """The records of a dataset, from its cache, which is made if it is not there yet.

    What reading the file leaves on the dataset beside its records, such as the classes, and what it
    logs, come from the cache, too.

    Args:
        dataset: a ``CachedAnnotations``, before it has read its file.

    Returns:
        The records; None for a dataset that has to read its file itself: a small or remote one,
        or, which the log says in a line, one whose cache cannot be kept.

    Raises:
        Exception: what reading the file raises.
    """
    paths = dataset.annotation_inputs()
    files = [path for path in paths if osp.isfile(path)]
    if not paths or len(files) < sum(not osp.isdir(path) for path in paths):
        return None  # remote, or missing, which the reader says best
    size = sum(map(osp.getsize, files))
    if size < dataset.annotation_cache_from * 1e6:
        return None
    logger = MMLogger.get_current_instance()
    said = f'{", ".join(files)} ({size / 1e6:.0f} MB)'
    try:
        need_packages()
        cache = AnnotationCache(dataset, paths, said)
        return cache.find() or cache.make(size)
    except (MissingExtra, CannotStore) as error:
        level = logging.INFO if isinstance(error, MissingExtra) else logging.WARNING
        logger.log(
            level,
            f'{said}: every process reads the whole file at every start, because there is no '
            f'cache: {error}',
        )
        return None


class AnnotationCache:
    """The cache of one dataset: a file whose name says of what.

    Args:
        dataset: before it has read its files.
        paths: of the files, and of folders whose names of files matter.
        said: what the log calls them.

    Raises:
        NotPlain: the dataset has options whose values cannot be compared with those of another.
    """

    def __init__(self, dataset: Any, paths: Sequence[str], said: str) -> None:
        self.dataset = dataset
        self.said = said
        self.before = options_of(dataset)
        kind = type(dataset)
        self.key = dict(
            options=[f'{kind.__module__}.{kind.__qualname__}', *self.before.items()],
            state=[RECORDS, __version__, mmdet.__version__, *sources_of(kind)],
        )
        for path in paths:
            status = os.stat(path)
            changed = [status.st_mtime_ns, *[status.st_size] * osp.isfile(path)]
            self.key['options'].append(osp.realpath(path))
            self.key['state'].append(changed)
        given = dataset.annotation_cache
        root = Path(given).expanduser() if isinstance(given, str) else cache_folder('annotations')
        stem = re.sub(r'[^\w.+-]', '_', osp.splitext(osp.basename(paths[0]))[0])[:80]
        self.folder = root / f'{stem}-{digest(self.key["options"])}'
        self.file = self.folder / f'{digest(self.key["state"])}.arrow'

    def find(self, damaged: int = logging.DEBUG, log: bool = True) -> StoredRecords | None:
        """The records, if the cache is there, with all that reading leaves on the dataset.

        Args:
            damaged: level at which the log tells of a damaged cache.
            log: repeat what reading the file logged.

        Returns:
            None if there is no cache, or only a damaged one.
        """
        try:
            file = RecordFile(self.file)
            header = file.header
            if header.get('key') != digest(self.key):
                raise DamagedRecords(f'{self.file} is of another file')
            sections, start = {}, 0
            for name, size in header['sections'].items():
                sections[name] = StoredRecords(file, range(start, start + size))
                start += size
            if start != file.size or ASIDE.intersection((*header['state'], *sections)):
                raise DamagedRecords(f'{self.file} holds something else')
            samples = sections.pop(SAMPLES)
        except FileNotFoundError:
            return None
        except (DamagedRecords, KeyError, TypeError, AttributeError, OSError) as error:
            MMLogger.get_current_instance().log(
                damaged, f'{self.said}: the cache is made again: {error}'
            )
            return None
        vars(self.dataset).update(header['state'], **sections)
        self.dataset.remake()
        logger = MMLogger.get_current_instance()
        size = self.file.stat().st_size / 1e6
        logger.info(f'{self.said}: {len(samples)} samples come from {self.file} ({size:.0f} MB)')
        for level, message in header['log'] if log else ():
            logger.log(level, message)
        return samples

    def make(self, size: int) -> StoredRecords:
        """Read the files and write the cache, unless another process does; then wait for it.

        Args:
            size: of the files in bytes.

        Raises:
            CannotStore: the cache cannot be written. The dataset is as before then.
            Exception: what reading raises.
        """
        logger = MMLogger.get_current_instance()
        with alone_in(self.folder, logger.info):
            found = self.find(logging.WARNING)
            if found is not None:
                return found
            remove_leftovers(self.folder)
            free = shutil.disk_usage(self.folder).free
            if free < 2 * size:  # up to three copies of the records, each half as large
                raise CannotStore(
                    f'the disk of {self.folder} has {free / 1e6:.0f} MB left, and making one takes '
                    f'up to {2 * size / 1e6:.0f}: make room there, or set FIBER_CACHE, or '
                    'annotation_cache of the dataset, to a folder on another disk'
                )
            logger.info(f'{self.said}: read once, for a cache in {self.folder.parent}')
            before = {
                name: value if name in ASIDE else deepcopy(value)
                for name, value in vars(self.dataset).items()
            }
            try:
                self._write()
            except CannotStore:
                vars(self.dataset).clear()
                vars(self.dataset).update(before)
                raise
            found = self.find(logging.WARNING, log=False)
            if found is None:
                raise CannotStore(f'{self.file} cannot be read back')
            for file in self.folder.glob('*.arrow'):
                if file != self.file:  # of the file as it was
                    file.unlink(missing_ok=True)
            return found

    def _write(self) -> None:
        with Spill(self.folder) as spill, kept_log() as messages:
            self.dataset._spill = spill
            try:
                self.dataset.data_list = self.dataset.load_data_list()
                samples = self.dataset.filter_data()
            finally:
                self.dataset._spill = None
            state, sections = self._left()
            sections[SAMPLES] = samples
            header = dict(
                key=digest(self.key),
                state=state,
                log=messages,
                sections={name: len(records) for name, records in sections.items()},
            )
            with writing_to(self.folder), replacing(self.file) as part:
                with RecordWriter(part, header) as writer:
                    for records in sections.values():
                        writer.extend(records)
            self.dataset.data_list = []

    def _left(self) -> tuple[dict[str, Any], dict[str, Sequence[Any]]]:
        """What reading has left on the dataset: plain values, and further records on disk."""
        state: dict[str, Any] = {}
        sections: dict[str, Sequence[Any]] = {}
        for name, value in vars(self.dataset).items():
            if name in ASIDE or name in self.dataset.REMADE:
                continue
            if isinstance(value, StoredRecords):
                sections[name] = value
            elif self.before.get(name) != said_plainly(name, value):
                state[name] = value
        return state, sections


class Spill:
    """Records on their way into a cache: each list that a reader collects is a file of its own.

    Args:
        folder: of the cache. Files are removed at the end.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._parts: list[Path] = []

    def __enter__(self) -> 'Spill':
        return self

    def __exit__(self, *error: object) -> None:
        for part in self._parts:
            part.unlink(missing_ok=True)

    def keep(self, records: Iterator[Any]) -> StoredRecords:
        """Write records as they come."""
        part = part_of(self.folder / 'records', f'{len(self._parts)}.{os.getpid()}')
        self._parts.append(part)
        with RecordWriter(part, {}) as writer:
            writer.extend(records)
        return StoredRecords(RecordFile(part))


@contextmanager
def alone_in(folder: Path, say: Any) -> Iterator[None]:
    """One process at a time; see :func:`fiber_mmdet.caches.alone`.

    Raises:
        CannotStore: the folder cannot be written.
    """
    with ExitStack() as stack:
        with writing_to(folder.parent):
            stack.enter_context(alone(folder, say, 'reading these annotations'))
        yield


@contextmanager
def kept_log() -> Iterator[list[tuple[int, str]]]:
    """What the log is told meanwhile, with the levels."""
    logger, messages = MMLogger.get_current_instance(), []

    class Keeper(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            messages.append((record.levelno, record.getMessage()))

    keeper, level = Keeper(), logger.level
    logger.addHandler(keeper)
    logger.setLevel(min(level, logging.INFO))  # handlers have levels of their own
    try:
        yield messages
    finally:
        logger.removeHandler(keeper)
        logger.setLevel(level)
