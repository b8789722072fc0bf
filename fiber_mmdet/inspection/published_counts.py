"""How large the public data sets are, by where their files lie."""

from collections.abc import Mapping

# photos of a file
PHOTOS = {
    'coco/annotations/instances_train2017.json': 118287,
    'coco/annotations/instances_val2017.json': 5000,
    'coco/annotations/lvis_v1_train.json': 100170,
    'coco/annotations/lvis_v1_val.json': 19809,
    'coco/annotations/lvis_v1_minival_inserted_image_name.json': 4809,
    'mdetr_annotations/final_flickr_separateGT_val.json': 1000,
    'mdetr_annotations/final_flickr_separateGT_test.json': 1000,
    'd3/d3_json/d3_full_annotations.json': 10578,
}
# captions of a file: one for each referring expression
CAPTIONS = {
    'mdetr_annotations/finetune_refcoco_train.json': 120624,
    'mdetr_annotations/finetune_refcoco_val.json': 10834,
    'mdetr_annotations/finetune_refcoco_testA.json': 5657,
    'mdetr_annotations/finetune_refcoco_testB.json': 5095,
    'mdetr_annotations/finetune_refcoco+_train.json': 120191,
    'mdetr_annotations/finetune_refcoco+_val.json': 10758,
    'mdetr_annotations/finetune_refcoco+_testA.json': 5726,
    'mdetr_annotations/finetune_refcoco+_testB.json': 4889,
    'mdetr_annotations/finetune_refcocog_train.json': 80512,
    'mdetr_annotations/finetune_refcocog_val.json': 4896,
    'mdetr_annotations/finetune_refcocog_test.json': 9602,
}
CATEGORIES = {
    'coco/annotations/instances_train2017.json': 80,
    'coco/annotations/instances_val2017.json': 80,
    'coco/annotations/lvis_v1_train.json': 1203,
    'coco/annotations/lvis_v1_val.json': 1203,
    'coco/annotations/lvis_v1_minival_inserted_image_name.json': 1203,
}


def unlike_published(path: str, counts: Mapping[str, int]) -> str | None:
    """How a file differs from the published one that lies there, None if it does not or is not known.

    Args:
        path: of the file.
        counts: what it holds: ``photos``, ``captions`` and ``categories``.
    """
    differing = []
    for what, table in (('photos', PHOTOS), ('captions', CAPTIONS), ('categories', CATEGORIES)):
        known = next(
            (number for name, number in table.items() if f'/{path}'.endswith(f'/{name}')), None
        )
        if known not in (None, counts[what]):
            differing.append(f'{counts[what]} {what} instead of {known}')
    return f'not the published file: {", ".join(differing)}' if differing else None
