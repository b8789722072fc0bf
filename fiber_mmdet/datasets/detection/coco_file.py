"""COCO-style json files, checked when opened: one error names the fault and its remedy."""

from collections import Counter
from collections.abc import Callable, Iterable, Sequence

from mmdet.datasets.api_wrappers import COCO
from mmengine.logging import MMLogger

from fiber_mmdet.records import read_json

IMAGE_FIELDS = ('id', 'file_name', 'height', 'width')
BOX_FIELDS = ('id', 'image_id', 'category_id', 'bbox', 'area')
CAPTION_FIELDS = (*IMAGE_FIELDS, 'caption')
CAPTION_BOX_FIELDS = ('id', 'image_id', 'bbox')


def open_coco(
    path: str,
    ann_file: str,
    image_fields: Sequence[str] = IMAGE_FIELDS,
    box_fields: Sequence[str] = BOX_FIELDS,
    annotated: bool = True,
    prepare: Callable[[dict], None] | None = None,
) -> COCO:
    """Read and check a COCO-style file.

    Image sizes become integers (the published Flickr30k files contain strings).

    Args:
        path: local copy of the file.
        ann_file: what errors and the log call it.
        image_fields: fields that every image needs.
        box_fields: fields that every annotation needs; if ``category_id`` is one of them, the
            categories are checked as well.
        annotated: whether annotations are required (test files may lack them).
        prepare: changes the content in place before it is checked.

    Returns:
        The indexed file, with mmdet's names for its methods.

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
            raise ValueError(
                f'{ann_file} has no list {key!r}: a COCO-style file has '
                f'{", ".join(map(repr, tables))}. Check ann_file'
            )
    if prepare is not None:
        prepare(dataset)
    boxes = dataset.setdefault('annotations', [])
    if not named:
        dataset.pop('categories', None)  # the index would ask for category_id
    _need_fields(dataset['images'], image_fields, 'image', ann_file)
    _need_fields(boxes, box_fields, 'annotation', ann_file)
    _check_images(dataset['images'], ann_file)
    if named:
        _need_fields(dataset['categories'], ('id', 'name'), 'category', ann_file)
        _check_categories(boxes, dataset['categories'], ann_file)
    _check_boxes(boxes, {image['id']: image for image in dataset['images']}, ann_file)
    coco = COCO()
    coco.dataset = dataset
    coco.createIndex()
    coco.img_ann_map, coco.cat_img_map = coco.imgToAnns, coco.catToImgs
    return coco


def _need_fields(records: Iterable[dict], fields: Sequence[str], kind: str, ann_file: str) -> None:
    needed = set(fields)
    for i, record in enumerate(records):
        if not needed <= record.keys():
            lacking = [field for field in fields if field not in record]
            name = f'{kind} {record["id"]}' if 'id' in record else f'{kind} number {i}'
            hint = '; the area is width x height of the box' if lacking == ['area'] else ''
            raise ValueError(
                f'{ann_file}: {name} has no {", ".join(map(repr, lacking))}: add it{hint}'
            )


def _check_images(images: list[dict], ann_file: str) -> None:
    for image in images:
        try:
            image['height'], image['width'] = int(image['height']), int(image['width'])
        except (TypeError, ValueError):
            raise ValueError(
                f'{ann_file}: image {image["id"]} has height {image["height"]!r} and '
                f'width {image["width"]!r}: give its size in pixels'
            ) from None
    number, times = Counter(image['id'] for image in images).most_common(1)[0] if images else (0, 1)
    if times > 1:
        raise ValueError(f'{ann_file}: {times} images have the id {number!r}: give each its own')


def _check_categories(boxes: list[dict], categories: list[dict], ann_file: str) -> None:
    known = {category['id'] for category in categories}
    for box in boxes:
        if box['category_id'] not in known:
            raise ValueError(
                f'{ann_file}: annotation {box["id"]} has category_id {box["category_id"]!r}, which '
                'is not among its categories: add that category with a name, or correct the '
                'annotation'
            )


def _check_boxes(boxes: list[dict], images: dict, ann_file: str) -> None:
    corners = 0
    if any(box['id'] == 0 for box in boxes):
        MMLogger.get_current_instance().warning(
            f'{ann_file}: an annotation has the id 0, which pycocotools takes for "no match": in '
            'an evaluation its box is never found. Number annotations from 1'
        )
    for box in boxes:
        image = images.get(box['image_id'])
        if image is None:
            raise ValueError(
                f'{ann_file}: annotation {box["id"]} belongs to image '
                f'{box["image_id"]!r}, which is not among its images: add the image, '
                'or remove the annotation'
            )
        try:
            x, y, w, h = map(float, box['bbox'])
            sound = 0 <= w < 1e7 and 0 <= h < 1e7 and abs(x) < 1e7 and abs(y) < 1e7  # no NaN
        except (TypeError, ValueError):
            sound = False
        if not sound:
            raise ValueError(
                f'{ann_file}: annotation {box["id"]} has bbox {box["bbox"]!r}: it must '
                'be four numbers x, y, width, height in pixels, sizes not negative. '
                'Correct or remove the annotation'
            )
        width, height = image['width'], image['height']
        beyond = x + w > width + 1 or y + h > height + 1
        corners += beyond and x < w <= width + 1 and y < h <= height + 1
    if corners >= 5 and corners > 0.1 * len(boxes):
        MMLogger.get_current_instance().warning(
            f'{ann_file}: {corners} of {len(boxes)} boxes extend beyond their image, but would '
            'fit it as x1, y1, x2, y2: bbox must be x, y, width, height'
        )
