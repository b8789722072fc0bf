"""Transforms: only what mmdet and mmcv lack."""
from .category_sampling import SampleCategories

__all__ = ['SampleCategories']
