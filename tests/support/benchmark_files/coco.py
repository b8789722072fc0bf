"""COCO, the sample of COCO, COCO-O, and a data set of one's own in COCO json."""

from collections.abc import Iterable
from pathlib import Path

from mmdet.datasets import CocoDataset

from .coco_file import CocoFile, polygon
from .photos import Photo, photo

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
    """Id of a photo on COCO."""
    return 139 + 1117 * number


def write_coco(root: Path) -> None:
    """instances_{train,val}2017.json, and photos of both splits and of train2014."""
    for split, numbers in (('train2017', TRAIN), ('val2017', VAL)):
        file = detection_file(root / split, numbers, coco_categories())
        if split == 'train2017':
            _add_oddities(file, coco_id(TRAIN[0]), photo(TRAIN[0]))
        file.save(root / f'annotations/instances_{split}.json')
    for number in TRAIN2014:
        photo(number).write(root / f'train2014/COCO_train2014_{coco_id(number):012d}.jpg')


def detection_file(photos: Path, numbers: Iterable[int], categories: list[dict]) -> CocoFile:
    """Write photos and their json; the last photo has no boxes."""
    file = CocoFile(categories)
    numbers = list(numbers)
    for number in numbers:
        image_id = coco_id(number)
        photo(number).write(photos / f'{image_id:012d}.jpg')
        file.add_image(
            image_id,
            photo(number),
            file_name=f'{image_id:012d}.jpg',
            license=3,
            coco_url=f'http://images.cocodataset.org/{photos.name}/{image_id:012d}.jpg',
            flickr_url='',
            date_captured='2013-11-14 11:18:45',
        )
        if number != numbers[-1]:
            file.add_objects(image_id, photo(number), iscrowd=0)
    for annotation in file.annotations:
        annotation['segmentation'] = polygon(annotation['bbox'])
    return file


def _add_oddities(file: CocoFile, image_id: int, picture: Photo) -> None:
    """A crowd, a box without size, and one that leaves the photo."""
    width, height = picture.width, picture.height
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
    """The sample of train2017 whose json holds what is needed and no more."""
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
    """Names with capitals, spaces and an accent; ids from 0; the least fields that will do."""
    categories = [dict(id=i, name=name) for i, name in enumerate(CUSTOM_NAMES)]
    for split, numbers in (('train', range(5)), ('val', range(5, 8))):
        file = CocoFile(categories)
        for number in numbers:
            photo(number).write(root / split / f'photo {number}.jpg')
            file.add_image(number, photo(number), file_name=f'photo {number}.jpg')
            file.add_objects(number, photo(number))
        file.save(root / f'annotations/{split}.json')
