"""Objects365: json of versions 1 and 2, and the tsv files that FIBER and GLIP were trained on."""

import base64
import json
import random
from pathlib import Path

from mmdet.datasets import Objects365V1Dataset, Objects365V2Dataset

from .coco_file import CocoFile
from .scene_images import scene_image

LOST = 'images/v2/patch16/objects365_v2_00908726.jpg'  # in the file, but not among the images


def categories(names: tuple[str, ...]) -> list[dict]:
    """Records of categories, ids from 1."""
    return [dict(id=i, name=name, supercategory='none') for i, name in enumerate(names, 1)]


def write_objects365_v1(root: Path) -> None:
    """objects365_{train,val}.json, which list the categories in different orders, and images."""
    for split, numbers in (('train', range(5)), ('val', range(5, 8))):
        file = CocoFile(categories(Objects365V1Dataset.METAINFO['classes']), first_id=0)
        for number in numbers:
            image_id = 1000 * number + 75
            name = f'obj365_{split}_{image_id:012d}.jpg'
            scene_image(number).write(root / split / name)
            file.add_image(image_id, scene_image(number), file_name=name)
            file.add_objects(image_id, scene_image(number), iscrowd=0)
        write_descriptions(root / 'o365.description.v1.json')
        random.Random(split).shuffle(file.categories)
        file.save(root / f'objects365_{split}.json')


def write_descriptions(path: Path) -> None:
    """DesCo's descriptions; case and blanks of the names differ, and one text is no json."""
    names = Objects365V1Dataset.METAINFO['classes'][:-1]
    generated = dict(type='thing', description='seen in photos; of some size')
    entries = [
        dict(object=name.strip().title(), object_id=i, gpt3_output=f'\n{json.dumps(generated)}')
        for i, name in enumerate(names, 1)
    ]
    entries[3]['gpt3_output'] = 'I do not know.'
    path.write_text(json.dumps(entries))


def write_objects365_v2(root: Path) -> None:
    """zhiyuan_objv2_{train,val}.json, images in patches, and one record whose image is missing."""
    for split, numbers in (('train', range(5)), ('val', range(5, 8))):
        file = CocoFile(categories(Objects365V2Dataset.METAINFO['classes']), first_id=51)
        for number in numbers:
            image_id = 420917 + number
            version, patch = 1 + number % 2, 8 + 16 * (number % 2)
            name = f'patch{patch}/objects365_v{version}_{image_id:08d}.jpg'
            scene_image(number).write(root / split / name)
            file.add_image(
                image_id,
                scene_image(number),
                license=5,
                url='',
                file_name=f'images/v{version}/{name}',
            )
            file.add_objects(image_id, scene_image(number), iscrowd=0, isfake=0, isreflected=0)
        file.add_image(908726, scene_image(0), license=5, url='', file_name=LOST)
        file.add_objects(908726, scene_image(0), iscrowd=0, isfake=0, isreflected=0)
        file.save(root / f'annotations/zhiyuan_objv2_{split}.json')


def write_objects365_tsv(root: Path) -> None:
    """The yaml and its files: base64 images, labels, sizes, and which rows to use how often."""
    names = [name.strip() for name in Objects365V1Dataset.METAINFO['classes']]
    images, labels, sizes = [], [], []
    for number in range(5):
        key = f'objects365_v1_{number:08d}'
        source = scene_image(number)
        images.append([key, base64.b64encode(source.jpeg).decode()])
        sizes.append([key, json.dumps([dict(height=source.height, width=source.width)])])
        labels.append(
            [
                key,
                json.dumps(
                    [
                        {
                            'class': names[kind],
                            'rect': [x, y, x + w - 1, y + h - 1],
                            'diff': 0,
                        }  # inclusive
                        for (x, y, w, h), kind in zip(source.boxes, source.kinds(len(names)))
                    ]
                ),
            ]
        )
    _write_tsv(root / 'images.tsv', images)
    _write_tsv(root / 'train.label.tsv', labels)
    _write_tsv(root / 'train.hw.tsv', sizes)
    # an image of a rare category is repeated
    (root / 'train.label.linelist.cas.2000.tsv').write_text('0\n1\n3\n3\n4\n')
    (root / 'object365_vgoiv6_class2ind.json').write_text(
        json.dumps({name: i for i, name in enumerate(names, 1)})
    )
    (root / 'objects365_train_vgoiv6.cas2000.yaml').write_text(
        'img: images.tsv\nhw: train.hw.tsv\nlabel: train.label.tsv\n'
        'linelist: train.label.linelist.cas.2000.tsv\n'
        'labelmap: object365_vgoiv6_class2ind.json\n'
    )


def _write_tsv(path: Path, rows: list[list[str]]) -> None:
    """The rows, and an index of where each begins."""
    path.parent.mkdir(parents=True, exist_ok=True)
    offsets, content = [], b''
    for row in rows:
        offsets.append(len(content))
        content += '\t'.join(row).encode() + b'\n'
    path.write_bytes(content)
    path.with_suffix('.lineidx').write_text(''.join(f'{offset}\n' for offset in offsets))
