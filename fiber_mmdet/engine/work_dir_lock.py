"""One training at a time writes checkpoints into a folder."""

import atexit
import json
import os
import socket
import sys
import time
import warnings
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from mmengine.dist import broadcast_object_list, is_main_process

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]

LOCK = '.training.lock'


class WorkDirInUseError(RuntimeError):
    """Another training writes into the folder; the message names it."""


_held: dict[Path, tuple[int, int]] = {}  # lock file -> its number in this process, and its users


@contextmanager
def training_in(folders: Iterable[str | Path], patience: float = 0.0) -> Iterator[None]:
    """Keep other trainings out of folders; see :func:`lock`."""
    taken: list[Path] = []
    try:
        for folder in folders:
            taken.append(lock(folder, patience=patience))
        yield
    finally:
        unlock(*taken)


def lock(folder: str | Path, name: str = LOCK, patience: float = 0.0) -> Path:
    """Keep trainings of other processes out of a folder, until :func:`unlock` or this one's end.

    The lock is the system's (``flock``) on a file in the folder that says who has it. When a
    process ends, however it ends, the system takes its locks away, so that none is ever left
    behind. Where there are no such locks (Windows, some file systems), nothing is locked, and a
    warning says so.

    Args:
        folder: it is made.
        name: of the file.
        patience: seconds for which to wait for another process to end.

    Returns:
        The file.

    Raises:
        WorkDirInUseError: another process has the lock.
        OSError: the folder cannot be written.
    """
    path = Path(folder).expanduser().resolve() / name
    if path in _held:
        number, users = _held[path]
        _held[path] = number, users + 1
        return path
    path.parent.mkdir(parents=True, exist_ok=True)
    if fcntl is None:
        _warn_unlocked(path, 'this system has no flock')
        return path
    last = time.monotonic() + patience
    while True:
        number = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
        try:
            fcntl.flock(number, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            said = _owner(number)
            os.close(number)
            if time.monotonic() < last:
                time.sleep(0.2)
                continue
            raise WorkDirInUseError(
                f'{path.parent} is in use by another training ({said}), and two would overwrite '
                "each other's files: wait, end it, or choose another work directory (--work-dir)"
            ) from None
        except OSError as error:
            os.close(number)
            path.unlink(missing_ok=True)
            _warn_unlocked(path, error.strerror or str(error))
            return path
        if _is_at(number, path):
            break
        os.close(number)  # its owner has just removed it
    os.ftruncate(number, 0)
    who = dict(process=os.getpid(), host=socket.gethostname(), since=time.strftime('%F %T'))
    os.pwrite(number, json.dumps(who).encode(), 0)
    _held[path] = number, 1
    return path


def unlock(*paths: Path) -> None:
    """Let others in, after as many calls as there were of :func:`lock`.

    Args:
        *paths: what :func:`lock` returned.
    """
    for path in paths:
        number, users = _held.pop(path, (-1, 0))
        if users > 1:
            _held[path] = number, users - 1
        elif users:
            path.unlink(missing_ok=True)  # before the lock goes: what is there is always locked
            os.close(number)


@atexit.register
def _unlock_all() -> None:
    for path in list(_held):
        _held[path] = _held[path][0], 1
        unlock(path)


def _warn_unlocked(path: Path, why: str) -> None:
    warnings.warn(
        f'{path.parent} cannot be locked ({why}): make sure that no other training writes into it',
        stacklevel=3,
    )


def _is_at(number: int, path: Path) -> bool:
    """Whether an open file is the one that has a name now."""
    try:
        return os.path.samestat(os.fstat(number), os.stat(path))
    except FileNotFoundError:
        return False


def _owner(number: int) -> str:
    """Who says in the lock file to have the lock."""
    try:
        who: Any = json.loads(os.pread(number, 1000, 0))
        return f'process {who["process"]} on {who["host"]}, since {who["since"]}'
    except (OSError, ValueError, KeyError, TypeError):
        return 'which has not written its name yet'


def _leave_to_parent() -> None:
    """Close the locks in a forked child, a data worker: they end with the training."""
    for number, _ in _held.values():
        os.close(number)
    _held.clear()


if sys.platform != 'win32':
    os.register_at_fork(after_in_child=_leave_to_parent)


def lock_for_training(folders: Iterable[str | Path], patience: float = 0.0) -> list[Path]:
    """Lock folders in the main process; all processes learn of a refusal.

    Args:
        folders: they are made.
        patience: see :func:`lock`.

    Returns:
        The locks that this process has.

    Raises:
        WorkDirInUseError, OSError: see :func:`lock`.
    """
    taken: list[Path] = []
    found: list[Any] = [None]
    if is_main_process():
        try:
            for folder in folders:
                taken.append(lock(folder, patience=patience))
        except (WorkDirInUseError, OSError) as error:
            found = [error]
            unlock(*taken)
    broadcast_object_list(found)
    if found[0] is not None:
        raise found[0]
    return taken
