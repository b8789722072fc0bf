"""How large the public data sets are, by the names of their files."""
from typing import Mapping, Optional

# photos of a file
PHOTOS = {
    'instances_train2017.json': 118287,
    'instances_val2017.json': 5000,
    'lvis_v1_train.json': 100170,
    'lvis_v1_val.json': 19809,
    'lvis_v1_minival_inserted_image_name.json': 4809,
    'final_flickr_separateGT_val.json': 1000,
    'final_flickr_separateGT_test.json': 1000,
    'd3_full_annotations.json': 10578,
}
# captions of a file: one for each referring expression
CAPTIONS = {
    'finetune_refcoco_train.json': 120624,
    'finetune_refcoco_val.json': 10834,
    'finetune_refcoco_testA.json': 5657,
    'finetune_refcoco_testB.json': 5095,
    'finetune_refcoco+_train.json': 120191,
    'finetune_refcoco+_val.json': 10758,
    'finetune_refcoco+_testA.json': 5726,
    'finetune_refcoco+_testB.json': 4889,
    'finetune_refcocog_train.json': 80512,
    'finetune_refcocog_val.json': 4896,
    'finetune_refcocog_test.json': 9602,
}
CATEGORIES = {
    'instances_train2017.json': 80,
    'instances_val2017.json': 80,
    'lvis_v1_train.json': 1203,
    'lvis_v1_val.json': 1203,
    'lvis_v1_minival_inserted_image_name.json': 1203,
}


def unlike_published(name: str, counts: Mapping[str, int]) -> Optional[str]:
    """How a file differs from the published one of its name, None if it does not or is not known.

    Args:
        name: of the file, without its folder.
        counts: what it holds: ``photos``, ``captions`` and ``categories``.
    """
    differing = [f'{counts[what]} {what} instead of {table[name]}'
                 for what, table in (('photos', PHOTOS), ('captions', CAPTIONS),
                                     ('categories', CATEGORIES))
                 if name in table and counts[what] != table[name]]
    return f'not the published file of this name: {", ".join(differing)}' if differing else None
