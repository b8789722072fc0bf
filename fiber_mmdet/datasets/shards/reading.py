"""Reading a shard: its samples in order, from any of them on, and what is wrong with it."""

import tarfile
import time
import zlib
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass
from typing import Any, TypeAlias

from fiber_mmdet.host import need_extra

from .names import SHARDS, is_local

LARGEST_FILE = 2**30  # bytes; a header can claim any number, and a compressed shard unpack to it
RETRY_SECONDS = 1.0  # before the first repetition, doubled for each
OpenStream: TypeAlias = Callable[[str], Any]  # a binary file, from its name
ERRORS = (OSError, tarfile.TarError, EOFError, ValueError, zlib.error)


@dataclass(frozen=True)
class Fault:
    """Something of a shard that is left out.

    Attributes:
        shard: its name.
        key: of the sample; '' for the shard itself, of which the rest is left out.
        reason: what is wrong.
    """

    shard: str
    key: str
    reason: str

    def __str__(self) -> str:
        return f'{self.shard}{", " * bool(self.key)}{self.key}: {self.reason}'


@dataclass(frozen=True)
class TooLarge:
    """Stands for a file that is not read."""

    size: int


class _StrictHeader(tarfile.TarInfo):
    """A header whose absence is an error.

    Differs from tarfile's: it takes a file that is cut off, or damaged, between two members for one
    that ends there. A whole one ends with blocks of zeros.
    """

    @classmethod
    def fromtarfile(cls, archive: Any) -> Any:
        try:
            return super().fromtarfile(archive)
        except tarfile.EOFHeaderError:  # type: ignore[attr-defined]
            raise
        except tarfile.HeaderError as error:
            raise tarfile.ReadError(f'cut off or damaged at byte {archive.offset}') from error


def read_shard(
    name: str, start: int = 0, retries: int = 3, open_stream: OpenStream | None = None
) -> Iterator[dict[str, Any] | Fault]:
    """The samples of a shard as webdataset groups them: files of the same name but for the ending.

    A shard that cannot be opened, or breaks off, is tried again (a local one only if the system
    reports an error), from the sample on that was to come.

    Args:
        name: path or address.
        start: samples that are read over: their files are not returned, and, in a local file, not
            read.
        retries: how often.
        open_stream: opens it; None for webdataset's ``gopen``.

    Yields:
        ``__key__`` and the content of each file by its ending in small letters, bytes or
        :class:`TooLarge`. Last, if the shard could not be read to its end, what is wrong with it.
    """
    number = start
    for attempt in range(retries + 1):
        end = _End()
        for sample in _samples(name, number, end, open_stream):
            number += 1
            yield sample
        if end.error is None:
            if not number:
                yield Fault(name, '', 'it has no sample')
            return
        if attempt == retries or not (isinstance(end.error, OSError) or not is_local(name)):
            break
        time.sleep(RETRY_SECONDS * 2**attempt)
    assert end.error is not None
    if end.last is not None and _files_of(end.last) > 1:
        number += 1
        yield end.last
    tried = f', tried {attempt + 1} times' if attempt else ''
    yield Fault(name, '', f'{_said(end.error)}{tried}; {number} samples of it were read')


@dataclass
class _End:
    """How reading a shard ended.

    Attributes:
        error: what ended it early; None at its end.
        last: the sample where it broke off, which may lack files.
    """

    error: BaseException | None = None
    last: dict[str, Any] | None = None


def _samples(
    name: str, start: int, end: _End, open_stream: OpenStream | None
) -> Iterator[dict[str, Any]]:
    """Samples from ``start`` on, but for one that is cut off; ``end`` says how they ended."""
    grouped = need_extra('webdataset.tariterators', 'shards', SHARDS).group_by_keys
    double: list[str] = []

    def note(error: Exception) -> bool:
        double.append('it has two files of one name')
        return True

    waiting: dict[str, Any] | None = None
    for sample in grouped(_files(name, start, end, open_stream), handler=note):
        if double:
            sample['__fault__'] = double.pop()
        if waiting is not None:
            yield waiting
        waiting = sample
    if waiting is not None and end.error is None:
        yield waiting
    end.last = waiting


def _files_of(sample: dict[str, Any]) -> int:
    return sum(not key.startswith('__') for key in sample)


def _files(
    name: str, start: int, end: _End, open_stream: OpenStream | None
) -> Iterator[dict[str, Any]]:
    """The files of the samples from ``start`` on, as webdataset passes them on."""
    for number, archive, info in _members(name, end, open_stream):
        if number >= start:
            try:
                content = _content(archive, info)
            except ERRORS as error:
                end.error = error
                return
            yield dict(fname=info.name, data=content, __url__=name)


def _members(
    name: str, end: _End, open_stream: OpenStream | None = None
) -> Iterator[tuple[int, tarfile.TarFile, tarfile.TarInfo]]:
    """Files of a shard, each with the number of its sample."""
    parts = need_extra('webdataset.tariterators', 'shards', SHARDS).base_plus_ext
    if open_stream is None:
        open_stream = need_extra('webdataset.gopen', 'shards', SHARDS).gopen
    stream: Any = None
    number, current = -1, None
    try:
        stream = open_stream(name)
        with closing(stream):
            seekable = hasattr(stream, 'seekable') and stream.seekable()
            mode: Any = 'r:*' if seekable else 'r|*'
            with tarfile.open(fileobj=stream, mode=mode, tarinfo=_StrictHeader) as archive:
                while (info := archive.next()) is not None:
                    archive.members = []  # type: ignore[attr-defined]  # which would grow
                    key = parts(info.name)[0]
                    if not info.isreg() or info.issparse() or key is None or _is_meta(info.name):
                        continue
                    if key != current:
                        number, current = number + 1, key
                    yield number, archive, info
            while not seekable and stream.read(2**16):
                pass  # a program that writes to nobody ends with an error
    except ERRORS as error:
        end.error = error
    code = getattr(getattr(stream, 'proc', None), 'returncode', None)
    if end.error is not None and code:
        command = stream.args[0][0]
        program = command.split()[0] if isinstance(command, str) else command[0]
        end.error = OSError(f'{program} ended with exit code {code}')


def _content(archive: tarfile.TarFile, info: tarfile.TarInfo) -> bytes | TooLarge:
    if info.size > LARGEST_FILE:
        return TooLarge(info.size)
    file = archive.extractfile(info)
    content = file.read() if file is not None else b''
    if len(content) < info.size:
        raise tarfile.ReadError(f'cut off within {info.name}')
    return content


def _is_meta(name: str) -> bool:
    """Whether webdataset leaves a file out: ``__name__``, as it or as the folder."""
    first = name.split('/', 1)[0]
    return first.startswith('__') and first.endswith('__')


def _said(error: BaseException) -> str:
    said = ' '.join(str(error).split())
    if isinstance(error, OSError) and error.strerror:
        said = error.strerror
    if 'could not be opened' in said:  # by any of tarfile's methods
        said = 'it is no tar file'
    return f'it cannot be read to its end ({said or type(error).__name__})'


def count_samples(name: str) -> int:
    """Samples of a shard by its headers.

    Raises:
        OSError: it cannot be read to its end.
    """
    end, count = _End(), 0
    for number, _, _ in _members(name, end):
        count = number + 1
    if end.error is not None:
        raise OSError(f'{name}: {_said(end.error)}')
    return count
