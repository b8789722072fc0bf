"""Transforms: only what mmdet and mmcv lack.

Images are read by ``LoadImageFromFile``, where the orientation that a camera stores in a photo
(EXIF) is an explicit choice: ``imdecode_backend='pillow', color_type='color_ignore_orientation'``
takes the pixels as stored, as the reference does and as the boxes of COCO and LVIS are meant;
``color_type='color'`` turns the image upright first. :mod:`fiber_mmdet.images` says what is read.
"""

from .cached_prefixes import CachedPrefixes
from .caption_flip import CaptionFlip
from .category_sampling import SampleCategories
from .describe_captions import DescribeCaptions
from .describe_categories import DescribeCategories
from .each_view import EachView
from .flip_views import FlipViews
from .image_rand_augment import ImageRandAugment
from .inclusive_boxes import InclusiveBoxes
from .load_image import LoadImageFromFile
from .pack_image_text import PackImageText
from .random_resized_crop import RandomResizedCrop
from .short_side_resize import ShortSideResize
from .tags_from_texts import TagsFromTexts

__all__ = [
    'CachedPrefixes',
    'CaptionFlip',
    'DescribeCaptions',
    'DescribeCategories',
    'EachView',
    'FlipViews',
    'ImageRandAugment',
    'InclusiveBoxes',
    'LoadImageFromFile',
    'PackImageText',
    'RandomResizedCrop',
    'SampleCategories',
    'ShortSideResize',
    'TagsFromTexts',
]
