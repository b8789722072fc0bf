"""Images that cannot be read: they end a call, or are left out and listed at its end."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from fiber_mmdet.images import ImageError

from .inputs import ImageLike

logger = logging.getLogger(__name__)


def key_of(image: ImageLike) -> str | int:
    """What tells an image from others within a call: its path, or which object it is."""
    return str(image) if isinstance(image, Path) else id(image)


class Unreadable:
    """The images of one call that cannot be read.

    Args:
        skip: whether they are left out; otherwise the first raises its error.
    """

    def __init__(self, skip: bool) -> None:
        self.skip = skip
        self.failures: dict[str | int, str] = {}  # by key_of

    @contextmanager
    def reading(self, image: ImageLike) -> Iterator[None]:
        """Read an image in this block.

        Raises:
            FileNotFoundError, ImageError: it cannot be read, and is not to be skipped.
        """
        try:
            yield
        except (OSError, ImageError) as error:
            if not self.skip:
                raise
            said = ' '.join(str(error).split())
            name = str(image) if isinstance(image, (str, Path)) else ''
            self.failures[key_of(image)] = said if name in said else f'{name}: {said}'

    def report(self, total: int) -> None:
        """List them in the log, as the tools do.

        Args:
            total: number of images of the call.
        """
        if self.failures:
            logger.warning(
                '%d of %d images cannot be read:\n  %s',
                len(self.failures),
                total,
                '\n  '.join(self.failures.values()),
            )
