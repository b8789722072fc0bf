"""Objectives on image-text pairs, one a file."""
from .base import ObjectiveHead
from .itc import ITCHead
from .itm import ITMHead
from .mlm import MLMHead
from .nlvr2 import NLVR2Head
from .vqa import VQAHead

__all__ = ['ITCHead', 'ITMHead', 'MLMHead', 'NLVR2Head', 'ObjectiveHead', 'VQAHead']
