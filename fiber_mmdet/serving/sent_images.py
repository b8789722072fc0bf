"""Images that people send: known by their content, read within the limits."""

import hashlib
from dataclasses import dataclass

import numpy as np

from fiber_mmdet.images import ImageError, open_image, rgb_pixels

from .kept import Kept
from .limits import Limits, RequestError


@dataclass(frozen=True, eq=False)
class SentImage:
    """An image that was sent to a server.

    Attributes:
        digest: of the file (SHA-256): who sends the same file gets what is kept of it, and nobody
            else does.
        pixels: (H, W, 3) uint8 RGB, upright.
        name: of the file, for people.
    """

    digest: str
    pixels: np.ndarray
    name: str


def read_sent(content: bytes, name: str, limits: Limits, kept: Kept) -> SentImage:
    """Read an image file that was sent.

    Args:
        content: of the file.
        name: of the file.
        limits: of the server.
        kept: what it keeps; pixels are among it.

    Raises:
        RequestError: it is no image, or too large.
    """
    limits.check_file(len(content), name)
    digest = hashlib.sha256(content).hexdigest()
    pixels = kept.get(('pixels', digest))
    if pixels is None:
        try:
            with open_image(content, name) as image:
                limits.check_pixels(image.size, name)
                pixels = rgb_pixels(image, name)
        except ImageError as error:
            raise RequestError(str(error)) from error
        pixels.setflags(write=False)
        kept.put(('pixels', digest), pixels, pixels.nbytes)
    return SentImage(digest, pixels, name)
