"""Transforms: only what mmdet and mmcv lack.

Images are decoded by mmcv's ``LoadImageFromFile``, where the orientation that a camera stores in
a photo (EXIF) is an explicit choice: ``imdecode_backend='pillow',
color_type='color_ignore_orientation'`` takes the pixels as stored, as the reference does and as
the boxes of COCO and LVIS are meant; ``color_type='color'`` turns the image upright first.
"""

from .caption_flip import CaptionFlip
from .category_sampling import SampleCategories
from .each_view import EachView
from .flip_views import FlipViews
from .image_rand_augment import ImageRandAugment
from .inclusive_boxes import InclusiveBoxes
from .pack_image_text import PackImageText
from .random_resized_crop import RandomResizedCrop
from .short_side_resize import ShortSideResize

__all__ = [
    'CaptionFlip',
    'EachView',
    'FlipViews',
    'ImageRandAugment',
    'InclusiveBoxes',
    'PackImageText',
    'RandomResizedCrop',
    'SampleCategories',
    'ShortSideResize',
]
