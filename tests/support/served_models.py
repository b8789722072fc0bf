"""The packaged models behind a server, and small images for it."""

import io

import numpy as np
import pytest
from PIL import Image

from fiber_mmdet.apis import FIBERInferencer, ImageTextInferencer
from fiber_mmdet.serving import Limits, ServedModels
from fiber_mmdet.serving.models import NamedModel
from fiber_scenes import draw, sample_scene


@pytest.fixture(scope='session')
def packaged():
    """Both packaged models."""
    return (
        NamedModel(FIBERInferencer(device='cpu'), 'fiber-mini', True),
        NamedModel(ImageTextInferencer(device='cpu'), 'fiber-mini-vl', True),
    )


@pytest.fixture
def models(packaged):
    """A server's models, with nothing kept yet."""
    return ServedModels(*packaged, limits=Limits(max_mb=1, max_megapixels=1, texts=5))


@pytest.fixture(scope='session')
def scenes() -> list[bytes]:
    """Three generated scenes as PNG files."""
    return [png(draw(sample_scene('test', number))) for number in range(3)]


def png(pixels: np.ndarray) -> bytes:
    """An array as a PNG file."""
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, 'PNG')
    return file.getvalue()
