"""From the outputs of an exported detector to detections, in numpy.

The same rules as in ``fiber_mmdet.models.detection.postprocess``, where they are explained.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from fiber_mmdet.fields import FLAG, NUMBER, WHOLE, check_record, list_of

FIELDS = {
    'score_thr': NUMBER,
    'nms_pre': WHOLE,
    'iou_threshold': NUMBER,
    'max_per_img': WHOLE,
    'exclusive_boxes': FLAG,
    'chunked_size': WHOLE,
    'pairs_per_pass': WHOLE | None,
    'strides': list_of(WHOLE),
}


@dataclass(frozen=True)
class Found:
    """Detections of one image under one prompt, best first.

    Attributes:
        boxes: (M, 4) float32 xyxy in pixels of the image.
        scores: (M,) float32.
        labels: (M,) int64 labels of the prompt.
    """

    boxes: np.ndarray
    scores: np.ndarray
    labels: np.ndarray

    @classmethod
    def joined(cls, parts: Sequence['Found']) -> 'Found':
        """The detections of several prompts, best first."""
        if len(parts) == 1:
            return parts[0]
        scores = np.concatenate([part.scores for part in parts])
        order = np.argsort(-scores, kind='stable')
        return cls(
            np.concatenate([part.boxes for part in parts])[order],
            scores[order],
            np.concatenate([part.labels for part in parts])[order],
        )


@dataclass(frozen=True)
class Detecting:
    """``test_cfg`` of a detector and the strides of its levels; see ``GroundingHead``."""

    score_thr: float
    nms_pre: int
    iou_threshold: float
    max_per_img: int
    exclusive_boxes: bool
    chunked_size: int
    pairs_per_pass: int | None
    strides: tuple[int, ...]

    @classmethod
    def read(cls, record: Any, where: str) -> 'Detecting':
        """From an object of json.

        Args:
            record: the object.
            where: its place, for errors.

        Raises:
            ValueError: it lacks a field, or one is of another kind.
        """
        check_record(record, FIELDS, where)
        strides = tuple(record['strides'])
        return cls(**{key: record.get(key) for key in FIELDS} | dict(strides=strides))

    def detections(
        self,
        token_logits: np.ndarray,
        boxes: np.ndarray,
        centerness: np.ndarray,
        label_tokens: Sequence[Sequence[int]],
        padded: tuple[int, int],
        resized: tuple[int, int],
        factors: np.ndarray,
    ) -> Found:
        """Detections of one pair.

        Args:
            token_logits: (N, L) float32 of all positions of all levels, before the sigmoid.
            boxes: (N, 4) float32 inclusive xyxy in pixels of the padded image.
            centerness: (N,) float32 before the sigmoid.
            label_tokens: token positions of each label.
            padded: height and width of the padded image.
            resized: height and width of the image within it.
            factors: (4,), see :class:`~.image_input.Prepared`.
        """
        weights = np.zeros((token_logits.shape[1], len(label_tokens)), np.float32)
        for label, tokens in enumerate(label_tokens):
            if tokens:
                weights[list(tokens), label] = 1 / len(tokens)
        scores, quality = sigmoid(token_logits) @ weights, sigmoid(centerness)
        height, width = resized
        limit = np.array([width - 1, height - 1] * 2, np.float32)
        kept: list[tuple[np.ndarray, ...]] = []
        for level in self._levels(padded):
            at, of = np.nonzero(scores[level] > self.score_thr)  # positions and their labels
            product = scores[level][at, of] * quality[level][at]
            order = np.argsort(-product, kind='stable')[: self.nms_pre]
            clipped = np.minimum(boxes[level][at[order]].clip(min=0), limit)
            valid = (clipped[:, 2:] - clipped[:, :2] + 1 >= 0).all(1)
            kept.append((clipped[valid], np.sqrt(product[order][valid]), of[order][valid]))
        found = self._best(*(np.concatenate(parts) for parts in zip(*kept)))
        moved = found.boxes / factors
        if self.exclusive_boxes:
            moved = moved + np.array([0, 0, 1, 1], np.float32)
        return Found(moved.astype(np.float32), found.scores, found.labels)

    def _levels(self, padded: tuple[int, int]) -> list[slice]:
        """Where the positions of each level are."""
        found, begin = [], 0
        for stride in self.strides:
            count = -(-padded[0] // stride) * -(-padded[1] // stride)
            found.append(slice(begin, begin + count))
            begin += count
        return found

    def _best(self, boxes: np.ndarray, scores: np.ndarray, labels: np.ndarray) -> Found:
        """Non-maximum suppression within each label; ties at the cut are kept."""
        index = np.concatenate(
            [
                rows[suppress(boxes[rows], scores[rows], self.iou_threshold)]
                for rows in (np.nonzero(labels == label)[0] for label in np.unique(labels))
            ]
            or [np.zeros(0, np.int64)]
        )
        index = index[np.argsort(-scores[index], kind='stable')]
        if len(index) > self.max_per_img:
            index = index[scores[index] >= scores[index[self.max_per_img - 1]]]
        return Found(boxes[index], scores[index], labels[index].astype(np.int64))


def sigmoid(x: np.ndarray) -> np.ndarray:
    """The logistic function, without overflow."""
    small = np.exp(-np.abs(x))
    return np.where(x >= 0, 1 / (1 + small), small / (1 + small))


def suppress(boxes: np.ndarray, scores: np.ndarray, iou_threshold: float) -> np.ndarray:
    """Greedy non-maximum suppression on inclusive boxes.

    Args:
        boxes: (M, 4) float32 inclusive xyxy.
        scores: (M,).
        iou_threshold: boxes that overlap a better one by more are left out.

    Returns:
        Indices of the boxes that stay, best first.
    """
    order = np.argsort(-scores, kind='stable')
    boxes = boxes[order]
    area = (boxes[:, 2:] - boxes[:, :2] + 1).prod(1)
    stays = np.ones(len(boxes), bool)
    for i in range(len(boxes)):
        if not stays[i]:
            continue
        rest = boxes[i + 1 :]
        low, high = np.maximum(boxes[i, :2], rest[:, :2]), np.minimum(boxes[i, 2:], rest[:, 2:])
        common = (high - low + 1).clip(min=0).prod(1)
        overlap = common / (area[i] + area[i + 1 :] - common)
        stays[i + 1 :] &= overlap <= iou_threshold
    return order[stays]
