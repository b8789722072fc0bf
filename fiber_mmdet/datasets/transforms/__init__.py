"""Transforms: only what mmdet and mmcv lack.

Photos are decoded by mmcv's ``LoadImageFromFile``, where the orientation that
a camera wrote into a photo (EXIF) is an explicit choice:
``imdecode_backend='pillow', color_type='color_ignore_orientation'`` takes the
pixels as stored, as the reference does and as COCO's and LVIS's boxes are
meant; ``color_type='color'`` turns the photo upright first.
"""
from .caption_flip import CaptionFlip
from .category_sampling import SampleCategories
from .inclusive_boxes import InclusiveBoxes
from .short_side_resize import ShortSideResize

__all__ = ['CaptionFlip', 'InclusiveBoxes', 'SampleCategories', 'ShortSideResize']
