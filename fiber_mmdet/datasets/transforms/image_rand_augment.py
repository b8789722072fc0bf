"""RandAugment of the image-text recipes."""

from collections.abc import Callable, Sequence

import mmcv
import numpy as np
from mmcv.transforms import BaseTransform
from mmdet.registry import TRANSFORMS
from PIL import Image, ImageOps

from fiber_mmdet.arguments import strict_arguments

MAX_LEVEL = 10


@TRANSFORMS.register_module()
@strict_arguments
class ImageRandAugment(BaseTransform):
    """RandAugment of ALBEF's and FIBER's fine-tuning: colours and small displacements.

    ``num_ops`` operations are drawn with replacement, and each is applied with ``prob``. At
    ``level`` l (0 to 10) they are

    - 'Identity'; 'AutoContrast', 'Equalize': per channel, without a strength;
    - 'Brightness', 'Sharpness': factor 0.18 l + 0.1 (above 1 at level 7), away from black and from
      a smoothed image;
    - 'ShearX', 'ShearY': by 0.03 l; 'TranslateX', 'TranslateY': by l pixels at any image size;
      'Rotate': by 3 l degrees. The direction is random, the size is kept, and uncovered pixels
      become ``fill``.

    Differs from mmdet's ``RandAugment``, which draws without replacement, rounds strengths to one
    digit and translates by a fraction of the size, so that it cannot express this recipe.

    Args:
        num_ops: operations drawn for an image.
        prob: probability that a drawn operation is applied.
        level: strength, 0 to 10.
        ops: names of the operations to draw from; all if not given.
        fill: grey value of uncovered pixels.

    Raises:
        ValueError: an unknown operation, or a level or probability out of range.
    """

    def __init__(
        self,
        num_ops: int = 2,
        prob: float = 0.5,
        level: float = 7,
        ops: Sequence[str] | None = None,
        fill: int = 128,
    ) -> None:
        if not 0 <= level <= MAX_LEVEL or not 0 <= prob <= 1:
            raise ValueError(
                f'level={level} must be between 0 and {MAX_LEVEL}, prob={prob} between 0 and 1'
            )
        self.ops = tuple(OPERATIONS if ops is None else ops)
        unknown = [name for name in self.ops if name not in OPERATIONS]
        if unknown or not self.ops:
            raise ValueError(f'ops={self.ops} must be some of {", ".join(OPERATIONS)}')
        self.num_ops = num_ops
        self.prob = prob
        self.level = level
        self.fill = fill

    def transform(self, results: dict) -> dict:
        """Replace ``img``, (H, W, 3) uint8, by one of the same size."""
        for i in np.random.randint(len(self.ops), size=self.num_ops):
            if np.random.random() < self.prob:
                results['img'] = self.apply(self.ops[i], results['img'])
        return results

    def apply(self, name: str, image: np.ndarray) -> np.ndarray:
        """Apply one operation; those with a direction draw it.

        Args:
            name: of the operation.
            image: (H, W, 3) uint8, channels in any order.
        """
        return OPERATIONS[name](image, self.level / MAX_LEVEL, (self.fill,) * 3)

    def __repr__(self) -> str:
        return (
            f'{type(self).__name__}(num_ops={self.num_ops}, prob={self.prob}, '
            f'level={self.level}, ops={self.ops}, fill={self.fill})'
        )


def _either_side(value: float) -> float:
    return value if np.random.random() < 0.5 else -value


def _by_pillow(operation: Callable) -> Callable:
    # the same values as mmcv's auto_contrast and imequalize, ten times as fast
    def apply(image: np.ndarray, strength: float, fill: tuple) -> np.ndarray:
        return np.array(operation(Image.fromarray(np.ascontiguousarray(image))))

    return apply


def _brightness(image: np.ndarray, strength: float, fill: tuple) -> np.ndarray:
    return mmcv.adjust_brightness(image, 1.8 * strength + 0.1, backend='cv2')


def _sharpness(image: np.ndarray, strength: float, fill: tuple) -> np.ndarray:
    return mmcv.adjust_sharpness(image, 1.8 * strength + 0.1)


def _shear(direction: str) -> Callable:
    def apply(image: np.ndarray, strength: float, fill: tuple) -> np.ndarray:
        return mmcv.imshear(image, _either_side(0.3 * strength), direction, border_value=fill)

    return apply


def _translate(direction: str) -> Callable:
    def apply(image: np.ndarray, strength: float, fill: tuple) -> np.ndarray:
        return mmcv.imtranslate(image, _either_side(10 * strength), direction, border_value=fill)

    return apply


def _rotate(image: np.ndarray, strength: float, fill: tuple) -> np.ndarray:
    return mmcv.imrotate(image, _either_side(30 * strength), border_value=fill)


# name -> operation on an image, with its strength from 0 to 1 and the fill value
OPERATIONS = {
    'Identity': lambda image, strength, fill: image,
    'AutoContrast': _by_pillow(ImageOps.autocontrast),
    'Equalize': _by_pillow(ImageOps.equalize),
    'Brightness': _brightness,
    'Sharpness': _sharpness,
    'ShearX': _shear('horizontal'),
    'ShearY': _shear('vertical'),
    'TranslateX': _translate('horizontal'),
    'TranslateY': _translate('vertical'),
    'Rotate': _rotate,
}
