"""Files on this machine, or in an object store through the filesystems of pyarrow."""

import os
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

from fiber_mmdet.host import need_extra
from fiber_mmdet.images import folders_below

SEPARATOR = '://'


class SourceError(ValueError):
    """Images that cannot be listed; the message names the source and says what to do."""


class FoundFile(NamedTuple):
    """A file below a folder.

    Attributes:
        name: its path below the folder, with "/".
        size: bytes.
        modified: nanoseconds since 1970; 0 where a store does not say.
    """

    name: str
    size: int
    modified: int


def is_address(place: str) -> bool:
    """Whether a place is an address, ``s3://bucket/folder``, and no path of this machine."""
    return SEPARATOR in place


def absolute(place: str) -> str:
    """A place as processes in other folders name it; '' is the working directory."""
    return place if is_address(place) else os.path.abspath(os.path.expanduser(place))


def joined(folder: str, name: str) -> str:
    """The place of a file below a folder; a path or address of its own stays as it is."""
    if is_address(name):
        return name
    if is_address(folder):
        begin, mark, query = folder.partition('?')
        return f'{begin.rstrip("/")}/{name.lstrip("/")}{mark}{query}'
    return os.path.join(folder, name)


def last_name(place: str) -> str:
    """The last part of a place."""
    return (place.partition('?')[0] if is_address(place) else place).rstrip('/').rpartition('/')[2]


def read_bytes(place: str) -> bytes:
    """The content of a file.

    Raises:
        OSError, SourceError: it cannot be read.
    """
    with open_file(place) as file:
        return file.read()


def open_file(place: str) -> BinaryIO:
    """A file, open for reading, which the caller closes.

    Raises:
        OSError, SourceError: it cannot be read.
    """
    if not is_address(place):
        return open(place, 'rb')
    system, path = _system(place)
    return system.open_input_file(path)


def is_folder(place: str) -> bool:
    """Whether a place is a folder.

    Raises:
        FileNotFoundError: there is nothing.
        OSError, SourceError: it cannot be looked at.
    """
    if not is_address(place):
        local = Path(place)
        if not local.exists():
            raise FileNotFoundError(f'no file or folder at {place!r}')
        return local.is_dir()
    fs = need_extra('pyarrow.fs', 'tables', 'an object store')
    system, path = _system(place)
    found = system.get_file_info(path)
    if found.type == fs.FileType.NotFound:
        raise FileNotFoundError(f'no file or folder at {place!r}')
    return found.type == fs.FileType.Directory


def file_at(place: str) -> FoundFile:
    """Size and time of a file; its name is the place.

    Raises:
        OSError, SourceError: there is none.
    """
    if not is_address(place):
        status = os.stat(place)
        return FoundFile(place, status.st_size, status.st_mtime_ns)
    system, path = _system(place)
    found = system.get_file_info(path)
    if not found.is_file:
        raise FileNotFoundError(f'no file at {place!r}')
    return FoundFile(place, found.size, found.mtime_ns or 0)


def files_below(folder: str) -> list[FoundFile]:
    """All files below a folder, by name, without hidden ones.

    Raises:
        OSError, SourceError: it cannot be listed.
    """
    found = _stored_files(folder) if is_address(folder) else _local_files(folder)
    return sorted(one for one in found if not _is_hidden(one.name))


def _is_hidden(name: str) -> bool:
    return name.startswith('.') or '/.' in name


def _local_files(folder: str) -> Iterator[FoundFile]:
    for place, names in folders_below(folder, _refuse):
        below = os.path.relpath(place, folder).replace(os.sep, '/')
        for name in names:
            path = os.path.join(place, name)
            try:
                status = os.stat(path)
            except OSError:  # a link to nothing: reading it will say so
                status = None
            size, time = (status.st_size, status.st_mtime_ns) if status else (0, 0)
            yield FoundFile(name if below == '.' else f'{below}/{name}', size, time)


def _refuse(error: OSError) -> None:
    raise error


def _stored_files(folder: str) -> Iterator[FoundFile]:
    fs = need_extra('pyarrow.fs', 'tables', 'an object store')
    system, path = _system(folder)
    root = path.rstrip('/') + '/'
    for one in system.get_file_info(fs.FileSelector(path, recursive=True)):
        if one.is_file:
            yield FoundFile(one.path.removeprefix(root), one.size, one.mtime_ns or 0)


def _system(address: str) -> tuple[Any, str]:
    """The filesystem of an address, and the path in it."""
    scheme, _, rest = address.partition(SEPARATOR)
    bucket, slash, path = rest.partition('/')
    path, _, query = path.partition('?')
    system, root = _filesystem(scheme, bucket, query)
    return system, f'{root.rstrip("/")}/{path}' if slash else root


@lru_cache(maxsize=16)
def _filesystem(scheme: str, bucket: str, query: str) -> tuple[Any, str]:
    fs = need_extra('pyarrow.fs', 'tables', 'an object store')
    arrow = need_extra('pyarrow', 'tables', 'an object store')
    address = f'{scheme}{SEPARATOR}{bucket}/' + (f'?{query}' if query else '')
    try:
        return fs.FileSystem.from_uri(address)
    except (arrow.ArrowInvalid, NotImplementedError) as error:
        said = str(error).splitlines()[0]
        raise SourceError(
            f'{address}: pyarrow has no filesystem for it ({said}): give a path, or an address '
            'such as s3://bucket/folder, gs://…, abfs://… or hdfs://…'
        ) from error
