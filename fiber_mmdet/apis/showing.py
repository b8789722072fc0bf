"""Drawings of results: shown to people, or written to files."""

import io
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageShow

from fiber_mmdet.outputs import write_image

from .inputs import ImageLike, read_image

NOTEBOOK_SIDE = 1280  # pixels of the longer side; drawings of photos would swell a notebook


class Drawable:
    """A result that shows itself: in a window, or below the cell of a notebook."""

    image: str | None

    def draw(self, image: ImageLike | None = None) -> np.ndarray:
        """The drawing, (H, W, 3) uint8 RGB."""
        raise NotImplementedError

    def show(self, image: ImageLike | None = None) -> None:
        """Show the drawing: in a notebook, or with the desktop's program for images.

        Args:
            image: the image that the result is of; may be left out if it came from a file.

        Raises:
            ValueError: no image, or one of another size.
            FileNotFoundError, ImageError: an image that cannot be read.
            RuntimeError: there is no program that shows images.
        """
        drawing = Image.fromarray(self.draw(image))
        if in_notebook():
            from IPython.display import display

            drawing.thumbnail((NOTEBOOK_SIDE, NOTEBOOK_SIDE))
            display(drawing)
        elif not ImageShow.show(drawing):
            raise RuntimeError("no program here shows images: draw(path='found.jpg') writes a file")

    def _repr_png_(self) -> bytes | None:
        """The drawing as a PNG file, for notebooks; None if the image came as pixels or is gone."""
        if self.image is None or not Path(self.image).is_file():
            return None
        drawing = Image.fromarray(self.draw())
        drawing.thumbnail((NOTEBOOK_SIDE, NOTEBOOK_SIDE))
        file = io.BytesIO()
        drawing.save(file, format='PNG')
        return file.getvalue()


def in_notebook() -> bool:
    """Whether this is a kernel of a notebook, which shows pictures."""
    ipython = sys.modules.get('IPython')
    shell = ipython.get_ipython() if ipython else None
    return shell is not None and hasattr(shell, 'kernel')


def searched_image(image: ImageLike | None, path: str | None) -> np.ndarray:
    """Pixels of the image that a result is about.

    Args:
        image: the image, if the caller has it.
        path: where it came from; None if it came as pixels.

    Returns:
        (H, W, 3) uint8 RGB.

    Raises:
        ValueError: neither is given.
        FileNotFoundError, ImageError: an image that cannot be read.
    """
    image = path if image is None else image
    if image is None:
        raise ValueError('the image came as pixels, which a result does not keep: draw(image, …)')
    return read_image(image)


def save_drawing(
    drawing: np.ndarray,
    path: str | Path,
    quality: int = 85,
    optimize: bool = True,
    inputs: Sequence[Any] = (),
) -> Path:
    """Write a (H, W, 3) uint8 RGB array by the ending of its path; folders are made.

    Args:
        drawing: the array.
        path: where to write it.
        quality: of JPEG files, 0 to 95.
        optimize: search for the smallest file.
        inputs: what was read; files among it are not overwritten.

    Returns:
        The path, with ``~`` expanded.

    Raises:
        OutputError: the path has no ending of an image format, is a folder, or one of the inputs.
        OSError: it cannot be written; what was there before is unchanged.
    """
    return write_image(path, drawing, files_among(inputs), quality=quality, optimize=optimize)


def files_among(inputs: Sequence[Any]) -> list[str | Path]:
    """Paths among images in any form; a PIL image stands for the file that it was opened from."""
    paths = [getattr(item, 'filename', item) for item in inputs]
    return [path for path in paths if isinstance(path, (str, Path)) and str(path)]
