"""The inputs of a fine-grained fixture, regenerated as its `meta` says."""

import ast
import importlib.util
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from .fixture import Fixture, ParityError

CALLS = ('image', 'token_ids')
DIVISOR = 32  # the reference pads images to multiples of it


def load_generator(folder: Path) -> ModuleType:
    """Import ``weights.py`` of the parity folder.

    Raises:
        ParityError: it is not there.
    """
    file = Path(folder) / 'weights.py'
    if not file.is_file():
        raise ParityError(
            f'no weight generator: {file} is not there; name its folder with --parity-dir'
        )
    spec = importlib.util.spec_from_file_location('parity_weights', file)
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def evaluate(call: str, generator: ModuleType) -> Any:
    """Result of a call such as ``weights.image(192, 256, seed=0)``.

    Args:
        call: one of the generator's :data:`CALLS` with literal arguments.
        generator: see :func:`load_generator`.

    Raises:
        ParityError: anything but such a call, or the call fails.
    """
    try:
        node = ast.parse(call.strip(), mode='eval').body
        if node.func.value.id != 'weights' or node.func.attr not in CALLS:
            raise ValueError
        args = [ast.literal_eval(arg) for arg in node.args]
        kwargs = {word.arg: ast.literal_eval(word.value) for word in node.keywords}
        function = getattr(generator, node.func.attr)
    except (SyntaxError, AttributeError, ValueError):
        raise ParityError(
            f'cannot read the input {call!r}: it must be a call of weights.'
            f'{" or weights.".join(CALLS)} with literal arguments'
        ) from None
    try:
        return function(*args, **kwargs)
    except (TypeError, ValueError, IndexError) as error:
        raise ParityError(f'the input {call!r} fails: {error}') from None


@dataclass
class Inputs:
    """Inputs of the detector.

    Attributes:
        images: (B, 3, H, W) float32, padded.
        sizes: (height, width) of each image without padding, pixels.
        ids: (B, L) int64 token ids.
        mask: (B, L) int64, 1 at real tokens.
        weight_seed: seed of the weights.
    """

    images: Tensor
    sizes: list[tuple[int, int]]
    ids: Tensor
    mask: Tensor
    weight_seed: int = 0

    def without_margins(self) -> Tensor:
        """The images with zeros outside ``sizes``."""
        images = torch.zeros_like(self.images)
        for out, image, (height, width) in zip(images, self.images, self.sizes):
            out[:, :height, :width] = image[:, :height, :width]
        return images


def read_inputs(fixture: Fixture, generator: ModuleType) -> Inputs:
    """The inputs with which a fixture was recorded.

    ``meta['inputs']`` gives ``image`` and ``tokens`` as calls of the generator,
    as names of arrays in the npz, or as lists of these (images of different
    sizes). Images smaller than ``meta['padded_size']`` are zero-padded at the
    right and bottom.

    Raises:
        ParityError: something is missing or does not fit together.
    """
    described = fixture.meta.get('inputs', {})

    def specs(start):
        found = [value for key, value in described.items() if key.startswith(start)]
        return [spec for value in found for spec in (value if isinstance(value, list) else [value])]

    def value(spec):
        return fixture[spec] if spec in fixture else evaluate(spec, generator)

    images = [image for spec in specs('image') for image in np.asarray(value(spec))]
    if not images:
        raise ParityError(f'{fixture.path} does not say what its images are (meta: inputs.image)')
    sizes = [image.shape[-2:] for image in images]
    largest = [-(-max(side) // DIVISOR) * DIVISOR for side in zip(*sizes)]
    height, width = fixture.meta.get('padded_size', largest)[-2:]
    images = torch.stack(
        [
            F.pad(
                torch.from_numpy(image).float(),
                (0, width - image.shape[-1], 0, height - image.shape[-2]),
            )
            for image in images
        ]
    )
    if 'image_sizes' in fixture:
        sizes = fixture['image_sizes'].tolist()

    tokens = specs('token')
    if tokens and tokens[0] not in fixture:
        ids, mask = evaluate(tokens[0], generator)
    else:
        ids, mask = fixture['token_ids'], fixture['token_mask']
    if not len(images) == len(ids) == len(sizes):
        raise ParityError(
            f'{fixture.path}: {len(images)} images, {len(ids)} texts and '
            f'{len(sizes)} image sizes do not fit together'
        )
    return Inputs(
        images,
        [tuple(map(int, size)) for size in sizes],
        torch.from_numpy(ids).long(),
        torch.from_numpy(mask).long(),
        int(described.get('weight_seed', 0)),
    )
