"""From token probabilities and boxes to detections (reference post-processing)."""

from collections.abc import Sequence

import torch
from mmcv.ops import nms
from mmengine.structures import InstanceData
from torch import Tensor

IOU_THRESHOLD = 0.6  # unless a config says otherwise, as the next one
MAX_PER_IMG = 100


def phrase_scores(token_logits: Tensor, label_tokens: Sequence[Sequence[int]]) -> Tensor:
    """Mean token probability of each phrase.

    Args:
        token_logits: (N, L) before the sigmoid.
        label_tokens: token positions of each of the K labels.

    Returns:
        (N, K) in [0, 1]; a label without tokens scores 0.
    """
    weights = token_logits.new_zeros(token_logits.shape[1], len(label_tokens))
    for label, tokens in enumerate(label_tokens):
        if tokens:
            weights[list(tokens), label] = 1 / len(tokens)
    return token_logits.sigmoid() @ weights


def level_candidates(
    scores: Tensor, centerness: Tensor, score_thr: float, nms_pre: int
) -> tuple[Tensor, Tensor, Tensor]:
    """The best (position, label) pairs of one level.

    The threshold applies to the phrase score alone, the ranking to its product
    with the centerness (mmdet ranks by the phrase score).

    Args:
        scores: (N, K) phrase scores.
        centerness: (N,) in [0, 1].
        score_thr: phrase scores must exceed it.
        nms_pre: pairs kept at most.

    Returns:
        Products (M,), position indices (M,) and labels (M,).
    """
    position, label = (scores > score_thr).nonzero(as_tuple=True)
    product = scores[position, label] * centerness[position]
    product, order = product.topk(min(nms_pre, len(product)))
    return product, position[order], label[order]


def labelwise_nms(
    boxes: Tensor, scores: Tensor, labels: Tensor, iou_threshold: float, max_per_img: int
) -> tuple[Tensor, Tensor, Tensor]:
    """Class-wise NMS on inclusive boxes, best first; ties at the cut are kept.

    One NMS per label: mmcv's ``batched_nms`` shifts the labels apart instead, to
    coordinates where float32 has no sub-pixels left.

    Args:
        boxes: (M, 4) inclusive xyxy in pixels.
        scores: (M,).
        labels: (M,) int64.
        iou_threshold: boxes of a label overlapping a better one by more are dropped.
        max_per_img: boxes kept at most, plus those that tie with the last one.

    Returns:
        Boxes, scores and labels of the survivors, by descending score.
    """
    if not len(boxes):
        return boxes, scores, labels
    index = torch.cat(
        [
            rows[nms(boxes[rows], scores[rows], iou_threshold, offset=1)[1]]
            for rows in ((labels == label).nonzero().flatten() for label in labels.unique())
        ]
    )
    index = index[scores[index].argsort(descending=True, stable=True)]
    scores = scores[index]
    if len(index) > max_per_img:
        kth = scores[max_per_img - 1]
        index, scores = index[scores >= kth], scores[scores >= kth]
    return boxes[index], scores, labels[index]


def detections(
    token_logits: Sequence[Tensor],
    boxes: Sequence[Tensor],
    centerness: Sequence[Tensor],
    label_tokens: Sequence[Sequence[int]],
    image_size: tuple[int, int],
    score_thr: float = 0.05,
    nms_pre: int = 1000,
    iou_threshold: float = IOU_THRESHOLD,
    max_per_img: int = MAX_PER_IMG,
) -> InstanceData:
    """Detections of one image under one prompt.

    Args:
        token_logits: (N_l, L) per level, before the sigmoid.
        boxes: (N_l, 4) per level, decoded, inclusive xyxy in pixels.
        centerness: (N_l,) per level, before the sigmoid.
        label_tokens: token positions of each of the K labels.
        image_size: (height, width) of the resized, unpadded image in pixels.
        score_thr: see :func:`level_candidates`.
        nms_pre: pairs kept per level.
        iou_threshold: see :func:`labelwise_nms`.
        max_per_img: see :func:`labelwise_nms`.

    Returns:
        ``bboxes`` (M, 4) inclusive xyxy, ``scores`` (M,) = sqrt(phrase score x
        centerness), ``labels`` (M,) 0-based prompt labels; by descending score.
    """
    all_boxes, all_scores, all_labels = [], [], []
    height, width = image_size
    limit = boxes[0].new_tensor([width - 1, height - 1, width - 1, height - 1])
    for logits, level_boxes, ctr in zip(token_logits, boxes, centerness):
        product, position, label = level_candidates(
            phrase_scores(logits, label_tokens), ctr.sigmoid(), score_thr, nms_pre
        )
        clipped = torch.minimum(level_boxes[position].clamp(min=0), limit)
        valid = (clipped[:, 2:] - clipped[:, :2] + 1 >= 0).all(-1)
        all_boxes.append(clipped[valid])
        all_scores.append(product[valid].sqrt())
        all_labels.append(label[valid])
    found = labelwise_nms(
        torch.cat(all_boxes),
        torch.cat(all_scores),
        torch.cat(all_labels),
        iou_threshold,
        max_per_img,
    )
    return InstanceData(bboxes=found[0], scores=found[1], labels=found[2])
