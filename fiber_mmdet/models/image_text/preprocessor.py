"""Normalisation of image-text batches."""

from collections.abc import Sequence

from mmdet.registry import MODELS
from mmengine.model import ImgDataPreprocessor
from torch import Tensor

from fiber_mmdet.arguments import strict_arguments


@MODELS.register_module()
@strict_arguments
class ImageTextPreprocessor(ImgDataPreprocessor):
    """mmengine's ``ImgDataPreprocessor`` for samples of one or several views.

    Pictures of a batch are squares of one size; nothing is padded.

    Args:
        mean: three means, of channels in the order that they have afterwards.
        std: three standard deviations; without both, values stay as they are.
        bgr_to_rgb: turn the channels around first, as mmcv loads BGR.
        rgb_to_bgr: the same, for pictures that were loaded as RGB.
        non_blocking: whether the copy to the device may overlap with work there.
    """

    def __init__(
        self,
        mean: Sequence[float] = None,
        std: Sequence[float] = None,
        bgr_to_rgb: bool = False,
        rgb_to_bgr: bool = False,
        non_blocking: bool = False,
    ) -> None:
        super().__init__(
            mean=mean,
            std=std,
            bgr_to_rgb=bgr_to_rgb,
            rgb_to_bgr=rgb_to_bgr,
            non_blocking=non_blocking,
        )

    def forward(self, data: dict, training: bool = False) -> dict:
        """Normalise and stack each view.

        Args:
            data: ``inputs``: view -> B tensors (3, S, S) of any type, or one
                (B, 3, S, S); maybe ``data_samples``, which stay as they are.
            training: not used.

        Returns:
            ``inputs``: view -> (B, 3, S, S) float, and ``data_samples`` or None.

        Raises:
            ValueError: pictures are no squares of one size.
        """
        samples = data.get('data_samples')
        _check_sizes(data['inputs'], samples)
        views = {
            name: super(ImageTextPreprocessor, self).forward(dict(inputs=images))['inputs']
            for name, images in data['inputs'].items()
        }
        return dict(inputs=views, data_samples=samples)


def _check_sizes(inputs: dict[str, Tensor | Sequence[Tensor]], samples: Sequence) -> None:
    side = None
    for name, images in inputs.items():
        for i, image in enumerate(images):
            height, width = image.shape[-2:]
            side = side or height
            if (height, width) != (side, side):
                path = samples[i].get('img_path') if samples is not None else None
                raise ValueError(
                    f'view {name!r} number {i} of a batch{f" ({path})" if path else ""} is {width} x '
                    f'{height} pixels, the batch began with {side} rows: pictures must be squares of '
                    "one size. End EachView with dict(type='Resize', scale=(S, S), "
                    'keep_ratio=False), or RandomResizedCrop'
                )
