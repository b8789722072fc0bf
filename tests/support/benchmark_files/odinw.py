"""ODinW: the 35 sets, with the folders and names of mmdet's configs."""

from collections.abc import Iterator
from pathlib import Path

import mmdet
from mmengine.config import Config

from .coco_file import CocoFile
from .scene_images import scene_image

CONFIGS = Path(mmdet.__file__).parent / '.mim/configs/mm_grounding_dino/odinw'
FEW_SHOT = 'fewshot_train_shot1_seed3.json'
SPLITS = {'train': range(5), 'valid': range(5, 7), 'test': range(7, 9)}


def odinw_sets() -> Iterator[tuple[str, str, str, tuple[str, ...]]]:
    """Folder below data/odinw, validation annotations and images, and names of the classes."""
    for number in (13, 35):
        cfg = Config.fromfile(CONFIGS / f'grounding_dino_swin-t_pretrain_odinw{number}.py')
        for dataset in cfg.val_dataloader.dataset.datasets:
            folder = dataset.data_root.split('odinw/')[1]
            yield folder, dataset.ann_file, dataset.data_prefix.img, dataset.metainfo.classes


def write_odinw(root: Path) -> None:
    """All sets, each with train, validation and test."""
    for folder, ann_file, images, names in odinw_sets():
        for split, numbers in SPLITS.items():
            file = _write_images(root / folder / _of_split(images, split), names, split, numbers)
            file.save(root / folder / _of_split(ann_file, split))
            if split == 'train':  # the first two images, like one of GLIP's few-shot files
                few = set(numbers[:2])
                file.images = [image for image in file.images if image['id'] in few]
                file.annotations = [box for box in file.annotations if box['image_id'] in few]
                file.save(root / folder / _of_split(images, split) / FEW_SHOT)


def _of_split(path: str, split: str) -> str:
    """The path of another split, from that of the validation set."""
    folder, slash, name = path.rpartition('/')
    if folder == 'valid':
        folder = split
    if name.startswith('val_'):  # sets whose splits share a folder
        name = name.replace('val_', f'{"val" if split == "valid" else split}_', 1)
    return f'{folder}{slash}{name}'


def _write_images(folder: Path, names: tuple[str, ...], split: str, numbers: range) -> CocoFile:
    """Write images; as in ODinW, a category without a name has no boxes."""
    file = CocoFile(
        [dict(id=i, name=name, supercategory='things') for i, name in enumerate(names, 1)],
        first_id=0,
    )
    nameless = {i for i, name in enumerate(names, 1) if not name.strip()}
    for number in numbers:
        name = f'IMG_{number:04d}_{split}_jpg.rf.0a1b2c.jpg'
        scene_image(number).write(folder / name)
        file.add_image(
            number,
            scene_image(number),
            file_name=name,
            license=1,
            date_captured='2020-11-18T00:00:00+00:00',
        )
        file.add_objects(number, scene_image(number), iscrowd=0, segmentation=[])
    file.annotations = [box for box in file.annotations if box['category_id'] not in nameless]
    return file
