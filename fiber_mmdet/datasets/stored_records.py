"""Records on disk: an Arrow file whose index is mapped into memory, and read from the page cache.

All processes of a machine share the pages of both, and a record costs a process no memory before
and after it is used. (Mapped records would count in each process, 64 KB around every one.)
A record is plain data in MessagePack, a row of a binary column, with its checksum beside it. No row
is decoded before it is asked for, and nothing in the file can run code.
"""

import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import Any
from zlib import crc32

import numpy as np

from fiber_mmdet.caches import FULL
from fiber_mmdet.host import need_extra

ROWS = 4096  # of a batch; a record is found without a search
HEADER, HEADER_CRC = b'fiber_mmdet', b'fiber_mmdet.crc'  # in the metadata of the file
PURPOSE = 'a cache of annotations'
POSITIONED = hasattr(os, 'pread')  # elsewhere records are mapped, too
TUPLE, SET, ARRAY = 1, 2, 3  # what MessagePack lacks, as its extension types


class DamagedRecords(ValueError):
    """A file that is not, or no longer, one of records; the message names it."""


class CannotStore(RuntimeError):
    """Records that cannot be stored; the message says why and what to do."""


class NotPlain(CannotStore):
    """A value that is more than plain data."""


def need_packages() -> None:
    """Import what storing records needs.

    Raises:
        MissingExtra: a package is not installed; the message says how to get it.
    """
    need_extra('pyarrow', 'annotations', PURPOSE)
    need_extra('msgpack', 'annotations', PURPOSE)


class RecordWriter:
    """Writes records to a file, one after the other; memory holds a batch of them.

    Args:
        path: the file, which is written in place.
        header: plain data about the whole, see :attr:`RecordFile.header`.

    Raises:
        NotPlain: the header, or a record, is more than plain data.
        CannotStore: the file cannot be written. (Errors of whoever makes the records pass.)
    """

    def __init__(self, path: Path, header: Mapping[str, Any]) -> None:
        arrow = need_extra('pyarrow', 'annotations', PURPOSE)
        self.path = path
        self._pack = packer()
        self._arrow = arrow
        content = self._pack(dict(header))
        self._schema = arrow.schema(
            [('record', arrow.large_binary()), ('crc', arrow.uint32())],
            metadata={HEADER: content, HEADER_CRC: str(crc32(content))},
        )
        with writing_to(path.parent):
            self._file = open(path, 'wb')
            self._writer = arrow.ipc.new_file(self._file, self._schema)
        self._batch: list[bytes] = []

    def __enter__(self) -> 'RecordWriter':
        return self

    def __exit__(self, kind: type | None, *error: object) -> None:
        try:
            if kind is None:
                self._write()
                with writing_to(self.path.parent):
                    self._writer.close()
                    self._file.close()
        finally:
            with suppress(Exception):  # what is there is of no use
                self._writer.close()
            with suppress(OSError):
                self._file.close()

    def extend(self, records: Iterable[Any]) -> None:
        """Write further records; those of a file are copied as they are."""
        packed = (
            records.packed() if isinstance(records, StoredRecords) else map(self._pack, records)
        )
        for record in packed:
            self._batch.append(record)
            if len(self._batch) == ROWS:
                self._write()

    def _write(self) -> None:
        if self._batch:
            crcs = np.fromiter(map(crc32, self._batch), np.uint32, len(self._batch))
            records = self._arrow.array(self._batch, self._arrow.large_binary())
            columns = [records, self._arrow.array(crcs)]
            batch = self._arrow.record_batch(columns, schema=self._schema)
            with writing_to(self.path.parent):
                self._writer.write_batch(batch)
            self._batch = []


class RecordFile:
    """A file of records, mapped into memory.

    Args:
        path: of the file.

    Attributes:
        header: plain data about the whole.

    Raises:
        FileNotFoundError: there is no such file.
        DamagedRecords: it is cut off, or of another kind.
    """

    def __init__(self, path: str | Path) -> None:
        arrow = need_extra('pyarrow', 'annotations', PURPOSE)
        self.path = Path(path)
        self.unpack = unpacker()
        if not self.path.is_file():
            raise FileNotFoundError(f'no file {self.path}')
        try:
            self._map = arrow.memory_map(str(self.path))
            reader = arrow.ipc.open_file(self._map)
            content = reader.schema.metadata[HEADER]
            if reader.schema.metadata[HEADER_CRC] != str(crc32(content)).encode():
                raise ValueError('its header is not what was written')
            self.header = self.unpack(content)
            batches = [reader.get_batch(i) for i in range(reader.num_record_batches)]
            self._file = open(self.path, 'rb', buffering=0)
            self._map.seek(0)
            start = self._map.read_buffer(1).address
            self._batches = [self._views(batch, start) for batch in batches]
            sizes = [batch.num_rows for batch in batches]
            if any(size != ROWS for size in sizes[:-1]) or sizes[-1:] > [ROWS]:
                raise ValueError('its batches are of another size')
        except Exception as error:  # of Arrow, MessagePack or Python, as the damage will have it
            raise DamagedRecords(f'{self.path} is damaged ({_line(error)})') from error
        self.size = sum(sizes)

    @staticmethod
    def _views(batch: Any, start: int) -> tuple[memoryview, memoryview, int, memoryview]:
        """Where the records of a batch end, their bytes and where these begin, and checksums."""
        batch.validate(full=True)
        records, crcs = batch.column('record'), batch.column('crc')
        if records.null_count or crcs.null_count or records.offset or crcs.offset:
            raise ValueError('it has empty rows')
        _, ends, data = records.buffers()
        count = batch.num_rows
        return (
            memoryview(ends)[: 8 * (count + 1)].cast('q'),
            memoryview(data),
            data.address - start,
            memoryview(crcs.buffers()[1])[: 4 * count].cast('I'),
        )

    def __reduce__(self) -> tuple:
        return RecordFile, (str(self.path),)

    def packed(self, row: int) -> bytes | memoryview:
        """The bytes of a record.

        Raises:
            DamagedRecords: they are not those that were written. The file is removed.
        """
        batch, place = divmod(row, ROWS)
        ends, data, offset, crcs = self._batches[batch]
        begin, end = ends[place], ends[place + 1]
        if POSITIONED:
            found = os.pread(self._file.fileno(), end - begin, offset + begin)
        else:
            found = bytes(data[begin:end])
        if crc32(found) != crcs[place]:
            with suppress(OSError):
                self.path.unlink()
            raise DamagedRecords(
                f'{self.path}: record {row} is damaged. The file was removed: start again, and it '
                'is made anew'
            )
        return found


class StoredRecords(Sequence[Any]):
    """A list of records in a file. Each access decodes one, and returns an object of its own.

    Args:
        file: that they are in.
        rows: which of its rows, in which order; all by default.
    """

    def __init__(self, file: RecordFile, rows: 'range | np.ndarray | None' = None) -> None:
        self.file = file
        self.rows = range(file.size) if rows is None else rows

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, index: Any) -> Any:
        """A record; with a slice or a list of numbers, the list of those, still in the file."""
        if isinstance(index, slice):
            return StoredRecords(self.file, self.rows[index])
        if isinstance(index, (Sequence, np.ndarray)):
            rows = np.asarray(self.rows, dtype=np.int64)
            return StoredRecords(self.file, rows[np.asarray(index, dtype=np.int64)])
        return self.file.unpack(self.file.packed(int(self.rows[index])))

    def __iter__(self) -> Iterator[Any]:
        return map(self.file.unpack, map(self.file.packed, map(int, self.rows)))

    def packed(self) -> Iterator[bytes]:
        """The bytes of each record."""
        return map(bytes, map(self.file.packed, map(int, self.rows)))

    def __deepcopy__(self, memo: dict) -> 'StoredRecords':
        return self  # immutable, so subsets of a dataset can share it


@contextmanager
def writing_to(folder: Path) -> Iterator[None]:
    """Turn errors of the disk into what to do about them.

    Raises:
        CannotStore: the folder cannot be written.
    """
    try:
        yield
    except OSError as error:
        if error.errno in FULL:
            raise CannotStore(
                f'the disk of {folder} is full: make room there, or set FIBER_CACHE, or '
                'annotation_cache of the dataset, to a folder on another disk'
            ) from error
        raise CannotStore(
            f'{folder} cannot be written ({error.strerror or error}): set FIBER_CACHE, or '
            'annotation_cache of the dataset, to a folder that can'
        ) from error


def packer() -> Any:
    """A function from plain data to bytes.

    It takes None, truth values, numbers, text, bytes, lists, tuples, sets, dictionaries and numpy's
    arrays of numbers, and raises :class:`NotPlain` for everything else, subclasses included: what
    comes back is what was given.
    """
    msgpack = need_extra('msgpack', 'annotations', PURPOSE)
    options = dict(strict_types=True, unicode_errors='surrogatepass')

    def other(value: Any) -> Any:
        if type(value) is tuple:
            return msgpack.ExtType(TUPLE, pack(list(value)))
        if type(value) in (set, frozenset):
            return msgpack.ExtType(SET, pack([type(value) is set, *value]))
        if type(value) is np.ndarray and not value.dtype.hasobject:
            parts = [value.dtype.str, list(value.shape), value.tobytes()]
            return msgpack.ExtType(ARRAY, pack(parts))
        raise NotPlain(f'it holds a {type(value).__name__}, which is no plain data')

    def pack(value: Any) -> bytes:
        try:
            return msgpack.packb(value, default=other, **options)
        except (OverflowError, ValueError) as error:  # a number of more than 64 bits; depth
            raise NotPlain(f'it cannot be packed ({_line(error)})') from error

    return pack


def unpacker() -> Any:
    """The opposite of :func:`packer`."""
    msgpack = need_extra('msgpack', 'annotations', PURPOSE)

    def other(code: int, data: bytes) -> Any:
        found = unpack(data)
        if code == TUPLE:
            return tuple(found)
        if code == SET:
            return set(found[1:]) if found[0] else frozenset(found[1:])
        if code == ARRAY:
            dtype, shape, content = found
            return np.frombuffer(content, np.dtype(dtype)).reshape(shape).copy()
        raise ValueError(f'unknown type {code}')

    unpack = partial(
        msgpack.unpackb, ext_hook=other, strict_map_key=False, unicode_errors='surrogatepass'
    )
    return unpack


def _line(error: Exception) -> str:
    return ' '.join(f'{type(error).__name__}: {error}'.split())
