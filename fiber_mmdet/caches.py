"""Where this package keeps what it makes once, and how processes take turns to make it."""

import errno
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

FULL = (errno.ENOSPC, errno.EDQUOT)  # numbers of errors of a full disk, or quota


def cache_folder(kind: str) -> Path:
    """The folder of a kind of cached files.

    Below ``$FIBER_CACHE``; without it below ``fiber_mmdet`` beside the hub's own folder,
    ``~/.cache``, or in ``$HF_HOME`` if that is set.

    Args:
        kind: name of the folder, 'weights' or 'annotations'.
    """
    own = os.environ.get('FIBER_CACHE', '').strip()
    if own:
        return Path(own).expanduser() / kind
    from huggingface_hub import constants

    home = os.environ.get('HF_HOME', '').strip()
    base = Path(constants.HF_HOME) if home else Path(constants.HF_HOME).parent
    return base / 'fiber_mmdet' / kind


@contextmanager
def alone(folder: Path, say: Callable[[str], object], what: str) -> Iterator[None]:
    """Keep other processes away from a folder, which is made.

    The lock is a file beside it, and ends with the process that holds it, however that ends.

    Args:
        folder: that one process at a time may change.
        say: receives a line if another process is there already.
        what: the line says that the other process is doing.

    Raises:
        OSError: the folder or the lock cannot be written.
    """
    folder.mkdir(parents=True, exist_ok=True)
    lock = FileLock(f'{folder}.lock')
    try:
        lock.acquire(timeout=0)
    except Timeout:
        say(f'{folder.name}: another process is {what}, waiting for it')
        lock.acquire()
    except NotImplementedError as error:  # of older releases of filelock
        raise OSError(errno.ENOLCK, 'no locks') from error
    try:
        yield
    finally:
        lock.release()
