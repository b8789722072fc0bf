"""Normalisation of image-text batches."""

from collections.abc import Sequence

from mmdet.registry import MODELS
from mmengine.model import ImgDataPreprocessor
from torch import Tensor

from fiber_mmdet.arguments import strict_arguments
from fiber_mmdet.structures import samples_of_images


@MODELS.register_module()
@strict_arguments
class ImageTextPreprocessor(ImgDataPreprocessor):
    """mmengine's ``ImgDataPreprocessor`` for samples of one or several views.

    Images of a batch are squares of one size; nothing is padded.

    Args:
        mean: mean of each of the three channels, in the order after the conversion.
        std: standard deviation of each channel; without both, values are not normalised.
        bgr_to_rgb: reverse the channels first, since mmcv loads BGR.
        rgb_to_bgr: reverse the channels of images that were loaded as RGB.
        non_blocking: whether the copy to the device may overlap with work there.
    """

    def __init__(
        self,
        mean: Sequence[float] | None = None,
        std: Sequence[float] | None = None,
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
                (B, 3, S, S); optionally ``data_samples``, which are passed on unchanged.
            training: not used.

        Returns:
            ``inputs``: view -> (B, 3, S, S) float32, and ``data_samples`` or None.

        Raises:
            ValueError: images are not squares of one size.
        """
        samples = data.get('data_samples')
        _check_sizes(data['inputs'], samples)
        views = {
            name: super(ImageTextPreprocessor, self).forward(dict(inputs=images))['inputs']
            for name, images in data['inputs'].items()
        }
        return dict(inputs=views, data_samples=samples)


def _check_sizes(inputs: dict[str, Tensor | Sequence[Tensor]], samples: Sequence | None) -> None:
    side = None
    for name, images in inputs.items():
        for i, image in enumerate(images):
            height, width = image.shape[-2:]
            side = side or height
            if (height, width) != (side, side):
                known = samples_of_images(samples[i : i + 1]) if samples is not None else []
                path = known[0][0].get('img_path') if known else None
                place = f' ({path})' if path else ''
                raise ValueError(
                    f'view {name!r} number {i} of a batch{place} is {width} x {height} pixels, '
                    f'the batch began with {side} rows: images must be squares of '
                    "one size. End EachView with dict(type='Resize', scale=(S, S), "
                    'keep_ratio=False), or RandomResizedCrop'
                )
