"""Generated scenes as JPEG files, one of them grey, one with an EXIF rotation."""

import io
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
from PIL import Image

from fiber_scenes import SHAPES, Scene, draw, sample_scene

SIDE = 96
# its EXIF tag rotates it by a quarter; the annotations are of the pixels as stored
ROTATED = 2
GREY = 4


@dataclass(frozen=True)
class SceneImage:
    """A scene, extended to the right or below by its background.

    Attributes:
        scene: its content; boxes of objects are (x1, y1, x2, y2) in pixels.
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
        """The category of each object, one of ``count``; equal shapes share one."""
        shapes = list(SHAPES)
        step = max(count // len(shapes), 1)
        return [shapes.index(item.shape) * step % count for item in self.scene.objects]

    def write(self, path: Path) -> None:
        """Save the file, and create its folder."""
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(self.jpeg)


@cache
def scene_image(number: int) -> SceneImage:
    """The image of this number: 12 different ones of three sizes, each with two shapes or more."""
    number %= 12
    width, height = ((SIDE + 32, SIDE), (SIDE, SIDE + 32), (SIDE, SIDE))[number % 3]
    scene = _scene(number)
    pixels = np.pad(draw(scene), ((0, height - SIDE), (0, width - SIDE), (0, 0)), mode='edge')
    image = Image.fromarray(pixels)
    file, options = io.BytesIO(), {}
    if number == GREY:
        image = image.convert('L')
    if number == ROTATED:
        options['exif'] = Image.Exif()
        options['exif'][0x0112] = 6
    image.save(file, 'JPEG', quality=90, **options)
    return SceneImage(scene, width, height, file.getvalue())


def _scene(number: int) -> Scene:
    """The ``number``-th scene that shows at least two different shapes."""
    index = -1
    for _ in range(number + 1):
        index += 1
        while len({item.shape for item in sample_scene('train', index, 0, SIDE).objects}) < 2:
            index += 1
    return sample_scene('train', index, 0, SIDE)
