"""What a user sees at one score threshold: boxes that are right, and boxes of absent names."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from mmdet.registry import METRICS
from mmdet.structures.bbox import bbox_overlaps
from mmengine.evaluator import BaseMetric
from torch import Tensor

COUNTS = ('boxes', 'right', 'truths', 'absent', 'deceived')


@METRICS.register_module()
class BoxesAtThreshold(BaseMetric):
    """Precision and recall at a score threshold, and how often an absent name gets a box.

    AP ranks boxes of a name over all images, so it hardly tells whether a name that is not in an
    image gets a box there at the threshold of a demo. This metric counts what is drawn:

    - ``precision``: boxes with the threshold's score or more that hit a true box of their name;
    - ``recall``: true boxes that are hit;
    - ``absent_with_box``: pairs of an image and a name that is not in it, not even as a crowd,
      with at least one such box. 0 is best.

    Each is a fraction; -1 if there is nothing to count. Boxes are matched by falling score, each
    with the true box of its name that overlaps it most and is not taken. Crowds are no true
    boxes: as in COCO's AP, a box that hits nothing else, and of which at least ``iou_thr`` lies in
    a crowd of its name, is neither right nor wrong. Names are those of the dataset, all of which
    are asked for on each image.

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
                labels (N,)), ``gt_instances`` (bboxes (M, 4), labels (M,)) and, if there are
                crowds, ``ignored_instances`` like these; boxes as x1, y1, x2, y2 in pixels of the
                image.

        Raises:
            ValueError: the dataset has no names.
        """
        names = (self.dataset_meta or {}).get('classes')
        if not names:
            raise ValueError('BoxesAtThreshold needs a dataset with names of its own (classes)')
        for sample in data_samples:
            found = sample['pred_instances']
            seen = found['scores'] >= self.score_thr
            order = found['scores'][seen].argsort(descending=True, stable=True)
            boxes, labels = found['bboxes'][seen][order], found['labels'][seen][order].cpu().numpy()
            overlaps, true_labels = _truths(sample['gt_instances'], boxes, 'iou')
            hits = self._hits(overlaps, labels, true_labels)
            inside, crowd_labels = _truths(sample.get('ignored_instances'), boxes, 'iof')
            in_crowd = (inside >= self.iou_thr) & (labels[:, None] == crowd_labels)
            absent = np.setdiff1d(np.arange(len(names)), [*true_labels, *crowd_labels])
            self.results.append(
                dict(
                    boxes=len(boxes) - int((in_crowd.any(1) & ~hits).sum()),
                    right=int(hits.sum()),
                    truths=len(true_labels),
                    absent=len(absent),
                    deceived=len(np.intersect1d(absent, labels)),
                )
            )

    def _hits(
        self, overlaps: np.ndarray, labels: np.ndarray, true_labels: np.ndarray
    ) -> np.ndarray:
        """Which boxes, by falling score, hit a true box of their name."""
        free = np.ones(len(true_labels), dtype=bool)
        hits = np.zeros(len(labels), dtype=bool)
        for i, (row, label) in enumerate(zip(overlaps, labels)):
            candidates = np.where(free & (true_labels == label), row, -1.0)
            if len(candidates) and candidates.max() >= self.iou_thr:
                free[candidates.argmax()] = False
                hits[i] = True
        return hits

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


def _truths(instances: Any, boxes: Tensor, overlap: str) -> tuple[np.ndarray, np.ndarray]:
    """Overlaps (N, M) of found boxes with M annotated ones, and the labels (M,) of these."""
    if not instances:
        return np.zeros((len(boxes), 0)), np.zeros(0, dtype=int)
    annotated = torch.as_tensor(getattr(instances['bboxes'], 'tensor', instances['bboxes']))
    overlaps = bbox_overlaps(boxes.float(), annotated.to(boxes.device).float(), mode=overlap)
    return overlaps.cpu().numpy(), instances['labels'].cpu().numpy()
