"""Objectives on image-text pairs, one per file."""

from .base import ObjectiveHead
from .caption import CaptionHead
from .caption_cider import CiderLoss
from .caption_gold import GoldLoss
from .caption_objective import CaptionObjective, MLELoss
from .itc import ITCHead
from .itm import ITMHead
from .mlm import MLMHead
from .mvm import MVMHead
from .nlvr2 import NLVR2Head
from .tags import ImageTagHead
from .vqa import VQAHead

__all__ = [
    'CaptionHead',
    'CaptionObjective',
    'CiderLoss',
    'GoldLoss',
    'ITCHead',
    'ITMHead',
    'ImageTagHead',
    'MLELoss',
    'MLMHead',
    'MVMHead',
    'NLVR2Head',
    'ObjectiveHead',
    'VQAHead',
]
