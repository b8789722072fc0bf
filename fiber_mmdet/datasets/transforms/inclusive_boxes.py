"""Boxes as the detector is trained on them: inclusive, inside the image, not empty."""

import numpy as np
import torch
from mmcv.transforms import BaseTransform
from mmdet.registry import TRANSFORMS
from mmdet.structures.bbox import HorizontalBoxes, autocast_box_type

from fiber_mmdet.arguments import former_arguments

PER_BOX = ('gt_bboxes', 'gt_bboxes_labels', 'gt_ignore_flags', 'gt_masks')


@TRANSFORMS.register_module()
@former_arguments(drop_ignored=True)
class InclusiveBoxes(BaseTransform):
    """Make boxes include their right and bottom edge, clip them, drop the empty ones.

    (x1, y1, x2, y2) becomes (x1, y1, max(x2 - 1, x1), max(y2 - 1, y1)), clipped to
    [0, W - 1] x [0, H - 1] of the image at this step. A box with x2 <= x1 or y2 <= y1 after that is
    empty; as in all data of the reference, this includes boxes of one pixel. Labels, ignore flags
    and masks are dropped with their boxes. Crowds (``gt_ignore_flags``) are dropped, too, so that
    their categories are not positive either. An image that loses all boxes is kept, as background.

    Differs from mmdet's ``GTBoxSubOne_GLIP`` and ``FilterAnnotations``, which it replaces: these do
    not clip, measure boxes after the resize, and replace an image without boxes by another one.
    Belongs after ``LoadAnnotations`` and before the resize.

    Args:
        already_inclusive: boxes are inclusive already: only clip and drop. For
            ``DetectionTSVDataset``; all other datasets give x2 = x + width.

    Raises:
        KeyError: the sample has no boxes or no image yet.
    """

    def __init__(self, already_inclusive: bool = False) -> None:
        self.already_inclusive = already_inclusive

    @autocast_box_type()
    def transform(self, results: dict) -> dict:
        """Replace ``gt_bboxes``, and drop what belongs to dropped boxes.

        Raises:
            KeyError: see the class.
        """
        for key, loader in (('img_shape', 'LoadImageFromFile'), ('gt_bboxes', 'LoadAnnotations')):
            if key not in results:
                raise KeyError(f'InclusiveBoxes needs {key!r}: put it after {loader}')
        boxes = results['gt_bboxes'].tensor
        height, width = results['img_shape'][:2]
        low, high = boxes[:, :2], boxes[:, 2:]
        if not self.already_inclusive:
            high = torch.maximum(high - 1, low)
        last = boxes.new_tensor([width - 1, height - 1])
        low, high = (corner.clamp(min=0).minimum(last) for corner in (low, high))
        results['gt_bboxes'] = HorizontalBoxes(torch.cat([low, high], dim=1))
        keep = (high > low).all(dim=1).numpy()
        if 'gt_ignore_flags' in results:
            keep &= ~np.asarray(results['gt_ignore_flags'], dtype=bool)
        keep_boxes(results, keep)
        return results

    def __repr__(self) -> str:
        return f'{type(self).__name__}(already_inclusive={self.already_inclusive})'


def keep_boxes(results: dict, keep: np.ndarray) -> None:
    """Keep some boxes of a sample, in place.

    Labels, ignore flags, masks and ``phrase_ids`` are selected with them; the phrases themselves
    stay in the prompt.

    Args:
        results: a sample inside a pipeline, with ``gt_bboxes`` of N boxes.
        keep: (N,) bool.
    """
    if keep.all():
        return
    for key in PER_BOX:
        if results.get(key) is not None:
            results[key] = results[key][keep]
    if results.get('phrase_ids') is not None:
        results['phrase_ids'] = [i for i, kept in zip(results['phrase_ids'], keep) if kept]
