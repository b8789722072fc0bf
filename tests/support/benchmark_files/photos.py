"""The photos: generated scenes as JPEG files, some grey, some with a rotation mark."""

import io
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
from PIL import Image

from fiber_scenes import SHAPES, Scene, draw, sample_scene

SIDE = 96
ROTATED = (
    2  # its EXIF tag says that it stands on its side; the annotations are of the file as it is
)
GREY = 4


@dataclass(frozen=True)
class Photo:
    """A scene, extended to the right or below by its background.

    Attributes:
        scene: what is in it; boxes of objects are (x1, y1, x2, y2) in pixels.
        width: in pixels.
        height: in pixels.
        jpeg: content of the file.
    """

    scene: Scene
    width: int
    height: int
    jpeg: bytes

    @property
    def boxes(self) -> list[list[float]]:
        """(x, y, w, h) of each object, rounded as in published files."""
        return [
            [round(x1, 2), round(y1, 2), round(x2 - x1, 2), round(y2 - y1, 2)]
            for x1, y1, x2, y2 in (item.box for item in self.scene.objects)
        ]

    def kinds(self, count: int) -> list[int]:
        """For each object which of ``count`` categories it is of; equal shapes are of one."""
        shapes = list(SHAPES)
        step = max(count // len(shapes), 1)
        return [shapes.index(item.shape) * step % count for item in self.scene.objects]

    def write(self, path: Path) -> None:
        """Save the file, and make its folder."""
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(self.jpeg)


@cache
def photo(number: int) -> Photo:
    """The photo of this number; there are 12 different ones, in three formats, with two objects or more."""
    number %= 12
    width, height = ((SIDE + 32, SIDE), (SIDE, SIDE + 32), (SIDE, SIDE))[number % 3]
    scene = _scene(number)
    pixels = np.pad(draw(scene), ((0, height - SIDE), (0, width - SIDE), (0, 0)), mode='edge')
    picture = Image.fromarray(pixels)
    file, options = io.BytesIO(), {}
    if number == GREY:
        picture = picture.convert('L')
    if number == ROTATED:
        options['exif'] = Image.Exif()
        options['exif'][0x0112] = 6
    picture.save(file, 'JPEG', quality=90, **options)
    return Photo(scene, width, height, file.getvalue())


def _scene(number: int) -> Scene:
    """The ``number``-th scene that shows at least two different shapes."""
    index = -1
    for _ in range(number + 1):
        index += 1
        while len({item.shape for item in sample_scene('train', index, 0, SIDE).objects}) < 2:
            index += 1
    return sample_scene('train', index, 0, SIDE)
