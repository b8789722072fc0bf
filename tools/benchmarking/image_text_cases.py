"""An image-text model in both ways, plain and ours, on the same weights."""

from dataclasses import dataclass

import torch
from mmdet.registry import MODELS
from mmengine.registry import DefaultScope
from torch import Tensor

from fiber_mmdet.models import FIBERForVL

from .models import SIDES, fill_randomly, image_text_config, pixels
from .plain_image_text import PlainImageText
from .runs import Run


@dataclass
class ImageTexts:
    """Both ways.

    Attributes:
        ours: our model, in eval mode.
        plain: the plain way.
    """

    ours: FIBERForVL
    plain: PlainImageText


def build(run: Run, heads: dict) -> ImageTexts:
    """The image-text model of ``--model`` with these heads and random weights."""
    config = image_text_config(run.args.model, heads, run.args.tokenizer)
    with DefaultScope.overwrite_default_scope('mmdet'):
        model = MODELS.build(config.model)
    fill_randomly(model)
    model.to(run.device).eval()
    return ImageTexts(model, PlainImageText(model))


def side_of(run: Run) -> int:
    """Side of the images in pixels."""
    return run.args.side or SIDES[run.args.model]


def images_of(run: Run, count: int) -> Tensor:
    """(count, 3, S, S) normalised images, all different, on the device."""
    side = side_of(run)
    return torch.cat([pixels(1, side, side, seed=i) for i in range(count)]).to(run.device)
