"""Ordinary transforms on each picture of a sample."""

import logging
from collections.abc import Callable, Sequence

from mmcv.transforms import BaseTransform
from mmdet.registry import TRANSFORMS
from mmengine.dataset import Compose
from mmengine.logging import print_log

from fiber_mmdet.arguments import strict_arguments

from ..detection.photo_errors import PhotoError


@TRANSFORMS.register_module()
@strict_arguments
class EachView(BaseTransform):
    """Apply transforms of single images to each view of a sample, each drawing for itself.

    A view is a dictionary of results of its own: it begins with ``img_path`` and has
    what the transforms leave in it, such as ``img``. A transform that returns
    None drops the sample (``LoadImageFromFile(ignore_empty=True)`` does that to
    a picture that cannot be read; a training set then takes another one). The log
    tells how many were dropped, with the path of the 1st, 2nd, 4th, 8th, …

    Args:
        transforms: as in a pipeline.

    Raises:
        PhotoError: a picture is missing, or is none.
    """

    def __init__(self, transforms: Sequence[dict | Callable]) -> None:
        self.transforms = Compose(list(transforms))
        self._dropped = 0

    def transform(self, results: dict) -> dict | None:
        """Replace ``results['views']`` by the transformed views."""
        views = {}
        for name, view in results['views'].items():
            changed = self._one(dict(view))
            if changed is None:
                self._tell(view.get('img_path'))
                return None
            views[name] = changed
        results['views'] = views
        return results

    def _one(self, view: dict) -> dict | None:
        path = view.get('img_path')
        try:
            return self.transforms(view)
        except FileNotFoundError as error:
            raise PhotoError(
                f'no image {path}: check data_root, data_prefix and image_template of the data set'
            ) from error
        except (OSError, SyntaxError) as error:
            raise PhotoError(
                f'cannot read {path} as a picture ({error}): replace the file or '
                'remove it from the annotations'
            ) from error

    def _tell(self, path: str | None) -> None:
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
