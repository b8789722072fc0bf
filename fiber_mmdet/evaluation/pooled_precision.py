"""Average precision of boxes that are ranked together, whatever text they were found for."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from mmdet.datasets.api_wrappers import COCOeval

MAX_DETS = 100  # of an image and a text
RECALLS = np.linspace(0, 1, 101)


@dataclass(frozen=True)
class Group:
    """What is pooled into one average precision.

    Attributes:
        kinds: of its texts.
        words: fewest and most words of a text.
    """

    kinds: tuple[str, ...]
    words: tuple[float, float] = (0, np.inf)


@dataclass(frozen=True)
class Pair:
    """Detections of one image for one text, matched with its true boxes.

    Attributes:
        kind: of the text, on this image.
        words: of the text.
        scores: (N,) falling.
        hits: (10, N) bool, whether each detection has a true box at each IoU threshold.
        ignored: (10, N) bool, whether that box is a crowd.
        boxes: number of true boxes, without crowds.
    """

    kind: str
    words: int
    scores: np.ndarray
    hits: np.ndarray
    ignored: np.ndarray
    boxes: int


class PairMatcher(COCOeval):
    """pycocotools' matching for one image and one text at a time.

    Differs from pycocotools' ``COCOeval``: it is given boxes instead of files, since there are far
    too many texts to look at all of them on all images; crowds are ignored, and nothing else.
    """

    EVERYWHERE = (0, float('inf'))

    def __init__(self) -> None:
        super().__init__(iouType='bbox')
        self.params.maxDets = [MAX_DETS]

    def match(
        self, found: Sequence[tuple], truths: Sequence[dict]
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Match detections with true boxes.

        Args:
            found: (score, box as x, y, w, h) of each detection.
            truths: annotations.

        Returns:
            ``scores``, ``hits`` and ``ignored`` of a :class:`Pair`.
        """
        thresholds = len(self.params.iouThrs)
        found = sorted(found, key=lambda one: -one[0])[:MAX_DETS]  # stable
        scores = np.array([score for score, _ in found], dtype=float)
        nothing = np.zeros((thresholds, len(found)), bool)
        if not found or not truths:
            return scores, nothing, nothing
        key = (0, 0)
        self._dts = {
            key: [
                dict(id=i, score=score, bbox=box, area=box[2] * box[3])
                for i, (score, box) in enumerate(found, 1)
            ]
        }
        # numbered from 1: 0 stands for "no match"
        self._gts = {
            key: [
                dict(
                    id=i,
                    bbox=box['bbox'],
                    area=box['bbox'][2] * box['bbox'][3],
                    iscrowd=int(box.get('iscrowd') or 0),
                    ignore=int(box.get('iscrowd') or 0),
                )
                for i, box in enumerate(truths, 1)
            ]
        }
        self.ious = {key: self.computeIoU(*key)}
        matched = self.evaluateImg(*key, self.EVERYWHERE, MAX_DETS)
        return scores, matched['dtMatches'] > 0, matched['dtIgnore'].astype(bool)


class Pool:
    """The detections of a group.

    Args:
        group: whose pairs are added.
    """

    def __init__(self, group: Group) -> None:
        self.group = group
        self.boxes = 0
        self.found: list[tuple[np.ndarray, ...]] = []  # scores, hits and ignored of each image

    def add(self, pairs: Iterable[Pair]) -> None:
        """Add those pairs of an image that belong to the group."""
        fewest, most = self.group.words
        own = [
            pair for pair in pairs if pair.kind in self.group.kinds and fewest <= pair.words <= most
        ]
        self.boxes += sum(pair.boxes for pair in own)
        if own:
            parts = zip(*((pair.scores, pair.hits, pair.ignored) for pair in own))
            self.found.append(tuple(np.concatenate(part, axis=-1) for part in parts))

    def precisions(self) -> tuple[np.ndarray, np.ndarray] | None:
        """Average precision and recall at each IoU threshold; None without a true box."""
        if not self.boxes:
            return None
        scores, hits, ignored = (np.concatenate(part, axis=-1) for part in zip(*self.found))
        order = np.argsort(-scores, kind='stable')
        aps, recalls = zip(
            *(
                precision_at(hit[order][~skip[order]], self.boxes)
                for hit, skip in zip(hits, ignored)
            )
        )
        return np.array(aps), np.array(recalls)


def precision_at(hits: np.ndarray, boxes: int) -> tuple[float, float]:
    """Average precision over 101 recall levels, and the recall of all detections.

    Args:
        hits: (N,) bool, by falling score.
        boxes: number of true boxes, at least 1.
    """
    if not len(hits):
        return 0.0, 0.0
    right = hits.cumsum()
    recall = right / boxes
    precision = right / np.arange(1, len(hits) + 1)
    precision = np.maximum.accumulate(precision[::-1])[::-1]  # what is reached at this recall
    at = np.searchsorted(recall, RECALLS, side='left')
    reached = at < len(hits)
    return float(precision[at[reached]].sum() / len(RECALLS)), float(recall[-1])
