"""Images as people have them: paths, folders, Pillow images, arrays."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Union

import numpy as np

EXTENSIONS = ('.jpg', '.jpeg', '.png', '.bmp', '.webp', '.tif', '.tiff', '.ppm', '.pgm')

# A path, a PIL.Image.Image or an array; see `read_image`.
ImageLike = Union[str, Path, np.ndarray, Any]


class ImageError(ValueError):
    """An image that cannot be used as given; the message names the file or says what it is."""


def list_images(images: ImageLike | Sequence[ImageLike]) -> tuple[list[ImageLike], bool]:
    """Flatten what a caller passes as images.

    Args:
        images: an image, a folder (its images by name, subfolders not entered), or a list or
            tuple of both.

    Returns:
        The images, paths as ``Path``, and whether a single image was meant.

    Raises:
        FileNotFoundError: a path leads nowhere.
        ImageError: an empty list, a folder without images, or something else than an image.
    """
    if isinstance(images, (list, tuple)):
        found = [image for item in images for image in list_images(item)[0]]
        if not found:
            raise ImageError('the list of images is empty')
        return found, False
    if isinstance(images, (str, Path)):
        path = Path(images).expanduser()
        if path.is_dir():
            return list_folder(path), False
        if not path.exists():
            raise FileNotFoundError(f'no image or folder at {str(images)!r}')
        return [path], True
    if isinstance(images, np.ndarray) or _is_pillow(images):
        return [images], True
    raise ImageError(
        'an image is a path, a PIL image or a uint8 RGB array of shape (H, W, 3), '
        f'not a {type(images).__name__}'
    )


def list_folder(folder: Path) -> list[Path]:
    """The images in a folder, sorted by name.

    Raises:
        ImageError: there are none.
    """
    found = sorted(p for p in folder.iterdir() if p.suffix.lower() in EXTENSIONS and p.is_file())
    if not found:
        raise ImageError(f'no images in {str(folder)!r} (looked for {", ".join(EXTENSIONS)})')
    return found


def read_image(image: ImageLike) -> np.ndarray:
    """Read an image as pixels.

    Args:
        image: a path; a PIL image of any mode; or a uint8 array in RGB order, (H, W, 3), with an
            alpha channel that is dropped, or grey (H, W). Note that ``cv2.imread`` gives BGR:
            reverse it with ``[..., ::-1]``. The EXIF orientation is applied, alpha is dropped.

    Returns:
        (H, W, 3) uint8 RGB, contiguous.

    Raises:
        FileNotFoundError: no such file.
        ImageError: a file that is no readable image, or an array of another kind.
    """
    if isinstance(image, (str, Path)):
        return _read_file(Path(image).expanduser())
    if isinstance(image, np.ndarray):
        return _check_array(image)
    if _is_pillow(image):
        from PIL import ImageOps

        return np.array(ImageOps.exif_transpose(image).convert('RGB'))
    raise ImageError(f'not an image: {type(image).__name__}')


def _read_file(path: Path) -> np.ndarray:
    import mmcv

    if not path.is_file():
        raise FileNotFoundError(f'no image at {str(path)!r}')
    try:
        pixels = mmcv.imfrombytes(path.read_bytes(), channel_order='rgb')
    except Exception as error:  # each decoder has errors of its own
        raise ImageError(f'{str(path)!r} cannot be read as an image: {error}') from error
    if pixels is None:
        raise ImageError(f'{str(path)!r} cannot be read as an image: damaged, or of another kind')
    return pixels


def _check_array(array: np.ndarray) -> np.ndarray:
    if array.dtype != np.uint8:
        raise ImageError(f'image arrays are uint8, 0 to 255, not {array.dtype}')
    if array.ndim == 2:
        array = np.stack([array] * 3, axis=-1)
    if array.ndim != 3 or array.shape[2] not in (3, 4) or not array.size:
        raise ImageError(
            f'image arrays have the shape (H, W, 3), RGB, not {array.shape}; pass a batch as a list'
        )
    return np.ascontiguousarray(array[..., :3])


def _is_pillow(image: Any) -> bool:
    from PIL import Image

    return isinstance(image, Image.Image)
