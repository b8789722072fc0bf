"""Colours that an image tower was trained on, and those that a model gives it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from fiber_mmdet.checkpoints.account import ConversionError


@dataclass(frozen=True)
class Colours:
    """Order and normalisation of an input.

    Attributes:
        mean: mean of each channel, in the order of the input, of values from 0 to 255.
        std: standard deviation of each.
        bgr: blue, green, red; False for red, green, blue.
    """

    mean: tuple[float, ...]
    std: tuple[float, ...]
    bgr: bool = False

    def turned(self) -> 'Colours':
        """The same in the other order of channels."""
        return Colours(self.mean[::-1], self.std[::-1], not self.bgr)

    def same_scale(self, other: 'Colours') -> bool:
        """Whether both normalise alike, in the same order of channels."""
        ours, theirs = (*self.mean, *self.std), (*other.mean, *other.std)
        return all(abs(a - b) < 1e-3 for a, b in zip(ours, theirs))


IMAGENET = Colours((123.675, 116.28, 103.53), (58.395, 57.12, 57.375))
IMAGENET_BGR = IMAGENET.turned()
CLIP = Colours(
    tuple(255 * x for x in (0.48145466, 0.4578275, 0.40821073)),
    tuple(255 * x for x in (0.26862954, 0.26130258, 0.27577711)),
)


def colours_of(model: Mapping) -> Colours:
    """The colours that a model gives its image tower.

    Args:
        model: its config; images are loaded as BGR, as mmcv does.

    Raises:
        ConversionError: the config does not say how images are normalised.
    """
    arguments: Mapping = model.get('data_preprocessor') or {}
    mean, std = _three(arguments, 'mean'), _three(arguments, 'std')
    return Colours(mean, std, bgr=not arguments.get('bgr_to_rgb', False))


def _three(arguments: Mapping, name: str) -> tuple[float, ...]:
    values = arguments.get(name)
    if not isinstance(values, Sequence) or len(values) != 3:
        raise ConversionError(
            'the config does not say which colours the image tower sees: '
            f'model.data_preprocessor has {name}={values!r}, expected three numbers'
        )
    return tuple(float(x) for x in values)


def repaint(
    weight: Tensor, bias: Tensor, trained: Colours, given: Colours
) -> tuple[Tensor, Tensor, list[str]]:
    """A patch embedding that does with other colours what it did with those it was trained on.

    With x_d = (σ x + μ − μ_d) / σ_d for each channel, W' = W σ / σ_d and
    b' = b + Σ W (μ − μ_d) / σ_d, the sum over input channels and positions of the patch; then the
    channels change places. Exact for whole patches; padding, which is 0 after normalisation, is
    another colour than it was.

    Args:
        weight: (C, 3, P, P) of the convolution.
        bias: (C,) of it.
        trained: colours that it was trained on.
        given: colours that it will see.

    Returns:
        The new weight and bias, and what was changed, a sentence each.
    """
    same_order = given if given.bgr == trained.bgr else given.turned()
    done = []
    if not trained.same_scale(same_order):
        mean, std, wide_mean, wide_std = (
            torch.tensor(values, dtype=torch.float64)[:, None, None]
            for values in (trained.mean, trained.std, same_order.mean, same_order.std)
        )
        exact = weight.double()
        shift = (exact * ((wide_mean - mean) / std)).sum((1, 2, 3))
        bias = (bias.double() + shift).to(bias.dtype)
        weight = (exact * (wide_std / std)).to(weight.dtype)
        done.append('the normalisation of the donor is folded into the patch embedding')
    if given.bgr != trained.bgr:
        weight = weight.flip(1)
        done.append('colour channels of the patch embedding reversed')
    return weight, bias, done
