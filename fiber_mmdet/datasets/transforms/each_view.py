"""Ordinary transforms applied to each image of a sample."""

import logging
from collections.abc import Callable, Sequence

from mmcv.transforms import BaseTransform
from mmdet.registry import TRANSFORMS
from mmengine.dataset import Compose
from mmengine.logging import print_log

from fiber_mmdet.arguments import strict_arguments
from fiber_mmdet.images import ImageError

from ..image_errors import image_error


@TRANSFORMS.register_module()
@strict_arguments
class EachView(BaseTransform):
    """Apply transforms of single images to each view of a sample; random ones draw per view.

    A view is a results dictionary of its own: it begins with ``img_path`` and then has what the
    transforms add, such as ``img``. A transform that returns None drops the sample
    (``LoadImageFromFile(ignore_empty=True)`` does so for an image that cannot be read; a training
    set then takes another sample). The 1st, 2nd, 4th, 8th, … dropped image is logged, with its
    path and number.

    Args:
        transforms: as in a pipeline.

    Raises:
        ImageReadError: an image is missing, or its file is damaged.
    """

    def __init__(self, transforms: Sequence[dict | Callable]) -> None:
        self.transforms = Compose(list(transforms))
        self._dropped = 0

    def transform(self, results: dict) -> dict | None:
        """Replace ``results['views']`` by the transformed views.

        Raises:
            ImageReadError: see the class.
        """
        views = {}
        for name, view in results['views'].items():
            changed = self._transformed(dict(view))
            if changed is None:
                self._log_dropped(view.get('img_path'))
                return None
            views[name] = changed
        results['views'] = views
        return results

    def _transformed(self, view: dict) -> dict | None:
        path = view.get('img_path')
        try:
            return self.transforms(view)
        except (OSError, SyntaxError, ImageError) as error:
            settings = 'data_root, data_prefix and image_template'
            raise image_error(error, path, settings) from error

    def _log_dropped(self, path: str | None) -> None:
        self._dropped += 1
        if self._dropped.bit_count() == 1:
            print_log(
                f'{path} was dropped, number {self._dropped} of this process: another sample '
                'takes its place',
                'current',
                logging.WARNING,
            )

    def __repr__(self) -> str:
        return f'{type(self).__name__}({self.transforms})'
