"""OmniLabel: images of three datasets, each asked for categories and for own descriptions."""

import json
from pathlib import Path
from typing import Any

from fiber_scenes import SHAPES, SceneObject

from .scene_images import scene_image

# part of the files' names: folder of its images, their numbers, categories that are asked for
PARTS = {
    'coco': ('coco/{:012d}.jpg', range(0, 3), list(SHAPES)),
    'object365': ('object365/patch1/objects365_v1_{:08d}.jpg', range(3, 6), ['Star', 'Circle']),
    'openimagesv5': ('openimagesv5/{:016x}.jpg', range(6, 8), ['Square', 'Human hand']),
}


def write_omnilabel(root: Path) -> None:
    """Images, a file of each part, one of all, and one of a test set, without boxes."""
    whole: dict[str, list] = dict(images=[], descriptions=[], annotations=[])
    for part, (name, numbers, categories) in PARTS.items():
        own: dict[str, list] = dict(images=[], descriptions=[], annotations=[])
        first = len(whole['descriptions'])
        asked = _texts(numbers, categories, first)
        for number in numbers:
            file_name = name.format(number)
            scene_image(number).write(root / file_name)
            own['images'].append(dict(id=number, file_name=file_name))
        for text in asked:
            own['descriptions'].append(
                dict(
                    id=text['id'],
                    text=text['text'],
                    image_ids=text['image_ids'],
                    anno_info=dict(type=text['type']),
                )
            )
        own['annotations'] = _boxes(numbers, asked, len(whole['annotations']))
        for key, rows in own.items():
            whole[key] += rows
        _save(root / f'dataset_all_val_v0.1.3_{part}.json', own)
    _save(root / 'dataset_all_val_v0.1.3.json', whole)
    whole.pop('annotations')
    _save(root / 'dataset_all_test_v0.1.3.json', whole)


def _texts(numbers: range, categories: list[str], first_id: int) -> list[dict[str, Any]]:
    """Descriptions on some images, then categories on all; each knows the objects that it fits."""
    found = []
    for number in numbers:
        item = scene_image(number).scene.objects[0]
        others = [n for n in numbers if n != number][:1]
        found += [
            _description(f'The {item.size} {item.shape} in {item.color}.', [number], item),
            _description(f'{item.color} {item.shape}', [number, *others], item),
            _description(
                f'one of all of the objects in this image that is a {item.color} {item.shape}',
                [number, *others],
                item,
            ),
            dict(
                text='a person who reads a_book (old)',
                type='object_description',
                image_ids=[number],
                fits=lambda item: False,
            ),
        ]
    found += [
        dict(
            text=name,
            type='object_category',
            image_ids=list(numbers),
            fits=lambda item, name=name: item.shape == name.lower(),
        )
        for name in categories
    ]
    return [dict(text, id=number) for number, text in enumerate(found, first_id)]


def _description(text: str, images: list[int], like: SceneObject) -> dict[str, Any]:
    return dict(
        text=text,
        type='object_description',
        image_ids=images,
        fits=lambda item: (item.color, item.shape) == (like.color, like.shape),
    )


def _boxes(numbers: range, asked: list[dict], first_id: int) -> list[dict]:
    boxes = []
    for number in numbers:
        source = scene_image(number)
        for bbox, item in zip(source.boxes, source.scene.objects):
            ids = [t['id'] for t in asked if number in t['image_ids'] and t['fits'](item)]
            if ids:
                boxes.append(
                    dict(
                        id=first_id + len(boxes),
                        image_id=number,
                        bbox=bbox,
                        description_ids=ids,
                        iscrowd=0,
                    )
                )
    return boxes


def _save(path: Path, content: dict) -> None:
    info = dict(name='OmniLabel', version='0.1.3', url='https://www.omnilabel.org')
    path.write_text(json.dumps(dict(info=info, **content)))
