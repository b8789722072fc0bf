"""What travels between data sets, models and metrics, beyond mmdet's."""
from .image_text_sample import ImageTextSample

__all__ = ['ImageTextSample']
