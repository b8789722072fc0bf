"""Karpathy's dataset_coco.json and dataset_flickr30k.json, with the images of COCO 2014."""

import json
from collections.abc import Iterator
from pathlib import Path

from fiber_scenes import narrate

from .coco import TRAIN2014, coco_id
from .flickr30k import SPLITS, EntitiesImage
from .scene_images import scene_image

COCO_SPLITS = {
    'test': range(20, 23),
    'restval': range(23, 25),
    'val': range(25, 28),
    'train': TRAIN2014,
}
FILES = ('dataset_coco.json', 'dataset_flickr30k.json')


def write_karpathy(root: Path, coco: Path) -> None:
    """Write both files, and the images that only COCO's captions have.

    The images of Flickr30k belong to the Entities release.

    Args:
        root: folder of the files.
        coco: folder of COCO.
    """
    root.mkdir(parents=True, exist_ok=True)
    for name, dataset, images in (
        (FILES[0], 'coco', _coco(coco)),
        (FILES[1], 'flickr30k', _flickr30k()),
    ):
        count, records = 0, []
        for image_number, (record, number) in enumerate(images):
            raw = sentences(number)
            ids = list(range(count, count + len(raw)))
            count += len(raw)
            records.append(
                dict(
                    record,
                    sentids=ids,
                    imgid=image_number,
                    sentences=[
                        dict(
                            tokens=text.lower().replace(',', '').split(),
                            raw=text,
                            imgid=image_number,
                            sentid=i,
                        )
                        for i, text in zip(ids, raw)
                    ],
                )
            )
        (root / name).write_text(json.dumps(dict(images=records, dataset=dataset)))


def sentences(number: int) -> list[str]:
    """Five captions of an image; every third image repeats one."""
    found = [text[0].upper() + text[1:] + '.' for text in narrate(scene_image(number).scene, 5)]
    if number % 3 == 0:
        found[-1] = found[1]
    return found


def _coco(root: Path) -> Iterator[tuple[dict, int]]:
    for split, numbers in COCO_SPLITS.items():
        folder = 'train2014' if split == 'train' else 'val2014'
        for number in numbers:
            name = f'COCO_{folder}_{coco_id(number):012d}.jpg'
            if split != 'train':
                scene_image(number).write(root / folder / name)
            yield dict(filepath=folder, filename=name, split=split, cocoid=coco_id(number)), number


def _flickr30k() -> Iterator[tuple[dict, int]]:
    for split, numbers in SPLITS.items():
        for number in numbers:
            yield dict(filename=f'{EntitiesImage(number).image_id}.jpg', split=split), number
