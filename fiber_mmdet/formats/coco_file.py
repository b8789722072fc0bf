"""COCO-style json files, read and checked: one error names the fault and its remedy."""

from collections.abc import Callable, Mapping

from mmengine.logging import MMLogger

from fiber_mmdet.fields import (
    BOX,
    FLAG,
    ID,
    NUMBER,
    PATH,
    SIZE,
    TEXT,
    WHOLE,
    Kind,
    check_distinct,
    check_table,
    other_spelling,
)
from fiber_mmdet.records import read_json

IMAGE_FIELDS = dict(id=ID, file_name=PATH, height=SIZE, width=SIZE)
BOX_FIELDS = dict(
    id=WHOLE,
    image_id=ID,
    category_id=ID,
    bbox=BOX,
    area=NUMBER | None,
    iscrowd=FLAG | None,
    ignore=FLAG | None,
)
# Some public files have a blank name for a category without boxes; prompts refuse it when used.
CATEGORY_FIELDS = dict(id=ID, name=TEXT, supercategory=TEXT | None)


def read_coco(
    path: str,
    ann_file: str,
    image_fields: Mapping[str, Kind] = IMAGE_FIELDS,
    box_fields: Mapping[str, Kind] = BOX_FIELDS,
    annotated: bool = True,
    prepare: Callable[[dict], None] | None = None,
) -> dict:
    """Read and check a COCO-style file.

    Image sizes become integers (the published Flickr30k files contain strings). A missing
    ``area``, or one of 0, becomes width x height of the box: no masks are read here.

    Args:
        path: local copy of the file.
        ann_file: what errors and the log call it.
        image_fields: kinds of the fields of images.
        box_fields: kinds of the fields of annotations; if ``category_id`` is one of them, the
            categories are checked as well.
        annotated: whether annotations are required (test files may lack them).
        prepare: changes the content in place before it is checked.

    Returns:
        Its content.

    Raises:
        FileNotFoundError: the file does not exist.
        ValueError: naming the file, the record and how to correct it.
    """
    shape = "a COCO-style object with 'images' and 'annotations'"
    dataset = read_json(path, dict, shape, name=ann_file)
    named = 'category_id' in box_fields
    tables = ['images', *['annotations'] * annotated, *['categories'] * named]
    for key in tables:
        if not isinstance(dataset.get(key), list):
            remedy = 'Check ann_file'
            if key == 'annotations':
                remedy += ', or, of a test without boxes, set format_only of the metric'
            raise ValueError(
                f'{ann_file} has no list {key!r}: a COCO-style file has '
                f'{", ".join(map(repr, tables))}. {remedy}'
            )
    boxes = dataset.get('annotations')
    if not isinstance(boxes, list):
        if boxes is not None:
            raise ValueError(f"{ann_file}: 'annotations' must be a list. Check ann_file")
        boxes = dataset['annotations'] = []
    if not named:
        dataset.pop('categories', None)  # the index would ask for category_id
    for key in (*tables, 'annotations'):
        check_table(dataset[key], dict(id=ID), TABLES[key], ann_file)
    if prepare is not None:
        prepare(dataset)
        boxes = dataset['annotations']
    check_table(dataset['images'], image_fields, 'image', ann_file)
    check_table(boxes, box_fields, 'annotation', ann_file)
    images = dataset['images']
    if 'height' in image_fields:
        for image in images:
            image['height'], image['width'] = int(image['height']), int(image['width'])
    check_distinct((i['id'] for i in images), 'images', 'id', ann_file, 'give each its own')
    check_distinct(
        (box['id'] for box in boxes), 'annotations', 'id', ann_file, 'number annotations from 1'
    )
    if named:
        check_table(dataset['categories'], CATEGORY_FIELDS, 'category', ann_file)
        _check_categories(boxes, dataset['categories'], ann_file)
        _warn_of_id_0(boxes, ann_file)
    _check_boxes(boxes, {image['id']: image for image in images}, ann_file)
    if 'height' in image_fields:
        _suspect_corners(boxes, {image['id']: image for image in images}, ann_file)
    if 'area' in box_fields:
        _fill_areas(boxes, ann_file)
    return dataset


# the end of a message about a file that is most likely wrong as a whole
MOST_CORNERS = '. Most of the file looks like that'
TABLES = dict(images='image', annotations='annotation', categories='category')


def _check_categories(boxes: list[dict], categories: list[dict], ann_file: str) -> None:
    known: dict = {}
    for category in categories:
        if category['id'] in known:
            raise ValueError(
                f'{ann_file}: categories {known[category["id"]]!r} and {category["name"]!r} both '
                f'have the id {category["id"]!r}: number them apart, and correct category_id of '
                'the annotations'
            )
        known[category['id']] = category['name']
    check_distinct(known, 'categories', 'id', ann_file, 'number them apart')
    for box in boxes:
        if box['category_id'] not in known:
            raise ValueError(
                f'{ann_file}: annotation {box["id"]} has category_id {box["category_id"]!r}, which '
                f'is not among its categories{other_spelling(box["category_id"], known)}: add '
                'that category with a name, or correct the annotation'
            )


def _warn_of_id_0(boxes: list[dict], ann_file: str) -> None:
    if any(box['id'] == 0 for box in boxes):
        MMLogger.get_current_instance().warning(
            f'{ann_file}: an annotation has the id 0, which pycocotools takes for "no match": in '
            'an evaluation its box is never found. Number annotations from 1'
        )


def _check_boxes(boxes: list[dict], images: dict, ann_file: str) -> None:
    for box in boxes:
        image = images.get(box['image_id'])
        if image is None:
            raise ValueError(
                f'{ann_file}: annotation {box["id"]} belongs to image '
                f'{box["image_id"]!r}, which is not among its images'
                f'{other_spelling(box["image_id"], images)}: add the image, '
                'or remove the annotation'
            )


def _suspect_corners(boxes: list[dict], images: dict, ann_file: str) -> None:
    """Log that many boxes look like x1, y1, x2, y2."""
    beyond, as_corners = 0, 0
    for box in boxes:
        image = images[box['image_id']]
        x, y, w, h = box['bbox']
        width, height = image['width'], image['height']
        if x < w <= width + 1 and y < h <= height + 1:
            as_corners += 1
            beyond += x + w > width + 1 or y + h > height + 1
    if beyond >= 5 and beyond > 0.1 * len(boxes):
        # such boxes in the upper left corner stay inside their image
        most = 2 * beyond > len(boxes) or as_corners > 0.95 * len(boxes)
        MMLogger.get_current_instance().warning(
            f'{ann_file}: {beyond} of {len(boxes)} boxes extend beyond their image, but would '
            f'fit it as x1, y1, x2, y2: bbox must be x, y, width, height{MOST_CORNERS * most}'
        )


def _fill_areas(boxes: list[dict], ann_file: str) -> None:
    """Give boxes without an area that of the box."""
    filled = 0
    for box in boxes:
        if not (box.get('area') or 0) > 0:
            box['area'] = box['bbox'][2] * box['bbox'][3]
            filled += box['area'] > 0
    if filled:
        MMLogger.get_current_instance().warning(
            f'{ann_file}: {filled} of {len(boxes)} annotations have no area above 0: width x '
            'height of the box is used'
        )
