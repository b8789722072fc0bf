"""Phrase grounding recall (the protocols of Flickr30k Entities)."""

from collections import defaultdict
from collections.abc import Iterable, Sequence

import numpy as np
from mmdet.evaluation.functional import bbox_overlaps
from mmdet.registry import METRICS
from mmengine.evaluator import BaseMetric

from .ordering import in_order

NEVER = np.iinfo(np.int32).max


@METRICS.register_module()
class PhraseRecall(BaseMetric):
    """Share of phrases with a true box among their k best boxes.

    Phrases without a true box are not counted. The ground truth comes with the
    data samples: ``gt_instances`` with ``labels`` = phrase index, in the
    original image. A sample may name the types of its phrases in
    ``phrase_types``, a list of names per phrase index: then the recall of each
    type is reported as well; a phrase counts in each of its types.

    Args:
        topk: values of k; metric names are ``R@k``, and ``R@k/type`` for a
            type. ``R@all`` takes all boxes of a phrase: the upper bound.
        iou_thr: smallest IoU of a hit, computed without the +1 of inclusive boxes.
        protocol: 'any': one of the true boxes must be hit (ANY-BOX). 'merged':
            the smallest box around all true boxes of the phrase must be hit
            (MERGED-BOX).
        collect_device: 'cpu' or 'gpu', where results of processes are gathered.
        prefix: prefix of the metric names.

    Raises:
        ValueError: an unknown protocol, or a phrase beyond ``phrase_types``.
    """

    default_prefix = 'grounding'
    identity = ('img_id',)
    truth = ('gt_instances',)

    def __init__(
        self,
        topk: Sequence[int] = (1, 5, 10),
        iou_thr: float = 0.5,
        protocol: str = 'any',
        collect_device: str = 'cpu',
        prefix: str | None = None,
    ) -> None:
        super().__init__(collect_device=collect_device, prefix=prefix)
        if protocol not in ('any', 'merged'):
            raise ValueError(f"PhraseRecall: protocol is 'any' or 'merged', not {protocol!r}")
        self.topk = tuple(topk)
        self.iou_thr = iou_thr
        self.protocol = protocol

    def process(self, data_batch: dict, data_samples: Sequence[dict]) -> None:
        """Keep, per sample, (rank of the first hit, types) of each of its phrases."""
        for sample in data_samples:
            pred, gt = in_order(sample)['pred_instances'], sample['gt_instances']
            boxes, labels = pred['bboxes'].numpy(), pred['labels'].numpy()
            true, phrases = np.asarray(gt['bboxes'].cpu()), np.asarray(gt['labels'].cpu())
            self.results.append(
                [
                    (
                        self.first_hit(boxes[labels == phrase], true[phrases == phrase]),
                        self.types_of(sample, phrase),
                    )
                    for phrase in np.unique(phrases)
                ]
            )

    @staticmethod
    def types_of(sample: dict, phrase: int) -> tuple[str, ...]:
        """Names of the types of a phrase, none if the sample has no ``phrase_types``.

        Raises:
            ValueError: ``phrase_types`` is too short.
        """
        types = sample.get('phrase_types')
        if types is None:
            return ()
        if phrase >= len(types):
            raise ValueError(
                f'image {sample.get("img_id")} has a true box for phrase {phrase}, '
                f'but phrase_types names the types of {len(types)} phrases only'
            )
        return tuple(types[phrase])

    def first_hit(self, boxes: np.ndarray, true: np.ndarray) -> int:
        """Rank (from 0) of the first of ``boxes`` (N, 4) that hits ``true`` (M, 4), or NEVER."""
        if self.protocol == 'merged':
            true = np.concatenate([true[:, :2].min(0), true[:, 2:].max(0)])[None]
        if len(boxes):
            hits = np.flatnonzero(bbox_overlaps(boxes, true).max(1) >= self.iou_thr)
            if len(hits):
                return int(hits[0])
        return NEVER

    def compute_metrics(self, results: list[list[tuple[int, tuple]]]) -> dict[str, float]:
        """Recalls of all phrases and of each type, and the number of ``phrases``."""
        of_type: dict[str, list[int]] = defaultdict(list)
        for sample in results:
            for rank, types in sample:
                for name in types:
                    of_type[name].append(rank)
        ranks = [rank for sample in results for rank, _ in sample]
        metrics = self.recalls(ranks)
        for name in sorted(of_type):
            metrics.update(
                {f'{key}/{name}': value for key, value in self.recalls(of_type[name]).items()}
            )
        return {**metrics, 'phrases': float(len(ranks))}

    def recalls(self, ranks: Iterable[int]) -> dict[str, float]:
        """``R@k`` for each k and ``R@all``; 0 if there is no phrase."""
        ranks = np.asarray(list(ranks))
        limits = {**{str(k): k for k in self.topk}, 'all': NEVER}
        return {
            f'R@{name}': float((ranks < limit).mean()) if len(ranks) else 0.0
            for name, limit in limits.items()
        }
