"""Reading images: one rule for files, PIL images, arrays and the pipelines of datasets.

- Pixels are 8-bit RGB. Alpha is dropped, of an animation or document the first frame is read.
- 16 bits a channel of a file are scaled by 1/256. Pillow's modes I and F (32 bits), and images that
  were converted to I;16 in memory, say nothing about their range: largest values up to 1 (F alone),
  255 and 65535 are taken for 1, 255 and 65535 (white).
- Files are recognised by their content, not by their ending, and read by Pillow. Its formats that
  do not hold pixels, such as PostScript, which it hands to other programs, are not read.
- An image of more pixels than :func:`pixel_limit` is refused before it is decoded.
"""

import io
import os
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from threading import Lock
from typing import Any

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

LIMIT_VARIABLE = 'FIBER_MAX_PIXELS'
DEFAULT_LIMIT = 178_956_970  # where Pillow, unless told otherwise, takes an image for an attack
# Formats of Pillow that are programs, documents, films or tables of numbers.
OTHERS = {'BUFR', 'EPS', 'FITS', 'FLI', 'GRIB', 'HDF5', 'IPTC', 'MPEG', 'PDF', 'WMF'}
ENDINGS = dict(JPEG='jpg', MPO='jpg', PNG='png', WEBP='webp')  # by Pillow's names of formats
_OPENING = Lock()


class ImageError(ValueError):
    """An image that cannot be used as given; the message names the file or says what it is.

    Attributes:
        reason: the message without the name of the file.
    """

    def __init__(self, message: str, reason: str = '') -> None:
        super().__init__(message)
        self.reason = reason or message


def _unreadable(name: str, reason: str) -> ImageError:
    return ImageError(f'{name!r} cannot be read as an image: {reason}', reason)


def image_formats() -> tuple[str, ...]:
    """Pillow's names of the formats that are read, those of plugins too."""
    Image.init()
    return tuple(name for name in Image.OPEN if name not in OTHERS)


def image_endings() -> frozenset[str]:
    """Endings of files that are read, with the period, in small letters."""
    endings, formats = Image.registered_extensions(), image_formats()
    return frozenset(ending for ending, name in endings.items() if name in formats)


def pixel_limit() -> int:
    """The most pixels that an image may have: the environment variable ``FIBER_MAX_PIXELS``.

    178956970 if it is not set. A small file can unpack to any number of pixels.

    Raises:
        ImageError: its value is not a positive number.
    """
    said = _limit_said()
    if not said:
        return DEFAULT_LIMIT
    if not said.isdecimal() or int(said) < 1:
        raise ImageError(f'{LIMIT_VARIABLE}={said!r} must be a number of pixels')
    return int(said)


def _limit_said() -> str:
    return os.environ.get(LIMIT_VARIABLE, '').strip()


def open_image(content: bytes, name: str) -> Image.Image:
    """An image file, opened but not decoded.

    Args:
        content: of the file.
        name: of the file, for errors.

    Raises:
        ImageError: it is no image of a known format, or has too many pixels.
    """
    if not content:
        raise _unreadable(name, 'the file is empty')
    try:
        image = _open(content)
    except UnidentifiedImageError as error:
        raise _unreadable(name, 'damaged, or of another kind') from error
    except Image.DecompressionBombError as error:
        raise _unreadable(
            name,
            f'too many pixels ({error}). If you trust it, set the environment variable '
            f'{LIMIT_VARIABLE} to a higher limit',
        ) from error
    except Exception as error:  # each format has errors of its own
        raise _damaged(name, error) from error
    check_size(image.size, name)
    return image


def _open(content: bytes) -> Image.Image:
    formats, allowed = image_formats(), Image.MAX_IMAGE_PIXELS
    if allowed is None or not _limit_said() or pixel_limit() <= 2 * allowed:
        return Image.open(io.BytesIO(content), formats=formats)
    with _OPENING:  # a limit above Pillow's own takes its place
        try:
            Image.MAX_IMAGE_PIXELS = None
            return Image.open(io.BytesIO(content), formats=formats)
        finally:
            Image.MAX_IMAGE_PIXELS = allowed


def image_ending(content: bytes, name: str) -> str:
    """The ending for an image file by its content, in small letters and without the period.

    Args:
        content: of the file.
        name: that it has; its ending is taken for formats without a usual one.

    Raises:
        ImageError: it is no image.
    """
    with open_image(content, name) as image:
        kind = image.format or ''
    if kind in ENDINGS:
        return ENDINGS[kind]
    known, own = kind.lower(), os.path.splitext(name)[1][1:].lower()
    endings = image_endings()
    return own if f'.{known}' not in endings and f'.{own}' in endings else known


def check_size(size: tuple[int, int], name: str) -> None:
    """Refuse an image of too many pixels.

    Args:
        size: width and height.
        name: of the image, for the error.

    Raises:
        ImageError: it has more than :func:`pixel_limit`.
    """
    limit = pixel_limit()
    if size[0] * size[1] > limit:
        raise _unreadable(
            name,
            f'its {size[0]}x{size[1]} pixels are more than the limit of {limit}. If you trust it, '
            f'set the environment variable {LIMIT_VARIABLE} to {size[0] * size[1]}',
        )


def decode_image(content: bytes, name: str, upright: bool = True) -> np.ndarray:
    """Pixels of an image file.

    Args:
        content: of the file.
        name: of the file, for errors.
        upright: apply the EXIF orientation.

    Returns:
        (H, W, 3) uint8 RGB, contiguous.

    Raises:
        ImageError: it cannot be read, or has too many pixels.
    """
    with open_image(content, name) as image:
        return rgb_pixels(image, name, upright)


def rgb_pixels(image: Image.Image, name: str = 'image', upright: bool = True) -> np.ndarray:
    """Pixels of a PIL image of any mode.

    Args:
        image: the image.
        name: of the image, for errors.
        upright: apply the EXIF orientation.

    Returns:
        (H, W, 3) uint8 RGB, contiguous.

    Raises:
        ImageError: it is damaged, or its values have an unknown range.
    """
    check_size(image.size, name)
    try:
        # a file says that its values reach up to 65535; what was converted since may not
        sixteen = bool(image.format) and (
            image.mode.startswith('I;16') or (image.mode == 'I' and image.format in ('PNG', 'PPM'))
        )
        if upright:
            image = _turned(image)
        mode = image.mode
        if mode.startswith('I;16') or mode in ('I', 'F'):
            pixels = np.asarray(image)
        else:
            if mode in ('La', 'RGBa'):  # colours multiplied by alpha
                image = image.convert('LA' if mode == 'La' else 'RGBA')
            return np.array(image if mode == 'RGB' else image.convert('RGB'))
    except Exception as error:  # each format has errors of its own
        raise _damaged(name, error) from error
    grey = eight_bits(pixels, name, sixteen)
    return np.stack([grey] * 3, axis=-1)


def _turned(image: Image.Image) -> Image.Image:
    try:
        return ImageOps.exif_transpose(image)
    except Exception:  # damaged EXIF says nothing; damaged pixels are found when they are read
        return image


def eight_bits(pixels: np.ndarray, name: str = 'image', sixteen: bool = False) -> np.ndarray:
    """Values from 0 to 255, by the rule of this module.

    Args:
        pixels: (…) uint16, int32 or float32.
        name: of the image, for the error.
        sixteen: whether the values are known to reach up to 65535.

    Returns:
        (…) uint8.

    Raises:
        ImageError: values below 0 or above 65535, or NaN.
    """
    low, high = (float(pixels.min()), float(pixels.max())) if pixels.size else (0.0, 0.0)
    if not (low >= 0 and high <= 65535):
        raise _unreadable(
            name,
            f'it has values from {low:g} to {high:g}, and nothing says which of them are black and '
            'white. Scale them to 0 to 255',
        )
    if sixteen or high > 255:
        return (pixels.astype(np.uint16) >> 8).astype(np.uint8)
    if pixels.dtype.kind == 'f' and high <= 1:
        pixels = pixels * 255
    return (
        np.round(pixels).astype(np.uint8) if pixels.dtype.kind == 'f' else pixels.astype(np.uint8)
    )


def _damaged(name: str, error: Exception) -> ImageError:
    said = ' '.join(str(error).split()) or type(error).__name__
    return _unreadable(name, f'damaged, or of another kind ({said})')


def short_side_size(width: int, height: int, long: int, short: int) -> tuple[int, int]:
    """Size of an image whose short side becomes ``short`` and its long side at most about ``long``.

    If the long side would be too long, the short side becomes ``long * min / max``, rounded. The
    other side is truncated to whole pixels (and can exceed ``long`` if the short side was rounded
    up).

    Args:
        width: of the image, in pixels.
        height: of the image, in pixels.
        long: largest long side in pixels.
        short: pixels of the short side.

    Returns:
        Width and height in pixels, at least 1.
    """
    low, high = min(width, height), max(width, height)
    if high / low * short > long:
        short = max(round(long * low / high), 1)
    other = int(short * high / low)
    return (short, other) if width < height else (other, short)


def sort_files(folder: Path) -> tuple[list[Path], list[Path]]:
    """Files of a folder, sorted by name: images by their ending, and others.

    Hidden files and subfolders are in neither list.
    """
    images: list[Path] = []
    others: list[Path] = []
    endings = image_endings()
    for path in sorted(folder.iterdir()):
        if path.is_dir() or path.name.startswith('.'):
            continue
        is_image = path.suffix.lower() in endings and path.is_file()
        (images if is_image else others).append(path)
    return images, others


def folders_below(
    folder: str | Path, failed: Callable[[OSError], Any] | None = None
) -> Iterator[tuple[str, list[str]]]:
    """A folder and those below it with the names of their files, sorted, without hidden ones.

    Links are followed. A folder that several lead to comes once, so that none leads round.

    Args:
        folder: the first one.
        failed: called with the error of one that cannot be listed, which is left out.
    """
    seen: set[str] = set()
    for place, below, names in os.walk(folder, followlinks=True, onerror=failed):
        real = os.path.realpath(place)
        if real in seen:
            below.clear()
            continue
        seen.add(real)
        below[:] = sorted(name for name in below if not name.startswith('.'))
        yield place, sorted(name for name in names if not name.startswith('.'))


def describe_left_out(files: Iterable[Path], most: int = 5) -> str:
    """One line about files of a folder that are not read; '' for none.

    Args:
        files: the files.
        most: how many of them are named.
    """
    names = [path.name for path in files]
    if not names:
        return ''
    shown = ', '.join(names[:most]) + ', …' * (len(names) > most)
    count = f'{len(names)} file{"s" * (len(names) > 1)}'
    return f'left out {count}, not images by their ending or not there ({shown})'
