"""What average precision a box has that is always in the same place: the least a model must beat.

In many small sets one large object is in the middle of each image. A box there, the same for all
images, is then often right, and a model that has learned nothing else has a fair AP50.
"""

from collections.abc import Iterable, Mapping, Sequence
from contextlib import redirect_stdout
from io import StringIO
from typing import Any, NamedTuple

import numpy as np

MOST = 50_000  # boxes, beyond which the evaluation takes too long for a remark


class ConstantBoxScore(NamedTuple):
    """AP of constant boxes, as COCO's evaluation counts.

    Attributes:
        ap: averaged over IoU 0.5 to 0.95, 0 to 1.
        ap50: at IoU 0.5, 0 to 1.
    """

    ap: float
    ap50: float

    def __str__(self) -> str:
        return f'AP {self.ap:.3f}, AP50 {self.ap50:.3f}'


def constant_box_score(
    train: Iterable[Mapping[str, Any]], val: Sequence[Mapping[str, Any]]
) -> ConstantBoxScore | None:
    """The score of a detector that has not looked at the images.

    For each name it knows one box, that in the middle of the training boxes (the median of each
    edge, in fractions of the image), and how many training images have the name, which is the
    score. It answers with all of them on every image.

    Args:
        train: records with ``width``, ``height`` and ``instances``, whose ``bbox`` is x1, y1, x2,
            y2 in pixels, with ``bbox_label``; those with ``ignore_flag`` are left out.
        val: records of the same kind and with the same labels.

    Returns:
        The score; None if either side has no box, or there are too many for a quick evaluation.
    """
    train = list(train)
    boxes = {label: np.median(found, axis=0) for label, found in relative_boxes(train).items()}
    images: dict[int, int] = {}
    for record in train:
        for label in {one['bbox_label'] for one in _usable(record)}:
            images[label] = images.get(label, 0) + 1
    truth = any(_usable(record) for record in val)
    if not boxes or not truth or len(boxes) * len(val) > MOST:
        return None
    return _evaluate(val, boxes, images)


def relative_boxes(records: Iterable[Mapping[str, Any]]) -> dict[int, np.ndarray]:
    """Boxes in fractions of their images.

    Args:
        records: see :func:`constant_box_score`.

    Returns:
        Label -> (N, 4) x1, y1, x2, y2, 0 to 1; the constant box is their median.
    """
    found: dict[int, list[np.ndarray]] = {}
    for record in records:
        size = np.array([record['width'], record['height']] * 2, float)
        for one in _usable(record):
            found.setdefault(one['bbox_label'], []).append(np.asarray(one['bbox'], float) / size)
    return {label: np.stack(boxes) for label, boxes in found.items()}


def _usable(record: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    return [one for one in record['instances'] if not one.get('ignore_flag', 0)]


def _evaluate(
    val: Sequence[Mapping[str, Any]], boxes: Mapping[int, np.ndarray], images: Mapping[int, int]
) -> ConstantBoxScore:
    from pycocotools.coco import COCO
    from pycocotools.cocoeval import COCOeval

    annotations: list[dict] = []
    found: list[dict] = []
    labels = {one['bbox_label'] for record in val for one in record['instances']} | set(boxes)
    most = max(images.values())
    for i, record in enumerate(val, 1):
        for one in record['instances']:
            x1, y1, x2, y2 = map(float, one['bbox'])
            annotations.append(
                dict(
                    id=len(annotations) + 1,
                    image_id=i,
                    category_id=one['bbox_label'] + 1,
                    bbox=[x1, y1, x2 - x1, y2 - y1],
                    area=(x2 - x1) * (y2 - y1),
                    iscrowd=int(bool(one.get('ignore_flag', 0))),
                )
            )
        size = np.array([record['width'], record['height']] * 2, float)
        for label, box in boxes.items():
            x1, y1, x2, y2 = (box * size).tolist()
            found.append(
                dict(
                    image_id=i,
                    category_id=label + 1,
                    bbox=[x1, y1, x2 - x1, y2 - y1],
                    score=images[label] / most,
                )
            )
    truth = COCO()
    truth.dataset = dict(
        info={},
        images=[dict(id=i) for i in range(1, len(val) + 1)],
        annotations=annotations,
        categories=[dict(id=label + 1, name=str(label)) for label in sorted(labels)],
    )
    with redirect_stdout(StringIO()):  # pycocotools prints its steps
        truth.createIndex()
        evaluation = COCOeval(truth, truth.loadRes(found), 'bbox')
        evaluation.evaluate()
        evaluation.accumulate()
    precision = evaluation.eval['precision'][..., 0, -1]  # IoU, recall, name; all sizes, 100 boxes
    return ConstantBoxScore(_mean(precision), _mean(precision[0]))


def _mean(precision: np.ndarray) -> float:
    """The mean over what is defined: names without a true box have -1."""
    return float(precision[precision > -1].mean())
