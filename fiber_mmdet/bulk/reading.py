"""The images of a block: read and decoded ahead of the model, each with a reason if it cannot be.

Nothing that one image can do ends the block: what cannot be read is an image without pixels. A
store that does not answer is asked again; what it then does not give is told apart from files that
are broken or not there.
"""

import time
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import numpy as np

from fiber_mmdet.datasets.shards.reading import Fault
from fiber_mmdet.images import ImageError, decode_image

from .places import SourceError, is_address, joined, last_name, read_bytes
from .shards import shard_rows
from .tables import table_rows

READERS = 2  # threads that read and decode
WAITS = (1, 5)  # seconds before a file is read again
# what a file cannot help being
OF_THE_FILE = (FileNotFoundError, PermissionError, IsADirectoryError, NotADirectoryError)


@dataclass(frozen=True)
class BulkImage:
    """An image of a bulk job.

    Attributes:
        name: what the output calls it.
        pixels: (H, W, 3) uint8 RGB; None if it cannot be read.
        reason: why not.
        text: what belongs to it, if texts were asked for.
        content: the image file, if it was in a table or shard.
        no_answer: whether its disk or store failed, and not the image.
    """

    name: str
    pixels: np.ndarray | None = None
    reason: str = ''
    text: str | None = None
    content: bytes | None = None
    no_answer: bool = False


def images_of(
    block: dict[str, Any],
    texts: bool = False,
    ahead: int = 16,
    readers: int = READERS,
    skip: Callable[[str], str] = lambda name: '',
) -> Iterator[BulkImage]:
    """The images of a block, in their order.

    Args:
        block: a line of the list of blocks.
        texts: whether an image without a text is one that cannot be read.
        ahead: images that are decoded before they are asked for.
        readers: threads that do this.
        skip: says for a name why the image is not to be touched; '' if it is.

    Raises:
        OSError: a store gives nothing of a table or shard.
    """
    waiting: deque[Future[BulkImage]] = deque()
    with ThreadPoolExecutor(readers) as pool:
        for row in _rows(block):
            reason = row.fault or skip(row.name)
            if not reason and texts and not (row.text or '').strip():
                reason = f'it has no text ({block.get("text_from") or "an empty cell"})'
            waiting.append(pool.submit(_decoded, row, reason))
            while len(waiting) > ahead:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()


@dataclass(frozen=True)
class _Row:
    """An image that is not read yet.

    Attributes:
        name: of the image.
        text: that belongs to it.
        place: of its file; '' if it is in a table or shard.
        content: of its file, if it is; None if there is none.
        fault: why there is nothing to read.
    """

    name: str
    text: str | None = None
    place: str = ''
    content: bytes | None = None
    fault: str = ''


def _rows(block: dict[str, Any]) -> Iterator[_Row]:
    """The images of a block."""
    if block['kind'] == 'files':
        texts = block.get('texts') or [None] * len(block['names'])
        for name, text in zip(block['names'], texts):
            yield _Row(name, text, place=joined(block['root'], name))
        return
    count = 0
    fault = ''
    try:
        for row in table_rows(block) if block['kind'] == 'table' else shard_rows(block):
            if isinstance(row, Fault):
                fault = row.reason
                break
            count += 1
            name, content, text = row
            if isinstance(content, str):
                yield _Row(name, text, fault=content)
            else:
                yield _Row(name, text, content=content)
    except (OSError, ValueError) as error:  # of a table
        fault = f'the rest of the file cannot be read: {_said(error)}'
    if fault:
        if not count and is_address(block['file']):
            raise OSError(f'{block["file"]}: {fault}')
        # what stands behind the fault is lost, and that has to be seen
        yield _Row(last_name(block['file']), fault=fault)


def _decoded(row: _Row, reason: str) -> BulkImage:
    if reason:
        return BulkImage(row.name, reason=reason, text=row.text)
    try:
        content = _read(row.place) if row.place else row.content
        if content is None:
            raise ImageError('there is no image in it')
        pixels = decode_image(content, row.name)
    except ImageError as error:
        return BulkImage(row.name, reason=' '.join(error.reason.split()), text=row.text)
    except (OSError, ValueError) as error:
        lost = isinstance(error, OSError) and not isinstance(error, OF_THE_FILE)
        return BulkImage(row.name, reason=_said(error), text=row.text, no_answer=lost)
    return BulkImage(row.name, pixels, '', row.text, None if row.place else content)


def _read(place: str) -> bytes:
    for wait in WAITS:
        try:
            return read_bytes(place)
        except OF_THE_FILE:
            raise
        except OSError:
            time.sleep(wait)
    return read_bytes(place)


def _said(error: Exception) -> str:
    if isinstance(error, SourceError):
        return str(error)
    said = getattr(error, 'strerror', None) or str(error) or type(error).__name__
    return ' '.join(said.split())
