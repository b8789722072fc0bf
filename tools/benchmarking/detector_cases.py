"""A detector in both ways, plain and ours, on the same weights."""

from dataclasses import dataclass

from mmengine.config import Config
from torch import Tensor

from fiber_mmdet.apis import FIBERInferencer
from fiber_mmdet.models import FIBERDetector

from .models import SIZES, detector_config, fill_randomly, pixels, set_score_level
from .plain_detector import PlainDetector
from .runs import Run


@dataclass
class Detectors:
    """Both ways.

    Attributes:
        find: the inferencer around our model.
        plain: the plain way.
        config: the config of both.
    """

    find: FIBERInferencer
    plain: PlainDetector
    config: Config

    @property
    def ours(self) -> FIBERDetector:
        """Our model."""
        return self.find.model


def sizes_of(run: Run) -> list[tuple[int, int]]:
    """Image sizes to run, (height, width)."""
    return run.args.size or [SIZES[run.args.model]]


def build(run: Run, size: tuple[int, int] | None = None) -> Detectors:
    """The detector of ``--model`` with random weights, which resizes images to ``size``."""
    config = detector_config(run.args.model, run.args.tokenizer)
    height, width = size or SIZES[run.args.model]
    config.test_pipeline[1].scale = (width, height)
    find = FIBERInferencer(config, 'random', run.device, show_progress=False)
    fill_randomly(find.model)
    set_score_level(find.model, images_of(run, (height, width)))
    return Detectors(find, PlainDetector(find.model), config)


def images_of(run: Run, size: tuple[int, int], count: int = 1) -> Tensor:
    """Normalised images on the device."""
    return pixels(count, *size).to(run.device)


def meta_of(size: tuple[int, int]) -> dict:
    """The metadata that post-processing reads, of an image that was not resized."""
    return dict(img_shape=size, ori_shape=size, scale_factor=(1.0, 1.0))
