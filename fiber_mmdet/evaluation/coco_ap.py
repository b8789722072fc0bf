"""COCO's average precision for prompts."""

from collections.abc import Sequence

import numpy as np
from mmdet.evaluation import CocoMetric
from mmdet.registry import METRICS
from mmengine.evaluator import BaseMetric
from mmengine.fileio import dump

from .ordering import in_order


class OrderIndependent(BaseMetric):
    """Mixin before ``CocoMetric`` and the like: always a result, whatever the order of samples.

    - Ties: within an image the smaller label, then the smaller box comes first (see
      :func:`in_order`); among images the smaller id.
    - No prediction in the whole dataset: mmdet then reports no metric at all, which breaks
      ``save_best``. Here each metric is 0, or -1 if it has no true box, as always.
    """

    identity = ('img_id',)
    truth = ('gt_instances',)

    def process(self, data_batch: dict, data_samples: Sequence[dict]) -> None:
        """As in mmdet, with the predictions in order."""
        super().process(data_batch, [in_order(sample) for sample in data_samples])

    def compute_metrics(self, results: list) -> dict[str, float]:
        """As in mmdet, also when there is no prediction.

        Raises:
            ValueError: there is no sample.
        """
        if not results:
            raise ValueError(f'{type(self).__name__} got no sample: the dataset is empty')
        if self.format_only or any(len(pred['labels']) for _, pred in results):
            return super().compute_metrics(results)
        # COCO's tools reject an empty list; a box without area at score 0 hits nothing.
        (gt, pred), *rest = results
        pred = dict(pred, bboxes=np.zeros((1, 4)), scores=np.zeros(1), labels=np.zeros(1, int))
        metrics = super().compute_metrics([(gt, pred), *rest])
        if self.outfile_prefix is not None:
            dump([], f'{self.outfile_prefix}.bbox.json')
        return metrics


@METRICS.register_module()
class PromptCocoMetric(OrderIndependent, CocoMetric):
    """mmdet's ``CocoMetric``, made independent of order (see :class:`OrderIndependent`).

    The numbers are those of ``CocoMetric``, rounded to three decimals as there. Widths are
    x2 - x1, so a model trained on inclusive boxes needs ``exclusive_boxes=True``. pycocotools
    never matches an annotation with id 0: files that have one lose a box. All images of
    ``ann_file`` count, even those that were not tested; without ``ann_file`` the ground truth
    comes with the samples (``instances`` among their meta keys). Annotations without
    ``iscrowd`` are not crowds.

    Args:
        *args: those of ``CocoMetric``.
        **kwargs: those of ``CocoMetric``.

    Raises:
        ValueError: ``ann_file`` lacks a class of the dataset (labels would silently stand for
            other categories) or a tested image, or there is no sample.
    """

    def compute_metrics(self, results: list) -> dict[str, float]:
        """The metrics of ``CocoMetric``.

        Raises:
            ValueError: see the class.
        """
        if self._coco_api is not None:
            for annotation in self._coco_api.dataset['annotations']:
                annotation.setdefault('iscrowd', 0)  # pycocotools requires it
            names = {category['name'] for category in self._coco_api.dataset['categories']}
            missing = [name for name in self.dataset_meta['classes'] if name not in names]
            if missing:
                raise ValueError(
                    'the ann_file of PromptCocoMetric has no category '
                    f'{", ".join(map(repr, missing))}, which the dataset has: give metric and '
                    'dataset the same file'
                )
            foreign = {pred['img_id'] for _, pred in results} - set(self._coco_api.imgs)
            if foreign:
                raise ValueError(
                    f'image {min(foreign)} was tested, but the ann_file of '
                    'PromptCocoMetric lacks it: give metric and dataset the same file'
                )
        return super().compute_metrics(results)
