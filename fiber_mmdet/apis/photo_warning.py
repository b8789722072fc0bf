"""The packaged models know generated shapes only: a line for those who show them photos."""

import logging
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor

from fiber_mmdet.weights.catalogue import PACKAGED

logger = logging.getLogger(__name__)

SIDE = 64  # images are averaged down to that, which takes grain and compression away
LEVELS = 8  # of each channel
SHARE = 0.9  # of the pixels
COLORS = 12  # generated scenes have at most 11, see tests/test_apis/test_photo_warning.py


def looks_like_photo(pixels: Tensor) -> bool:
    """Whether an image has more colours than generated scenes have.

    These have a background of two colours and a few even shapes. Counted are the coarse colours
    that nine tenths of the image consist of. A photo of little but sky passes for a scene.

    Args:
        pixels: (3, H, W), 0 to 255, in any order of channels.
    """
    small = F.adaptive_avg_pool2d(pixels.float(), SIDE).long() * LEVELS // 256
    codes = (small[0] * LEVELS + small[1]) * LEVELS + small[2]
    counts = torch.bincount(codes.flatten()).sort(descending=True).values
    needed = int((counts.cumsum(0) < SHARE * codes.numel()).sum()) + 1
    return needed > COLORS


class PhotoWarning:
    """Warns once that photos are nothing for a packaged model; of other models nothing is said.

    Args:
        weights: of the model.
    """

    def __init__(self, weights: str | Path) -> None:
        folders = {folder.resolve(): name for name, folder in PACKAGED.items()}
        self.name = folders.get(Path(weights).resolve().parent)

    def __call__(self, pixels: Tensor) -> None:
        """Look at an image as it goes into the model, (3, H, W), 0 to 255."""
        if self.name is not None and looks_like_photo(pixels):
            logger.warning(
                'this looks like a photo, and the packaged model %s knows generated shapes only: '
                'what it says about photos means nothing. docs/model_zoo.md has weights for them '
                '(`fiber weights list`)',
                self.name,
            )
            self.name = None
