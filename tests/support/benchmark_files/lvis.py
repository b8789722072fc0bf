"""LVIS v1: train, val and minival, on COCO's images."""

import json
from pathlib import Path

from .coco import TRAIN, VAL, coco_id
from .coco_file import CocoFile, polygon
from .scene_images import scene_image

# id, name and frequency in all of LVIS
CATEGORIES = (
    (3, 'air_conditioner', 'f'),
    (16, 'antenna', 'c'),
    (45, 'ball', 'f'),
    (139, 'bread-bin', 'r'),
    (143, 'broach', 'r'),
    (218, 'cape', 'c'),
    (421, 'earplug', 'r'),
    (490, 'fruit_juice', 'c'),
    (702, 'motor_scooter', 'f'),
    (793, 'person', 'f'),
    (1007, 'spear', 'r'),
    (1198, 'yogurt', 'c'),
)


def write_lvis(root: Path) -> None:
    """Write lvis_v1_{train,val}.json and minival to ``root/annotations``.

    The images are those of :func:`write_coco`; val contains some of train2017. Descriptions of the
    categories are in lvis_v1.description.v1.json.
    """
    train = [(number, 'train2017') for number in TRAIN]
    minival = [(number, 'val2017') for number in VAL]
    splits = {'train': train, 'val': train[:2] + minival, 'minival_inserted_image_name': minival}
    for split, numbers in splits.items():
        _file(numbers, 'inserted' in split).save(root / f'annotations/lvis_v1_{split}.json')
    descriptions = [
        dict(object=name, object_id=i, gpt3_output='\n' + json.dumps(_described(name)))
        for i, name, _ in CATEGORIES
    ]
    (root / 'annotations/lvis_v1.description.v1.json').write_text(json.dumps(descriptions))


def _described(name: str) -> dict:
    return {'type': 'thing', 'description': f'like a {name}; round', 'similar objects': []}


def _categories() -> list[dict]:
    return [
        dict(
            id=i,
            name=name,
            synset=f'{name}.n.01',
            synonyms=[name],
            frequency=frequency,
            image_count=1,
            instance_count=2,
        )
        | {'def': 'what it is'}
        for i, name, frequency in CATEGORIES
    ]


def _file(numbers: list[tuple[int, str]], file_names: bool) -> CocoFile:
    file = CocoFile(_categories())
    ids = [category['id'] for category in file.categories]
    for number, folder in numbers:
        image_id, name = coco_id(number), f'{coco_id(number):012d}.jpg'
        present = {ids[kind] for kind in scene_image(number).kinds(len(ids))}
        absent = [i for i in ids if i not in present]
        file.add_image(
            image_id,
            scene_image(number),
            license=4,
            flickr_url='',
            date_captured='2013-11-19 20:30:17',
            coco_url=f'http://images.cocodataset.org/{folder}/{name}',
            neg_category_ids=absent[:3],
            not_exhaustive_category_ids=[min(present)],
            **({'file_name': name} if file_names else {}),
        )
        file.add_objects(image_id, scene_image(number))
    for annotation in file.annotations:
        annotation['segmentation'] = polygon(annotation['bbox'])
    return file
