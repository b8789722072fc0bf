"""Karpathy's dataset_coco.json and dataset_flickr30k.json, with the photos of COCO 2014."""

import json
from collections.abc import Iterator
from pathlib import Path

from fiber_scenes import narrate

from .coco import TRAIN2014, coco_id
from .flickr30k import SPLITS, EntitiesImage
from .photos import photo

COCO_SPLITS = {
    'test': range(20, 23),
    'restval': range(23, 25),
    'val': range(25, 28),
    'train': TRAIN2014,
}
FILES = ('dataset_coco.json', 'dataset_flickr30k.json')


def write_karpathy(root: Path, coco: Path) -> None:
    """Both files, and the photos that COCO's does not share with other files.

    Photos of Flickr30k are those of the release of Entities.

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
    """Five captions of a photo; of every third photo, two are the same."""
    found = [text[0].upper() + text[1:] + '.' for text in narrate(photo(number).scene, 5)]
    if number % 3 == 0:
        found[-1] = found[1]
    return found


def _coco(root: Path) -> Iterator[tuple[dict, int]]:
    for split, numbers in COCO_SPLITS.items():
        folder = 'train2014' if split == 'train' else 'val2014'
        for number in numbers:
            name = f'COCO_{folder}_{coco_id(number):012d}.jpg'
            if split != 'train':
                photo(number).write(root / folder / name)
            yield dict(filepath=folder, filename=name, split=split, cocoid=coco_id(number)), number


def _flickr30k() -> Iterator[tuple[dict, int]]:
    for split, numbers in SPLITS.items():
        for number in numbers:
            yield dict(filename=f'{EntitiesImage(number).image_id}.jpg', split=split), number
