"""Phrase grounding recall (any-box protocol of Flickr30k Entities)."""
from typing import Optional, Sequence

import numpy as np
from mmdet.evaluation.functional import bbox_overlaps
from mmdet.registry import METRICS
from mmengine.evaluator import BaseMetric


@METRICS.register_module()
class PhraseRecall(BaseMetric):
    """Share of phrases of which one of the k best boxes hits one of the true boxes.

    Phrases without a true box are not counted. Ground truth comes with the
    data samples: ``gt_instances`` with ``labels`` = phrase index, in the
    original image.

    Args:
        topk: values of k; metric names are ``R@k``.
        iou_thr: a hit needs an IoU (plain, without a pixel added) of at least this.
        collect_device: 'cpu' or 'gpu', where results of processes are gathered.
        prefix: prefix of the metric names.
    """

    default_prefix = 'grounding'

    def __init__(self, topk: Sequence[int] = (1, 5, 10), iou_thr: float = 0.5,
                 collect_device: str = 'cpu', prefix: Optional[str] = None) -> None:
        super().__init__(collect_device=collect_device, prefix=prefix)
        self.topk = tuple(topk)
        self.iou_thr = iou_thr

    def process(self, data_batch: dict, data_samples: Sequence[dict]) -> None:
        """Keep, per sample, the ranks of its phrases' first hits (0-based)."""
        for sample in data_samples:
            pred, gt = sample['pred_instances'], sample['gt_instances']
            boxes, labels = np.asarray(pred['bboxes'].cpu()), np.asarray(pred['labels'].cpu())
            order = np.argsort(-np.asarray(pred['scores'].cpu()), kind='stable')
            boxes, labels = boxes[order], labels[order]
            true, phrases = np.asarray(gt['bboxes'].cpu()), np.asarray(gt['labels'].cpu())
            self.results.append([
                self.first_hit(boxes[labels == phrase], true[phrases == phrase])
                for phrase in np.unique(phrases)])

    def first_hit(self, boxes: np.ndarray, true: np.ndarray) -> int:
        """Rank of the first of ``boxes`` (N, 4) that hits any of ``true`` (M, 4), huge if none."""
        if len(boxes):
            hits = np.flatnonzero(bbox_overlaps(boxes, true).max(1) >= self.iou_thr)
            if len(hits):
                return int(hits[0])
        return np.iinfo(np.int32).max

    def compute_metrics(self, results: list[list[int]]) -> dict[str, float]:
        """``R@k`` for each k, and the number of phrases."""
        ranks = np.asarray([rank for sample in results for rank in sample])
        metrics = {f'R@{k}': float((ranks < k).mean()) if len(ranks) else 0.0 for k in self.topk}
        return {**metrics, 'phrases': float(len(ranks))}
