"""Detections in the forms of other programs: rows of a table, COCO, Label Studio.

All of them are made from records, what ``GroundingResult.to_dict`` gives and ``save_json`` writes,
with its two decimals of a pixel and four of a score. In all of them x2 - x1 is the width of a box,
and boxes end where the image ends, whatever the edges of the record's own boxes.
"""

import os
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, TypeAlias
from urllib.parse import quote

from fiber_mmdet.formats.label_studio import LOCAL, prediction
from fiber_mmdet.formats.labelled import LabelledBox

from .table_files import unicode

Record: TypeAlias = Mapping[str, Any]
Corners: TypeAlias = tuple[float, float, float, float]

# of a table; a row is a detection
COLUMNS: dict[str, type] = dict(
    image=str,
    width=int,
    height=int,
    label=int,
    phrase=str,
    score=float,
    x1=float,
    y1=float,
    x2=float,
    y2=float,
)
MODEL_VERSION = 'fiber'


def image_file(record: Record, root: str | Path | None = None) -> str:
    """The path of a record's image, with "/".

    Args:
        record: a record.
        root: the folder that it is relative to; None leaves it as it was given.

    Raises:
        ValueError: the image came as pixels.
    """
    image = record['image']
    if image is None:
        raise ValueError(
            'the image came as pixels, so that this result says nothing about its file: '
            "dataclasses.replace(result, image='name.jpg') gives it a name"
        )
    path = Path(image)
    if root is not None:
        path = Path(os.path.relpath(path.absolute(), Path(root).expanduser().absolute()))
    return path.as_posix()


def corners(record: Record) -> list[Corners]:
    """x1, y1, x2, y2 of each detection in pixels, exclusive, and within the image."""
    width, height = record['width'], record['height']
    last = 1 if record.get('inclusive') else 0
    found = []
    for detection in record['detections']:
        x1, y1, x2, y2 = detection['box']
        ends = ((x1, width), (y1, height), (x2 + last, width), (y2 + last, height))
        x1, y1, x2, y2 = (round(min(max(value, 0.0), end), 2) for value, end in ends)
        found.append((x1, y1, x2, y2))
    return found


def table_rows(record: Record, root: str | Path | None = None) -> Iterator[dict[str, Any]]:
    """A row for each detection, with the keys of ``COLUMNS``; ``image`` is empty for pixels.

    Args:
        record: a record.
        root: see :func:`image_file`.
    """
    image = '' if record['image'] is None else unicode(image_file(record, root))
    for detection, box in zip(record['detections'], corners(record)):
        values = (
            image,
            record['width'],
            record['height'],
            detection['label'],
            unicode(detection['phrase']),
            detection['score'],
            *map(float, box),
        )
        yield dict(zip(COLUMNS, values))


class CocoParts:
    """Records as entries of one COCO file, numbered from 1 in the order they are added.

    A category is a phrase: all that were looked for, in the order they were first seen, also those
    of which nothing was found. Annotations have the usual keys and a ``score``.

    Args:
        root: see :func:`image_file`.

    Attributes:
        categories: phrase -> number.
    """

    def __init__(self, root: str | Path | None = None) -> None:
        self.root = root
        self.categories: dict[str, int] = {}
        self.images = self.annotations = 0

    def add(self, record: Record) -> tuple[dict[str, Any], list[dict[str, Any]]]:
        """The image and the annotations of a record.

        Raises:
            ValueError: the image came as pixels.
        """
        self.images += 1
        image = dict(
            id=self.images,
            file_name=image_file(record, self.root),
            width=record['width'],
            height=record['height'],
        )
        for phrase in record['phrases']:
            self.categories.setdefault(phrase, len(self.categories) + 1)
        return image, [
            self._annotation(detection, box)
            for detection, box in zip(record['detections'], corners(record))
        ]

    def _annotation(self, detection: Mapping[str, Any], box: Corners) -> dict[str, Any]:
        self.annotations += 1
        x1, y1, x2, y2 = box
        width, height = round(x2 - x1, 2), round(y2 - y1, 2)
        return dict(
            id=self.annotations,
            image_id=self.images,
            category_id=self.categories[detection['phrase']],
            bbox=[x1, y1, width, height],
            area=round(width * height, 2),
            iscrowd=0,
            score=detection['score'],
        )

    def category_list(self) -> list[dict[str, Any]]:
        """The entries of ``categories``."""
        return [dict(id=number, name=name) for name, number in self.categories.items()]


def coco_content(records: Iterable[Record], root: str | Path | None = None) -> dict[str, Any]:
    """Records as the content of a COCO file; see :class:`CocoParts`.

    Raises:
        ValueError: an image that came as pixels.
    """
    parts = CocoParts(root)
    images, annotations = [], []
    for record in records:
        image, boxes = parts.add(record)
        images.append(image)
        annotations += boxes
    return dict(images=images, annotations=annotations, categories=parts.category_list())


def label_studio_task(record: Record, root: str | Path | None = None) -> dict[str, Any]:
    """A task of Label Studio whose prediction shows the detections.

    Args:
        record: a record.
        root: see :func:`image_file`.

    Raises:
        ValueError: the image came as pixels.
    """
    boxes = [
        LabelledBox(detection['phrase'], box, detection['score'])
        for detection, box in zip(record['detections'], corners(record))
    ]
    size = record['width'], record['height']
    image = LOCAL + quote(image_file(record, root))
    return dict(data=dict(image=image), predictions=[prediction(boxes, size, MODEL_VERSION)])
