"""Resizing with the reference's rule for the size."""

from mmdet.datasets.transforms import Resize
from mmdet.registry import TRANSFORMS

from fiber_mmdet.images import short_side_size


@TRANSFORMS.register_module()
class ShortSideResize(Resize):
    """mmdet's ``Resize`` with the sizes of the reference.

    Differs from mmdet's ``FixScaleResize``: the sides are not both truncated from one factor (see
    :func:`short_side_size`; 640x360 becomes 1333x750, not 1333x749). The default filter is
    Pillow's bilinear one. Boxes, masks and maps are scaled by the two exact ratios, which become
    the ``scale_factor``; ``scale`` becomes the size itself.

    Fits ``RandomChoiceResize(resize_type='ShortSideResize', scales=[…])``.

    Args:
        scale: (long, short) side in pixels, in any order: the largest long side and the wanted
            short side.
        keep_ratio: only True; accepted so that this class can replace the others.
        backend: 'pillow' or 'cv2'.
        **kwargs: ``interpolation`` and ``clip_object_border`` of ``Resize``.

    Raises:
        ValueError: ``keep_ratio=False``.
    """

    def __init__(
        self,
        scale: tuple[int, int] = (1333, 800),
        keep_ratio: bool = True,
        backend: str = 'pillow',
        **kwargs,
    ) -> None:
        if not keep_ratio:
            raise ValueError(
                'ShortSideResize keeps the ratio of the sides: leave keep_ratio out, '
                'or use Resize for a fixed size'
            )
        # the size is computed here, so that mmcv has to resize to exactly that
        super().__init__(scale=scale, keep_ratio=False, backend=backend, **kwargs)

    def _resize_img(self, results: dict) -> None:
        height, width = results['img'].shape[:2]
        results['scale'] = short_side_size(width, height, max(self.scale), min(self.scale))
        super()._resize_img(results)
        results['keep_ratio'] = True
