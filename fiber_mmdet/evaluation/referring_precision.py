"""Precision of referring expressions (RefCOCO, RefCOCO+, RefCOCOg)."""

from collections.abc import Sequence

from mmdet.registry import METRICS
from mmdet.structures.bbox import bbox_overlaps
from mmengine.evaluator import BaseMetric
from torch import Tensor

from .ordering import in_order


@METRICS.register_module()
class ReferringPrecision(BaseMetric):
    """Share of expressions with a hit on the one true box among their k best boxes.

    Two kinds of hit are reported, since published figures use either: for ``P@k`` the IoU
    must reach the threshold (the rule of RefCOCO), for ``P@k_giou`` the
    generalized IoU (the rule behind FIBER's figures; stricter, since the GIoU is
    never above the IoU). Overlaps are computed without the +1 of inclusive boxes. An
    expression without any box is a miss.

    The ground truth comes with the data samples: ``gt_instances`` with one box, in
    the original image. Boxes predicted for labels other than that of the true
    box are ignored (an expression as a whole has one label, 0).

    Differs from mmdet's ``RefExpMetric``, which reports three datasets at once and divides by
    nine: one instance scores one dataset.

    Args:
        topk: values of k.
        overlap_thr: smallest overlap of a hit.
        collect_device: 'cpu' or 'gpu', where results of processes are gathered.
        prefix: prefix of the metric names.

    Raises:
        ValueError: a sample whose number of true boxes is not one.
    """

    default_prefix = 'refexp'
    identity = ('img_id',)
    truth = ('gt_instances',)

    def __init__(
        self,
        topk: Sequence[int] = (1, 5, 10),
        overlap_thr: float = 0.5,
        collect_device: str = 'cpu',
        prefix: str | None = None,
    ) -> None:
        super().__init__(collect_device=collect_device, prefix=prefix)
        self.topk = tuple(topk)
        self.overlap_thr = overlap_thr

    def process(self, data_batch: dict, data_samples: Sequence[dict]) -> None:
        """Keep, per sample and kind of overlap, whether the k best boxes have a hit, for each k.

        Raises:
            ValueError: a sample does not have exactly one true box.
        """
        for sample in data_samples:
            pred, gt = in_order(sample)['pred_instances'], sample['gt_instances']
            true, label = gt['bboxes'].cpu().double(), gt['labels'].cpu()
            if len(true) != 1:
                raise ValueError(
                    f'image {sample.get("img_id")} has {len(true)} true boxes; ReferringPrecision '
                    'needs one for each expression. For captions with several phrases use '
                    'PhraseRecall'
                )
            boxes = pred['bboxes'][pred['labels'] == label].double()
            self.results.append(
                {
                    suffix: self.hits(bbox_overlaps(boxes, true, mode=mode))
                    for suffix, mode in (('', 'iou'), ('_giou', 'giou'))
                }
            )

    def hits(self, overlaps: Tensor) -> list[bool]:
        """Whether one of the first k of ``overlaps`` (N, 1) reaches the threshold, for each k."""
        return [bool((overlaps[:k] >= self.overlap_thr).any()) for k in self.topk]

    def compute_metrics(self, results: list[dict]) -> dict[str, float]:
        """``P@k`` and ``P@k_giou`` for each k, and the number of ``expressions``."""
        metrics = {
            f'P@{k}{suffix}': sum(r[suffix][i] for r in results) / len(results) if results else 0.0
            for suffix in ('', '_giou')
            for i, k in enumerate(self.topk)
        }
        return {**metrics, 'expressions': float(len(results))}
