"""Normalisation of image-text batches."""
import torch
from mmdet.registry import MODELS
from mmengine.model import ImgDataPreprocessor

from ..arguments import strict_arguments


@MODELS.register_module()
@strict_arguments
class ImageTextPreprocessor(ImgDataPreprocessor):
    """mmengine's ``ImgDataPreprocessor`` for samples of one or several views."""

    def forward(self, data: dict, training: bool = False) -> dict:
        """Normalise and stack each view."""
        views = {name: super(ImageTextPreprocessor, self).forward(
            dict(inputs=list(images)), training)['inputs'] for name, images in data['inputs'].items()}
        return dict(inputs=views, data_samples=data.get('data_samples'))
