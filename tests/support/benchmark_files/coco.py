"""COCO, its first 128 images, COCO-O, and a dataset of your own in COCO json."""

from collections.abc import Iterable
from pathlib import Path

from mmdet.datasets import CocoDataset

from .coco_file import CocoFile, polygon
from .scene_images import SceneImage, scene_image

NO_SUCH_ID = {12, 26, 29, 30, 45, 66, 68, 69, 71, 83}
COCO_IDS = [i for i in range(1, 91) if i not in NO_SUCH_ID]
TRAIN, VAL, TRAIN2014 = range(6), range(6, 10), range(10, 14)
CUSTOM_NAMES = ('forklift', 'Pallet (empty)', 'person in a hi-vis vest', 'entrée')
DOMAINS = ('cartoon', 'handmake', 'painting', 'sketch', 'tattoo', 'weather')


def coco_categories() -> list[dict]:
    """The 80 categories, with the gaps between their ids."""
    return [
        dict(id=i, name=name, supercategory='thing')
        for i, name in zip(COCO_IDS, CocoDataset.METAINFO['classes'])
    ]


def coco_id(number: int) -> int:
    """Id of an image in COCO."""
    return 139 + 1117 * number


def write_coco(root: Path) -> None:
    """instances_{train,val}2017.json, and images of both splits and of train2014."""
    for split, numbers in (('train2017', TRAIN), ('val2017', VAL)):
        file = detection_file(root / split, numbers, coco_categories())
        if split == 'train2017':
            _add_oddities(file, coco_id(TRAIN[0]), scene_image(TRAIN[0]))
        file.save(root / f'annotations/instances_{split}.json')
    for number in TRAIN2014:
        scene_image(number).write(root / f'train2014/COCO_train2014_{coco_id(number):012d}.jpg')


def detection_file(folder: Path, numbers: Iterable[int], categories: list[dict]) -> CocoFile:
    """Write images and their json; the last image has no boxes."""
    file = CocoFile(categories)
    numbers = list(numbers)
    for number in numbers:
        image_id = coco_id(number)
        scene_image(number).write(folder / f'{image_id:012d}.jpg')
        file.add_image(
            image_id,
            scene_image(number),
            file_name=f'{image_id:012d}.jpg',
            license=3,
            coco_url=f'http://images.cocodataset.org/{folder.name}/{image_id:012d}.jpg',
            flickr_url='',
            date_captured='2013-11-14 11:18:45',
        )
        if number != numbers[-1]:
            file.add_objects(image_id, scene_image(number), iscrowd=0)
    for annotation in file.annotations:
        annotation['segmentation'] = polygon(annotation['bbox'])
    return file


def _add_oddities(file: CocoFile, image_id: int, source: SceneImage) -> None:
    """A crowd, a box without size, and one that extends beyond the image."""
    width, height = source.width, source.height
    file.add_box(
        image_id,
        COCO_IDS[0],
        [1.0, 2.0, 40.0, 30.0],
        iscrowd=1,
        segmentation={'counts': [0, width * height], 'size': [height, width]},
    )
    file.add_box(image_id, COCO_IDS[1], [10.0, 12.0, 0.0, 8.0], iscrowd=0, segmentation=[])
    box = [width - 20.5, height - 15.25, 40.0, 30.0]
    file.add_box(image_id, COCO_IDS[2], box, iscrowd=0, segmentation=polygon(box))


def write_coco128(root: Path) -> None:
    """The sample of train2017, whose json has the required fields only."""
    file = detection_file(root / 'train2017', range(4), coco_categories())
    for annotation in file.annotations:
        del annotation['segmentation']
    file.save(root / 'annotations/instances_train2017.json')


def write_coco_o(root: Path) -> None:
    """The six domains, each laid out like COCO's val2017."""
    for i, domain in enumerate(DOMAINS):
        file = detection_file(root / domain / 'val2017', range(i, i + 3), coco_categories())
        file.save(root / domain / 'annotations/instances_val2017.json')


def write_custom(root: Path) -> None:
    """Names with capitals, spaces and an accent; ids from 0; the required fields only."""
    categories = [dict(id=i, name=name) for i, name in enumerate(CUSTOM_NAMES)]
    for split, numbers in (('train', range(5)), ('val', range(5, 8))):
        file = CocoFile(categories)
        for number in numbers:
            scene_image(number).write(root / split / f'image {number}.jpg')
            file.add_image(number, scene_image(number), file_name=f'image {number}.jpg')
            file.add_objects(number, scene_image(number))
        file.save(root / f'annotations/{split}.json')
