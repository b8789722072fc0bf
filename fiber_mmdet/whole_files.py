"""Files that are written whole or not at all."""

import os
import shutil
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

PART = '.part'


def part_of(path: str | Path, token: str | int | None = None) -> Path:
    """The temporary name under which a file is written, hidden in the folder of the file.

    Args:
        path: the file.
        token: what tells writers apart; by default the number of this process.
    """
    path = Path(path)
    name = os.fsdecode(os.fsencode(path.name)[:200])  # names have at most 255 bytes
    return path.with_name(f'.{name}.{os.getpid() if token is None else token}{PART}')


def put_in_place(part: Path, path: str | Path) -> None:
    """Let a finished file (or folder of files) take the place of another one, in one step.

    What was written is on the disk before the name changes, so that a loss of power, too, leaves
    one of the two, whole.

    Args:
        part: what was written, in the same folder.
        path: the name that it takes.

    Raises:
        OSError: the system refuses; nothing has changed then.
    """
    path = Path(path)
    for file in part.rglob('*') if part.is_dir() else (part,):
        if file.is_file() and not file.is_symlink():
            with open(file, 'rb+') as written:
                os.fsync(written.fileno())
    if path.is_dir() and part.is_dir():  # only empty folders are replaced
        old = path.with_name(f'{part.name}.old')
        os.replace(path, old)
        os.replace(part, path)
        shutil.rmtree(old, ignore_errors=True)
    else:
        os.replace(part, path)
    _sync_folder(path.parent)


@contextmanager
def replacing(path: str | Path) -> Iterator[Path]:
    """Write a file beside its place; it appears there when the block ends without an error.

    Args:
        path: the file. Its folder is made.

    Yields:
        The path to write to.

    Raises:
        OSError: it cannot be written. What was there before is unchanged.
    """
    path = Path(path)
    part = part_of(path, f'{threading.get_ident()}.{os.getpid()}')  # threads write files, too
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        yield part
        put_in_place(part, path)
    finally:
        part.unlink(missing_ok=True)


def remove_leftovers(folder: str | Path) -> list[Path]:
    """Remove what writers of a folder left that ended before they had finished.

    Args:
        folder: where :func:`part_of` names files.

    Returns:
        What was removed. Parts of processes that still run are left.
    """
    removed = []
    for part in sorted(Path(folder).glob(f'.*{PART}')):
        token = part.name[: -len(PART)].rpartition('.')[2]
        if token.isdigit() and int(token) != os.getpid() and _runs(int(token)):
            continue
        if part.is_dir():
            shutil.rmtree(part, ignore_errors=True)
        else:
            part.unlink(missing_ok=True)
        removed.append(part)
    return removed


def _runs(process: int) -> bool:
    if os.name == 'nt':
        return True  # asking there would end it
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except OSError:
        pass  # of another user
    return True


def _sync_folder(folder: Path) -> None:
    """Write the names of a folder to the disk, where the system can."""
    try:
        number = os.open(folder, os.O_RDONLY)
    except OSError:
        return
    try:
        os.fsync(number)
    except OSError:
        pass
    finally:
        os.close(number)
