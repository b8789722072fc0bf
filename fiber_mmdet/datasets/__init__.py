"""Data sets and transforms: only what mmdet lacks."""
from .coco_prompts import PromptCocoDataset
from .mdetr_grounding import MDETRGroundingDataset
from .transforms import *  # noqa: F401,F403

__all__ = ['MDETRGroundingDataset', 'PromptCocoDataset']
