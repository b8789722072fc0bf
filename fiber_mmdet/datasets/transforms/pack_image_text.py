"""The end of image-text pipelines."""

from collections.abc import Sequence

import numpy as np
import torch
from mmcv.transforms import BaseTransform
from mmdet.registry import TRANSFORMS

from fiber_mmdet.arguments import strict_arguments
from fiber_mmdet.structures import ImageTextSample, SampleGroup

META_KEYS = (
    'text',
    'task',
    'image_id',
    'img_path',
    'captions',
    'question_id',
    'answer_labels',
    'answer_scores',
    'answer_type',
    'question_type',
    'label',
    'tags',
    'identifier',
    'split',
)


@TRANSFORMS.register_module()
@strict_arguments
class PackImageText(BaseTransform):
    """Turn views into tensors and the rest into an :class:`ImageTextSample`.

    With several texts (``texts_per_image`` of the dataset), into an :class:`SampleGroup`.

    Args:
        meta_keys: fields that the sample keeps if they exist. ``img_path`` is that of the view
            ``image``.
    """

    def __init__(self, meta_keys: Sequence[str] = META_KEYS) -> None:
        self.meta_keys = tuple(meta_keys)

    def transform(self, results: dict) -> dict:
        """Pack one sample.

        Args:
            results: with ``views``, each of which has ``img`` (H, W, 3), uint8 or float.

        Returns:
            ``inputs``: view -> (3, H, W) tensor of the same dtype, and ``data_samples``.

        Raises:
            KeyError: a view has no ``img``.
        """
        inputs = {}
        for name, view in results['views'].items():
            if 'img' not in view:
                raise KeyError(
                    f'view {name!r} has no img: load images by EachView(transforms=['
                    "dict(type='LoadImageFromFile'), ...]) before PackImageText"
                )
            inputs[name] = torch.from_numpy(np.ascontiguousarray(view['img'].transpose(2, 0, 1)))
        img_path = results['views']['image'].get('img_path')
        samples = []
        for text in results.get('texts', (results,)):
            known = dict(text, img_path=img_path)
            kept = {key: known[key] for key in self.meta_keys if key in known}
            samples.append(ImageTextSample(metainfo=kept))
        packed = samples[0]
        if 'texts' in results:
            packed = SampleGroup(samples=samples)
        return dict(inputs=inputs, data_samples=packed)

    def __repr__(self) -> str:
        return f'{type(self).__name__}(meta_keys={self.meta_keys})'
