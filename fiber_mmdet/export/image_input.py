"""From an image to what an exported program reads, by numpy and Pillow alone."""

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from PIL import Image

from fiber_mmdet.fields import NUMBER, WHOLE, Kind, check_record, list_of
from fiber_mmdet.images import short_side_size

# How the size follows from that of the image, see ImageInput.
SHORT_SIDE, FIXED = 'short_side', 'fixed'
FILTERS = {
    'nearest': Image.Resampling.NEAREST,
    'bilinear': Image.Resampling.BILINEAR,
    'bicubic': Image.Resampling.BICUBIC,
    'box': Image.Resampling.BOX,
    'lanczos': Image.Resampling.LANCZOS,
    'hamming': Image.Resampling.HAMMING,
}
THREE = Kind('three numbers', lambda x: list_of(NUMBER).fits(x) and len(x) == 3)
FIELDS = {
    'rule': Kind(f'{SHORT_SIDE} or {FIXED}', lambda x: x in (SHORT_SIDE, FIXED)),
    'scale': Kind('two whole numbers', lambda x: list_of(WHOLE).fits(x) and len(x) == 2),
    'filter': Kind(f'one of {", ".join(FILTERS)}', lambda x: isinstance(x, str) and x in FILTERS),
    'order': Kind('RGB or BGR', lambda x: x in ('RGB', 'BGR')),
    'mean': THREE,
    'std': Kind('three numbers, none of them 0', lambda x: THREE.fits(x) and all(x)),
    'divisor': Kind('a whole number above 0', lambda x: type(x) is int and x > 0),
    'padding': NUMBER,
}


@dataclass(frozen=True)
class Prepared:
    """An image as a program reads it.

    Attributes:
        pixels: (1, 3, H, W) float32, normalised and padded at the right and bottom.
        size: height and width of the image in pixels.
        resized: its height and width within ``pixels``.
    """

    pixels: np.ndarray
    size: tuple[int, int]
    resized: tuple[int, int]

    @property
    def factors(self) -> np.ndarray:
        """(4,) float32: pixels of ``pixels`` for one of the image, along x, y, x and y."""
        (height, width), (high, wide) = self.size, self.resized
        return np.array([wide / width, high / height] * 2, np.float32)


@dataclass(frozen=True)
class ImageInput:
    """How images are prepared: the test pipeline and the preprocessor of a config, as numbers.

    Attributes:
        rule: ``'short_side'``: the size of :func:`~fiber_mmdet.images.short_side_size`;
            ``'fixed'``: always the same.
        scale: the long and the short side in pixels; of a fixed size width and height.
        filter: a key of ``FILTERS``.
        order: of the channels that the model reads, ``'RGB'`` or ``'BGR'``.
        mean: of each channel, in that order.
        std: standard deviation of each channel.
        divisor: sides are padded to multiples of it.
        padding: value of the padding, after the normalisation.
    """

    rule: str
    scale: tuple[int, int]
    filter: str
    order: str
    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    divisor: int
    padding: float

    @classmethod
    def read(cls, record: Any, where: str) -> 'ImageInput':
        """From the object that :meth:`record` gave.

        Args:
            record: as read from json.
            where: its place, for errors.

        Raises:
            ValueError: it lacks a field, or one is of another kind.
        """
        check_record(record, FIELDS, where)
        lists = {key: tuple(record[key]) for key in ('scale', 'mean', 'std')}
        return cls(**{key: record[key] for key in FIELDS} | lists)

    def record(self) -> dict[str, Any]:
        """The same for json."""
        return asdict(self)

    def __call__(self, image: np.ndarray) -> Prepared:
        """Prepare an image.

        Args:
            image: (H, W, 3) uint8 RGB.
        """
        height, width = image.shape[:2]
        if self.rule == FIXED:
            wide, high = self.scale
        else:
            wide, high = short_side_size(width, height, max(self.scale), min(self.scale))
        resized = np.asarray(Image.fromarray(image).resize((wide, high), FILTERS[self.filter]))
        if self.order == 'BGR':
            resized = resized[..., ::-1]
        found = resized.astype(np.float32) - np.array(self.mean, np.float32)
        found /= np.array(self.std, np.float32)
        rest = ((0, -high % self.divisor), (0, -wide % self.divisor), (0, 0))
        found = np.pad(found, rest, constant_values=self.padding)
        return Prepared(
            np.ascontiguousarray(found.transpose(2, 0, 1)[None]), (height, width), (high, wide)
        )
