"""A random part of an image, resized to a square."""

import math
from collections.abc import Sequence

import mmcv
import numpy as np
from mmcv.transforms import BaseTransform
from mmdet.registry import TRANSFORMS

from fiber_mmdet.arguments import strict_arguments

MAX_DRAWS = 10


@TRANSFORMS.register_module()
@strict_arguments
class RandomResizedCrop(BaseTransform):
    """Cut out a random rectangle and resize it to a square, as torchvision draws it.

    The fraction of the area is uniform, the aspect ratio uniform in its logarithm. Rectangles that
    do not fit the image are drawn again; after ten, the central part of the nearest allowed
    aspect ratio is taken.

    Args:
        scale: side of the square in pixels.
        area: smallest and largest fraction of the image's area.
        ratio: smallest and largest width / height.
        interpolation: of the resize.
        backend: of the resize; 'pillow' smooths when shrinking, 'cv2' does not.

    Raises:
        ValueError: ``area`` or ``ratio`` is not a range of positive numbers.
    """

    def __init__(
        self,
        scale: int,
        area: Sequence[float] = (0.5, 1.0),
        ratio: Sequence[float] = (3 / 4, 4 / 3),
        interpolation: str = 'bicubic',
        backend: str = 'pillow',
    ) -> None:
        for name, limits in (('area', area), ('ratio', ratio)):
            if len(limits) != 2 or not 0 < limits[0] <= limits[1]:
                raise ValueError(
                    f'{name}={limits} must be two positive numbers, the smallest and the largest'
                )
        self.scale = scale
        self.area = tuple(area)
        self.ratio = tuple(ratio)
        self.interpolation = interpolation
        self.backend = backend

    def transform(self, results: dict) -> dict:
        """Replace ``img``; ``img_shape`` becomes that of the square."""
        image = results['img']
        x, y, width, height = self.rectangle(image.shape[1], image.shape[0])
        results['img'] = mmcv.imresize(
            image[y : y + height, x : x + width],
            (self.scale, self.scale),
            interpolation=self.interpolation,
            backend=self.backend,
        )
        results['img_shape'] = (self.scale, self.scale)
        return results

    def rectangle(self, width: int, height: int) -> tuple[int, int, int, int]:
        """A random rectangle.

        Args:
            width: of the image, in pixels.
            height: of the image, in pixels.

        Returns:
            Left, top, width and height, in pixels.
        """
        low, high = self.ratio
        for _ in range(MAX_DRAWS):
            area = width * height * np.random.uniform(self.area[0], self.area[1])
            ratio = math.exp(np.random.uniform(math.log(low), math.log(high)))
            w, h = round(math.sqrt(area * ratio)), round(math.sqrt(area / ratio))
            if 0 < w <= width and 0 < h <= height:
                return (np.random.randint(width - w + 1), np.random.randint(height - h + 1), w, h)
        w, h = width, height
        if width < low * height:
            h = round(width / low)
        elif width > high * height:
            w = round(height * high)
        return (width - w) // 2, (height - h) // 2, w, h

    def __repr__(self) -> str:
        return (
            f'{type(self).__name__}(scale={self.scale}, area={self.area}, ratio={self.ratio}, '
            f'interpolation={self.interpolation!r}, backend={self.backend!r})'
        )
