"""The images of a block: read and decoded ahead of the model, each with a reason if it cannot be.

Nothing that one image can do ends the block: what cannot be read is an image without pixels.
"""

from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from tarfile import TarError
from typing import Any

import numpy as np

from fiber_mmdet.images import ImageError, decode_image

from .places import SourceError, joined, last_name, read_bytes
from .shards import shard_rows
from .tables import table_rows

READERS = 2  # threads that read and decode


@dataclass(frozen=True)
class BulkImage:
    """An image of a bulk job.

    Attributes:
        name: what the output calls it.
        pixels: (H, W, 3) uint8 RGB; None if it cannot be read.
        reason: why not.
        text: what belongs to it, if texts were asked for.
        content: the image file, if it was in a table or shard.
    """

    name: str
    pixels: np.ndarray | None = None
    reason: str = ''
    text: str | None = None
    content: bytes | None = None


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
    """
    waiting: deque[Future[BulkImage]] = deque()
    with ThreadPoolExecutor(readers) as pool:
        for name, read, text in _rows(block):
            reason = skip(name)
            if not reason and texts and not (text or '').strip():
                reason = f'it has no text ({block.get("text_from") or "an empty cell"})'
            waiting.append(pool.submit(_decoded, name, read, text, reason))
            while len(waiting) > ahead:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()


Read = Callable[[], 'bytes | None']


def _rows(block: dict[str, Any]) -> Iterator[tuple[str, tuple[str, Read], str | None]]:
    """Name, how to read it, and text of each image of a block."""
    if block['kind'] == 'files':
        texts = block.get('texts') or [None] * len(block['names'])
        for name, text in zip(block['names'], texts):
            place = joined(block['root'], name)
            yield name, ('file', lambda place=place: read_bytes(place)), text
        return
    rows = table_rows(block) if block['kind'] == 'table' else shard_rows(block)
    try:
        for name, content, text in rows:
            yield name, ('member', lambda content=content: content), text
    except (OSError, ValueError, TarError) as error:
        # what stands behind the fault is lost, and that has to be seen
        said = f'the rest of the file cannot be read: {_said(error)}'

        def fail() -> bytes:
            raise ImageError(said)

        yield last_name(block['file']), ('member', fail), said


def _decoded(name: str, source: tuple[str, Read], text: str | None, reason: str) -> BulkImage:
    kind, read = source
    if reason:
        return BulkImage(name, reason=reason, text=text)
    try:
        content = read()
        if content is None:
            raise ImageError('there is no image in it')
        pixels = decode_image(content, name)
    except ImageError as error:
        return BulkImage(name, reason=' '.join(error.reason.split()), text=text)
    except (OSError, ValueError) as error:
        return BulkImage(name, reason=_said(error), text=text)
    return BulkImage(name, pixels, '', text, content if kind == 'member' else None)


def _said(error: Exception) -> str:
    if isinstance(error, SourceError):
        return str(error)
    said = getattr(error, 'strerror', None) or str(error) or type(error).__name__
    return ' '.join(said.split())
