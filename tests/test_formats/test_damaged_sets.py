"""Files of other tools, damaged in hundreds of ways: the set is sound, or one line says where."""

import json
import math

import pytest
from PIL import Image

from fiber_mmdet.formats.conversion import convert_data
from fiber_mmdet.formats.image_folder import ImageFolder
from fiber_mmdet.formats.kinds import FORMATS, folder_of_images
from mutations import mutations

FILES = {  # kind -> the file that is damaged, and how
    'coco': ('annotations/train.json', 'json'),
    'labelstudio': ('train.json', 'json'),
    'voc': ('Annotations/0.xml', 'text'),
    'cvat': ('annotations.xml', 'text'),
    'yolo': ('labels/train/0.txt', 'text'),
    'yolo yaml': ('data.yaml', 'text'),
}


@pytest.fixture(scope='module')
def original(tmp_path_factory):
    """Two images with three boxes of two names."""
    root = tmp_path_factory.mktemp('set')
    images, boxes = [], []
    for i in range(2):
        Image.new('RGB', (60, 40), (i, 0, 0)).save(root / f'{i}.png')
        images.append(dict(id=i, file_name=f'{i}.png', width=60, height=40))
    for i, bbox in enumerate(([1, 2, 30, 20], [10, 5, 20.5, 30], [0, 0, 60, 40]), 1):
        boxes.append(dict(id=i, image_id=i // 2, category_id=i % 2, bbox=bbox, iscrowd=0))
    categories = [dict(id=0, name='hard hat'), dict(id=1, name='Größe')]
    (root / 'all.json').write_text(
        json.dumps(dict(images=images, annotations=boxes, categories=categories))
    )
    return root


@pytest.mark.parametrize('kind', FILES)
def test_a_damaged_file_is_sound_or_named(kind, original, tmp_path):
    name = kind.split()[0]
    convert_data(original, tmp_path / 'set', target_format=name)
    file, form = FILES[kind]
    path = tmp_path / 'set' / file
    source = path if form == 'json' else tmp_path / 'set'
    images = ImageFolder(folder_of_images(source))
    content = path.read_bytes()
    outcomes, seen = [], set()
    for said, damaged in mutations(content, form, seed=len(kind), count=150):
        if damaged in seen:  # a yaml that is nested deeply takes a second and a half each time
            continue
        seen.add(damaged)
        path.write_bytes(damaged)
        images.missing.clear()
        try:
            found = FORMATS[name].read(source, images)
        except (ValueError, FileNotFoundError) as error:
            text = str(error)
            # the labels of one image, among those of all
            names = (path.name, path.stem + '.png', 'no label file')
            assert any(one in text for one in names), (said, text)
            assert '\n' not in text and len(text) < 1500, said
            outcomes.append('refused')
            continue
        outcomes.append('read')
        for image in found.images:
            assert image.width > 0 and image.height > 0 and image.path.is_file(), said
            for box in image.boxes:
                x1, y1, x2, y2 = box.corners
                assert all(map(math.isfinite, box.corners)) and x2 >= x1 and y2 >= y1, said
                assert box.name in found.names and box.name.strip(), said
    assert set(outcomes) == {'read', 'refused'}
