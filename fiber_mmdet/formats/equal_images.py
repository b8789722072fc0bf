"""Images that are the same, although their files are not."""

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import numpy as np
from PIL import Image

from fiber_mmdet.images import decode_image

SIDE = 8  # of the small picture that likeness is judged by
PLAIN = 2.0  # spread of its grey values under which it says nothing
Key = TypeVar('Key')


@dataclass(frozen=True)
class ImagePrint:
    """What an image is recognised by.

    Attributes:
        pixels: a digest of its size and pixels, the same in every lossless format.
        likeness: which of 8 x 8 fields are brighter than the average, and the proportions; the
            same for most copies that were scaled or compressed again. None for plain images.
    """

    pixels: str
    likeness: tuple[int, int] | None


def image_print(path: Path) -> ImagePrint:
    """Read an image and describe it.

    Raises:
        OSError: the file cannot be read.
        ImageError: it is no image.
    """
    pixels = decode_image(path.read_bytes(), str(path))
    digest = hashlib.blake2b(np.int64(pixels.shape).tobytes(), digest_size=16)
    digest.update(pixels.data)
    image = Image.fromarray(pixels).convert('L')
    small = np.asarray(image.resize((SIDE, SIDE), Image.Resampling.BOX), float)
    if small.std() < PLAIN:
        return ImagePrint(digest.hexdigest(), None)
    bits = int.from_bytes(np.packbits(small > small.mean()).tobytes(), 'big')
    height, width = pixels.shape[:2]
    return ImagePrint(digest.hexdigest(), (bits, round(20 * np.log2(width / height))))


def groups_of_equal(prints: Iterable[tuple[Key, ImagePrint]]) -> list[list[Key]]:
    """Images with the same pixels, together; each other image alone.

    Returns:
        The groups in the order of their first image.
    """
    groups: dict[str, list[Key]] = {}
    for key, one in prints:
        groups.setdefault(one.pixels, []).append(key)
    return list(groups.values())


def groups_of_alike(prints: Iterable[tuple[Key, ImagePrint]]) -> list[list[Key]]:
    """Images that look alike but differ in their pixels; two or more in each group."""
    groups: dict[tuple[int, int], dict[str, Key]] = {}
    for key, one in prints:
        if one.likeness is not None:
            groups.setdefault(one.likeness, {}).setdefault(one.pixels, key)
    return [list(found.values()) for found in groups.values() if len(found) > 1]
