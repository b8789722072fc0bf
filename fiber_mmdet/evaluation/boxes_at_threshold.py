"""What a user sees at one score threshold: boxes that are right, and boxes of absent names."""

from collections.abc import Sequence

import numpy as np
import torch
from mmdet.registry import METRICS
from mmdet.structures.bbox import bbox_overlaps
from mmengine.evaluator import BaseMetric

COUNTS = ('boxes', 'right', 'truths', 'absent', 'deceived')


@METRICS.register_module()
class BoxesAtThreshold(BaseMetric):
    """Precision and recall at a score threshold, and how often an absent name gets a box.

    AP ranks boxes of a name over all images, so it hardly tells whether a name that is not in an
    image gets a box there at the threshold of a demo. This metric counts what is drawn:

    - ``precision``: boxes with the threshold's score or more that hit a true box of their name;
    - ``recall``: true boxes that are hit;
    - ``absent_with_box``: pairs of an image and a name that has no true box in it, with at least
      one such box. 0 is best.

    Each is a fraction; -1 if there is nothing to count. Boxes are matched by falling score, each
    with the true box of its name that overlaps it most and is not taken; crowds are no true
    boxes. Names are those of the dataset, all of which are asked for on each image.

    Args:
        score_thr: least score of a box that counts.
        iou_thr: least overlap of a hit.
        **kwargs: those of mmengine's ``BaseMetric``.

    Raises:
        ValueError: a threshold is not between 0 and 1, or the dataset has no names.
    """

    default_prefix = 'threshold'

    def __init__(self, score_thr: float = 0.5, iou_thr: float = 0.5, **kwargs) -> None:
        super().__init__(**kwargs)
        for name, value in (('score_thr', score_thr), ('iou_thr', iou_thr)):
            if not 0 <= value <= 1:
                raise ValueError(f'BoxesAtThreshold: {name}={value} must be between 0 and 1')
        self.score_thr = score_thr
        self.iou_thr = iou_thr

    def process(self, data_batch: dict, data_samples: Sequence[dict]) -> None:
        """Count the boxes of a batch.

        Args:
            data_batch: not used.
            data_samples: samples as dicts, with ``pred_instances`` (bboxes (N, 4), scores and
                labels (N,)) and ``gt_instances`` (bboxes (M, 4), labels (M,)), boxes as x1, y1,
                x2, y2 in pixels of the image.

        Raises:
            ValueError: the dataset has no names.
        """
        names = (self.dataset_meta or {}).get('classes')
        if not names:
            raise ValueError('BoxesAtThreshold needs a dataset with names of its own (classes)')
        for sample in data_samples:
            found, truth = sample['pred_instances'], sample['gt_instances']
            seen = found['scores'] >= self.score_thr
            order = found['scores'][seen].argsort(descending=True, stable=True)
            boxes, labels = found['bboxes'][seen][order], found['labels'][seen][order].cpu().numpy()
            true_boxes = torch.as_tensor(getattr(truth['bboxes'], 'tensor', truth['bboxes']))
            true_labels = truth['labels'].cpu().numpy()
            overlaps = bbox_overlaps(boxes.float(), true_boxes.to(boxes.device).float())
            absent = np.setdiff1d(np.arange(len(names)), true_labels)
            self.results.append(
                dict(
                    boxes=len(boxes),
                    right=self._hits(overlaps.cpu().numpy(), labels, true_labels),
                    truths=len(true_labels),
                    absent=len(absent),
                    deceived=len(np.intersect1d(absent, labels)),
                )
            )

    def _hits(self, overlaps: np.ndarray, labels: np.ndarray, true_labels: np.ndarray) -> int:
        """Boxes, by falling score, that hit a true box of their name."""
        free = np.ones(len(true_labels), dtype=bool)
        for row, label in zip(overlaps, labels):
            candidates = np.where(free & (true_labels == label), row, -1.0)
            if len(candidates) and candidates.max() >= self.iou_thr:
                free[candidates.argmax()] = False
        return int((~free).sum())

    def compute_metrics(self, results: list[dict]) -> dict[str, float]:
        """The three fractions.

        Raises:
            ValueError: there is no sample.
        """
        if not results:
            raise ValueError('BoxesAtThreshold got no sample: the dataset is empty')
        total = {key: sum(result[key] for result in results) for key in COUNTS}

        def part(some: str, all_: str) -> float:
            return total[some] / total[all_] if total[all_] else -1.0

        return dict(
            precision=part('right', 'boxes'),
            recall=part('right', 'truths'),
            absent_with_box=part('deceived', 'absent'),
        )
