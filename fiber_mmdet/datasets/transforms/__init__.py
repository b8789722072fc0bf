"""Transforms: only what mmdet and mmcv lack."""
from .category_sampling import SampleCategories
from .load_photo import LoadPhoto

__all__ = ['LoadPhoto', 'SampleCategories']
