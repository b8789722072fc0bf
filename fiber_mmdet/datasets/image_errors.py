"""Errors that name the image that cannot be read."""

from typing import Any

from mmengine.dataset import BaseDataset

from fiber_mmdet.images import ImageError


class ImageReadError(OSError):
    """A missing or damaged image file; the message names it and says what to do."""


def image_error(error: Exception, path: Any, settings: str) -> ImageReadError:
    """The error to raise instead of one of Pillow's or of a file backend's.

    Args:
        error: what reading raised. There are many kinds, and few of them name the file.
        path: of the image.
        settings: which settings of the dataset make up the path.
    """
    if isinstance(error, FileNotFoundError):
        return ImageReadError(f'no image {path}: check {settings} of the dataset')
    said = error.reason if isinstance(error, ImageError) else error
    return ImageReadError(
        f'cannot read {path} as an image ({said}): replace the file or remove it from the '
        'annotations'
    )


class NamesUnreadableImages(BaseDataset):
    """Mixin for mmdet's datasets: errors name the image that cannot be read."""

    def prepare_data(self, idx: int) -> Any:
        """Run the pipeline on record ``idx``.

        Raises:
            ImageReadError: the image is missing, or its file is damaged.
        """
        try:
            return super().prepare_data(idx)
        except (OSError, SyntaxError, ImageError) as error:
            path = self.get_data_info(idx).get('img_path')
            raise image_error(error, path, 'data_root and data_prefix') from error
