"""COCO's average precision for prompts."""

from collections.abc import Sequence

import numpy as np
from mmdet.evaluation import CocoMetric
from mmdet.registry import METRICS
from mmengine.fileio import dump

from .predictions import in_order


class OrderIndependent:
    """Mixin before ``CocoMetric`` or a class like it: order does not matter, nothing is a result.

    - Equal scores: within an image the smaller label, then the smaller box
      comes first (see :func:`in_order`), among images the smaller id.
    - Nothing found in the whole data set: mmdet reports no metric at all, which
      ends ``save_best``. Here each metric is 0, and -1 if it has no true box,
      as always.
    """

    def process(self, data_batch: dict, data_samples: Sequence[dict]) -> None:
        """As mmdet, of predictions in order."""
        super().process(data_batch, [in_order(sample) for sample in data_samples])

    def compute_metrics(self, results: list) -> dict[str, float]:
        """As mmdet, also when there is no prediction."""
        if not results:
            raise ValueError(f'{type(self).__name__} got no sample: the data set is empty')
        if self.format_only or any(len(pred['labels']) for _, pred in results):
            return super().compute_metrics(results)
        # COCO's tools cannot read an empty list; a box without area at score 0 hits nothing.
        (gt, pred), *rest = results
        pred = dict(pred, bboxes=np.zeros((1, 4)), scores=np.zeros(1), labels=np.zeros(1, int))
        metrics = super().compute_metrics([(gt, pred), *rest])
        if self.outfile_prefix is not None:
            dump([], f'{self.outfile_prefix}.bbox.json')
        return metrics


@METRICS.register_module()
class PromptCocoMetric(OrderIndependent, CocoMetric):
    """mmdet's ``CocoMetric``, steady (see :class:`OrderIndependent`).

    The numbers are those of ``CocoMetric``, rounded to three decimals as there;
    widths are x2 - x1, so that the boxes of a model that was trained on
    inclusive ones need ``exclusive_boxes=True``. pycocotools never matches an
    annotation whose id is 0: such files lose a box. All images of ``ann_file``
    count, also those that were not tested; without ``ann_file`` the truth is
    that of the samples (``instances`` among their meta keys). Annotations
    without ``iscrowd`` are no crowds.

    Args:
        *args: those of ``CocoMetric``.
        **kwargs: those of ``CocoMetric``.

    Raises:
        ValueError: a class of the data set that ``ann_file`` lacks (labels would
            silently stand for other categories), a tested image that it lacks, or
            no sample.
    """

    def compute_metrics(self, results: list) -> dict[str, float]:
        """The metrics of ``CocoMetric``."""
        if self._coco_api is not None:
            for annotation in self._coco_api.dataset['annotations']:
                annotation.setdefault('iscrowd', 0)  # pycocotools asks for it
            names = {category['name'] for category in self._coco_api.dataset['categories']}
            missing = [name for name in self.dataset_meta['classes'] if name not in names]
            if missing:
                raise ValueError(
                    f'the ann_file of PromptCocoMetric has no category {", ".join(map(repr, missing))}'
                    ', which the data set has: give metric and data set the same file'
                )
            foreign = {pred['img_id'] for _, pred in results} - set(self._coco_api.imgs)
            if foreign:
                raise ValueError(
                    f'image {min(foreign)} was tested, but the ann_file of '
                    'PromptCocoMetric lacks it: give metric and data set the same file'
                )
        return super().compute_metrics(results)
