"""Images that kill the process which looks at them: found, and left out with a reason.

A block whose worker died is tried again, and from then on the name of the image in work is noted in
a file beside the parts. An image that was in work when two workers died is not touched again.
"""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from fiber_mmdet.outputs import write_text

DEATHS = 2  # after which an image is left out
REASON = 'the process that looked at it died, repeatedly'


class Attempts:
    """The attempts at a block.

    Args:
        folder: of the parts.
        block: number of the block.
    """

    def __init__(self, folder: Path, block: int) -> None:
        self.path = folder / f'{block:08d}.attempt'
        try:
            content = json.loads(self.path.read_text(encoding='ascii'))
            before, deaths = content['image'], dict(content['deaths'])
        except FileNotFoundError:
            before, deaths = None, None
        except (ValueError, KeyError, TypeError):  # written only in part
            before, deaths = None, {}
        self.again = deaths is not None
        self.deaths: dict[str, int] = deaths or {}
        if before is not None:
            self.deaths[before] = self.deaths.get(before, 0) + 1
        self._write(None)

    def begin(self, image: str) -> str:
        """Begin with an image.

        Returns:
            Why it is not to be touched; '' if it is.
        """
        if self.deaths.get(image, 0) >= DEATHS:
            return REASON
        if self.again:
            self._write(image)
        return ''

    def _write(self, image: str | None) -> None:
        write_text(self.path, json.dumps(dict(image=image, deaths=self.deaths)))


@contextmanager
def attempts_at(folder: Path, block: int) -> Iterator[Attempts]:
    """Look at a block in here; whatever ends that, but for the death of the process, is none."""
    attempts = Attempts(folder, block)
    try:
        yield attempts
    finally:
        attempts.path.unlink(missing_ok=True)
