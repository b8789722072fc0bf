"""Objectives on image-text pairs, one a file."""

from .base import ObjectiveHead
from .caption import CaptionHead
from .itc import ITCHead
from .itm import ITMHead
from .mlm import MLMHead
from .mvm import MVMHead
from .nlvr2 import NLVR2Head
from .vqa import VQAHead

__all__ = [
    'CaptionHead',
    'ITCHead',
    'ITMHead',
    'MLMHead',
    'MVMHead',
    'NLVR2Head',
    'ObjectiveHead',
    'VQAHead',
]
