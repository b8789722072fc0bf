"""Inclusive-pixel boxes: conversions, coder and GIoU loss as FIBER computes them.

FIBER's boxes include their right and bottom edge: a box (x1, y1, x2, y2) is ``x2 - x1 + 1`` pixels
wide. Those of mmdet and of most files are exclusive, ``x2 - x1`` wide. All places that know of this
pixel, beside the configs' ``BboxOverlaps2D_GLIP`` (overlaps of inclusive boxes in the assigner):

======================================== ==========================================================
place                                    what it does
======================================== ==========================================================
``GroundingHead.level_anchors``          :func:`to_inclusive`: mmdet's anchors are exclusive
``convert.derived_entries``              :func:`to_inclusive`: the anchors of official files
``test_cfg.exclusive_boxes``             :func:`to_exclusive`: predictions, in the original image
``InclusiveBoxCoder``                    sizes are ``x2 - x1 + 1``, see :func:`center_size`
``postprocess.labelwise_nms``            mmcv's NMS with ``offset=1``
``postprocess.detections``               clips to (W - 1, H - 1); drops what is smaller than a pixel
``SafeGIoULoss``, ``centerness_target``  **not** here: sides are ``x2 - x1``, as in the reference
``datasets.transforms.InclusiveBoxes``   annotations to inclusive, but not below one pixel
``datasets.transforms.CaptionFlip``      mirrors inclusive boxes: x to W - 1 - x
``datasets.detection.DetectionTSV…``     its boxes are inclusive as they stand
======================================== ==========================================================
"""

import math

import torch
from mmdet.models.losses import GIoULoss
from mmdet.models.losses.utils import weight_reduce_loss
from mmdet.models.task_modules.coders import BaseBBoxCoder
from mmdet.registry import MODELS, TASK_UTILS
from torch import Tensor

from fiber_mmdet.arguments import former_arguments

MAX_LOG_RATIO = math.log(1000 / 16)
STDS = (0.1, 0.1, 0.2, 0.2)  # divisors of (dx, dy, dw, dh), those of the published weights
LAST_PIXEL = (0, 0, 1, 1)


def to_inclusive(boxes: Tensor) -> Tensor:
    """Exclusive boxes (…, 4), xyxy in pixels, as inclusive ones."""
    return boxes - boxes.new_tensor(LAST_PIXEL)


def to_exclusive(boxes: Tensor) -> Tensor:
    """Inclusive boxes (…, 4), xyxy in pixels, as exclusive ones."""
    return boxes + boxes.new_tensor(LAST_PIXEL)


@TASK_UTILS.register_module()
@former_arguments(stds=STDS)
class InclusiveBoxCoder(BaseBBoxCoder):
    """Centre/size deltas between inclusive boxes.

    Differs from mmdet's ``DeltaXYWHBBoxCoderForGLIP``: anchors are inclusive
    too (not one pixel larger), ``encode`` uses the same convention as
    ``decode``, and log-sizes are clamped from above only.
    """

    def __init__(self) -> None:
        super().__init__()

    def encode(self, bboxes: Tensor, gt_bboxes: Tensor) -> Tensor:
        """Deltas from anchors (N, 4) to boxes (N, 4), both inclusive: (N, 4)."""
        center, size = center_size(bboxes)
        gt_center, gt_size = center_size(gt_bboxes)
        deltas = torch.cat([(gt_center - center) / size, (gt_size / size).log()], dim=-1)
        return deltas / deltas.new_tensor(STDS)

    def decode(self, bboxes: Tensor, pred_bboxes: Tensor) -> Tensor:
        """Boxes (…, 4) from inclusive anchors (…, 4) and deltas (…, 4)."""
        center, size = center_size(bboxes)
        deltas = pred_bboxes * pred_bboxes.new_tensor(STDS)
        center = center + deltas[..., :2] * size
        half = (size * deltas[..., 2:].clamp(max=MAX_LOG_RATIO).exp() - 1) / 2
        return torch.cat([center - half, center + half], dim=-1)


def center_size(boxes: Tensor) -> tuple[Tensor, Tensor]:
    """Centres and sizes, each (…, 2) in pixels, of inclusive boxes (…, 4)."""
    low, high = boxes[..., :2], boxes[..., 2:]
    return (low + high) / 2, high - low + 1


@MODELS.register_module()
class SafeGIoULoss(GIoULoss):
    """``1 - GIoU``, with the reference's numerical guards.

    Differs from mmdet's ``GIoULoss``: a predicted box is first raised to
    non-negative size, and epsilon is added to union and enclosure instead of
    bounding them from below.

    Args:
        eps: added to both denominators, in square pixels.
        reduction: 'none', 'mean' or 'sum'.
        loss_weight: factor.
    """

    def __init__(
        self, eps: float = 1e-7, reduction: str = 'mean', loss_weight: float = 1.0
    ) -> None:
        super().__init__(eps=eps, reduction=reduction, loss_weight=loss_weight)

    def forward(
        self,
        pred: Tensor,
        target: Tensor,
        weight: Tensor | None = None,
        avg_factor: float | None = None,
        reduction_override: str | None = None,
    ) -> Tensor:
        """Loss of predicted boxes.

        Args:
            pred: (N, 4) predicted boxes, xyxy in pixels.
            target: (N, 4) true boxes, likewise.
            weight: (N,) factor per box.
            avg_factor: divisor of the sum under 'mean'.
            reduction_override: replaces ``reduction``.

        Returns:
            A scalar, or (N,) if nothing is reduced.
        """
        low, high = pred[:, :2], torch.maximum(pred[:, 2:], pred[:, :2])
        area = (high - low).prod(-1)
        target_area = (target[:, 2:] - target[:, :2]).prod(-1)
        overlap = (
            (torch.minimum(high, target[:, 2:]) - torch.maximum(low, target[:, :2]))
            .clamp(min=0)
            .prod(-1)
        )
        enclosure = (torch.maximum(high, target[:, 2:]) - torch.minimum(low, target[:, :2])).clamp(
            min=0
        ).prod(-1) + self.eps
        union = area + target_area - overlap + self.eps
        giou = overlap / union - (enclosure - union) / enclosure
        return self.loss_weight * weight_reduce_loss(
            1 - giou, weight, reduction_override or self.reduction, avg_factor
        )
