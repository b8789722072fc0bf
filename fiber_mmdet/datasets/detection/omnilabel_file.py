"""Annotation files of OmniLabel: images, descriptions with the images they are asked on, boxes."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from mmengine.fileio import get_local_path
from mmengine.logging import MMLogger

from fiber_mmdet.fields import (
    BOX,
    FLAG,
    ID,
    NAME,
    OBJECT,
    PATH,
    TEXT,
    check_distinct,
    check_record,
    check_table,
    list_of,
    other_spelling,
)
from fiber_mmdet.formats.coco_file import read_coco

IDS = list_of(ID)
IMAGE_FIELDS = dict(id=ID, file_name=PATH)
DESCRIPTION_FIELDS = dict(id=ID, text=NAME, image_ids=IDS)
BOX_FIELDS = dict(id=ID, image_id=ID, bbox=BOX, description_ids=IDS, iscrowd=FLAG | None)


@dataclass(frozen=True)
class AskedText:
    """A text that is asked for: a free-form description, or the name of a category.

    Attributes:
        id: as in the file.
        text: as in the file.
        category: whether it is the name of a category; None if the file does not say.
    """

    id: Any
    text: str
    category: bool | None


@dataclass(frozen=True)
class OmniLabelFile:
    """The checked content of a file.

    Attributes:
        images: records with ``id`` and ``file_name``.
        descriptions: in the order of the file.
        label_spaces: image id -> positions in ``descriptions`` of what is asked for on this image,
            rising.
        boxes: image id -> its annotations, with ``bbox`` (x, y, w, h), ``description_ids`` and
            maybe ``iscrowd``.
    """

    images: list[dict]
    descriptions: list[AskedText]
    label_spaces: Mapping[Any, list[int]]
    boxes: Mapping[Any, list[dict]]


def read_omnilabel(
    ann_file: str, truth: bool = True, backend_args: dict | None = None
) -> OmniLabelFile:
    """Read and check a file.

    Images that the file lacks, among those of a description, are left out, and so are descriptions
    of a box that are not asked for on its image; the log counts them.

    Args:
        ann_file: local path or any address that mmengine can read.
        truth: whether boxes and the types of descriptions are required (files of test sets lack
            them).
        backend_args: of mmengine's file backend.

    Raises:
        FileNotFoundError: the file does not exist.
        ValueError: naming the file, the record and how to correct it; or nothing is asked for on
            any image, or no box has a description that is asked for.
    """
    with get_local_path(ann_file, backend_args=backend_args) as path:
        content = read_coco(path, ann_file, IMAGE_FIELDS, BOX_FIELDS, annotated=truth)
    rows = content.get('descriptions')
    if not isinstance(rows, list):
        raise ValueError(
            f"{ann_file} has no list 'descriptions': a file of OmniLabel has 'images', "
            "'descriptions' and 'annotations'. Check ann_file"
        )
    kind = dict(anno_info=OBJECT if truth else OBJECT | None)
    check_table(rows, DESCRIPTION_FIELDS | kind, 'description', ann_file)
    check_distinct((row['id'] for row in rows), 'descriptions', 'id', ann_file, 'give each its own')
    descriptions = [_description(row, ann_file) for row in rows]
    label_spaces: dict[Any, list[int]] = {image['id']: [] for image in content['images']}
    faults: Counter = Counter()
    for position, row in enumerate(rows):
        for image in dict.fromkeys(row['image_ids']):
            if image in label_spaces:
                label_spaces[image].append(position)
            else:
                faults['image_ids of descriptions'] += 1
    if content['images'] and not any(label_spaces.values()):
        one = next((image for row in rows for image in row['image_ids']), None)
        raise ValueError(
            f'{ann_file}: no description lists one of the images in image_ids'
            f'{other_spelling(one, label_spaces)}: correct image_ids, or check ann_file'
        )
    boxes = _boxes(content['annotations'], descriptions, label_spaces, ann_file, faults)
    for what, count in (+faults).items():
        MMLogger.get_current_instance().warning(
            f'{ann_file}: {count} {what} are left out, because they lie outside the images of the '
            'file or what is asked for on them'
        )
    return OmniLabelFile(content['images'], descriptions, label_spaces, boxes)


def _description(row: dict, ann_file: str) -> AskedText:
    info = row.get('anno_info')
    if info is None:
        return AskedText(row['id'], row['text'], None)
    check_record(info, dict(type=TEXT), lambda: f'{ann_file}: anno_info of description {row["id"]}')
    return AskedText(row['id'], row['text'], info['type'] != 'object_description')


def _boxes(
    annotations: list[dict],
    descriptions: list[AskedText],
    label_spaces: Mapping[Any, list[int]],
    ann_file: str,
    faults: Counter,
) -> dict[Any, list[dict]]:
    """Annotations by image, each with those of its descriptions that are asked for there."""
    of_image: dict[Any, list[dict]] = {}
    for annotation in annotations:
        of_image.setdefault(annotation['image_id'], []).append(annotation)
    boxes: dict[Any, list[dict]] = {}
    for image, own in of_image.items():
        asked = {descriptions[position].id for position in label_spaces[image]}
        for annotation in own:
            ids = list(dict.fromkeys(annotation['description_ids']))
            kept = [i for i in ids if i in asked]
            faults['description_ids of boxes'] += len(ids) - len(kept)
            if kept:
                boxes.setdefault(image, []).append(dict(annotation, description_ids=kept))
    if annotations and not boxes:
        one = next((i for box in annotations for i in box['description_ids']), None)
        known = [description.id for description in descriptions]
        raise ValueError(
            f'{ann_file}: none of its {len(annotations)} boxes has a description that is asked for '
            f'on its image{other_spelling(one, known)}: correct description_ids, or image_ids of '
            'the descriptions'
        )
    return boxes
