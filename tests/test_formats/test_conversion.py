"""Sets of labelled images: there and back in every format, divided without leaks."""

import json
import shutil
from collections import Counter

import numpy as np
import pytest
from PIL import Image

from fiber_mmdet.formats.conversion import convert_data
from fiber_mmdet.formats.division import divide
from fiber_mmdet.formats.image_folder import ImageFolder
from fiber_mmdet.formats.kinds import FORMATS, recognise
from fiber_mmdet.outputs import OutputError

NAMES = ['hard hat', 'Größe & <co>', 'vest', 'never seen']
BOXES = {  # file -> (name, x, y, w, h)
    'a.png': [(0, 0, 0, 60, 40), (1, 3, 4, 10, 12)],
    'deep/b.jpg': [(2, 50.25, 10.5, 7.5, 20)],
    'c.png': [],
}


def noise(path, seed, size=(60, 40)):
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(seed).integers(0, 255, (size[1], size[0], 3), np.uint8)
    Image.fromarray(pixels).save(path)


@pytest.fixture
def coco(tmp_path):
    """Three images in two parts, one of them in a subfolder, one without a box."""
    root = tmp_path / 'set'
    for part, files in (('train', ['a.png', 'deep/b.jpg']), ('val', ['c.png'])):
        images, annotations = [], []
        for i, file in enumerate(files, 1):
            noise(root / part / file, hash_of(file))
            images.append(dict(id=i, file_name=file, width=60, height=40))
            for name, *box in BOXES[file]:
                annotations.append(
                    dict(id=len(annotations) + 1, image_id=i, category_id=name + 7, bbox=box)
                )
        categories = [dict(id=i + 7, name=name) for i, name in enumerate(NAMES)]
        (root / 'annotations').mkdir(exist_ok=True)
        (root / f'annotations/{part}.json').write_text(
            json.dumps(dict(images=images, annotations=annotations, categories=categories))
        )
    return root


def hash_of(file):
    return sum(map(ord, file))


def content(root):
    """Part -> file -> boxes as (name, corners)."""
    found = FORMATS['coco'].read(root, ImageFolder(root))
    return {
        (image.part, image.path.name): [(box.name, box.corners) for box in image.boxes]
        for image in found.images
    }, list(found.names)


@pytest.mark.parametrize('kind', ['coco', 'voc', 'yolo', 'labelstudio', 'cvat'])
def test_there_and_back(coco, tmp_path, kind):
    there = convert_data(coco, tmp_path / 'there', target_format=kind)
    assert recognise(tmp_path / 'there') == kind and there.source == 'coco'
    back = convert_data(tmp_path / 'there', tmp_path / 'back')
    assert back.source == kind
    (before, names), (after, names_after) = content(coco), content(tmp_path / 'back')
    if kind == 'labelstudio':  # an export has no parts within a file: one file for each
        assert (tmp_path / 'there/train.json').is_file()
    assert before.keys() == after.keys()
    tolerance = 0.5 if kind == 'voc' else 1e-5
    for key, boxes in before.items():
        assert [name for name, _ in after[key]] == [name for name, _ in boxes]
        for (_, one), (_, other) in zip(boxes, after[key]):
            assert np.allclose(one, other, atol=tolerance)
    # the other formats list only names that occur
    assert names_after == (names if kind in ('coco', 'yolo', 'cvat') else sorted(NAMES[:3]))


def test_copies_are_whole_images_and_links_lead_to_the_source(coco, tmp_path):
    convert_data(coco, tmp_path / 'copies')
    convert_data(coco, tmp_path / 'links', link=True)
    copy, linked = tmp_path / 'copies/train/a.png', tmp_path / 'links/train/a.png'
    assert copy.read_bytes() == (coco / 'train/a.png').read_bytes() and not copy.is_symlink()
    assert linked.resolve() == (coco / 'train/a.png').resolve()


def test_an_interrupted_conversion_leaves_nothing_and_goes_on(coco, tmp_path):
    out, copied = tmp_path / 'out', []

    def stop(items, what):
        for item in items:
            if len(copied) == 1:
                raise KeyboardInterrupt
            yield item
            copied.append(item)

    with pytest.raises(KeyboardInterrupt):
        convert_data(coco, out, progress=stop)
    assert not out.exists()
    (half,) = (tmp_path / '.out.part').rglob('*.png')
    first = half.stat().st_ino
    (tmp_path / '.out.part/stale.png').write_bytes(b'of another division')
    convert_data(coco, out)
    assert (out / half.relative_to(tmp_path / '.out.part')).stat().st_ino == first
    assert not (out / 'stale.png').exists() and not (tmp_path / '.out.part').exists()


def test_nothing_is_written_onto_something_or_into_the_source(coco, tmp_path):
    (tmp_path / 'full').mkdir()
    (tmp_path / 'full/mine').write_text('')
    with pytest.raises(OutputError, match='full is there already'):
        convert_data(coco, tmp_path / 'full')
    with pytest.raises(OutputError, match='lies in'):
        convert_data(coco, coco / 'out')


def test_images_of_one_name_are_kept_apart(coco, tmp_path):
    noise(coco / 'val/a.png', 99)
    path = coco / 'annotations/val.json'
    file = json.loads(path.read_text())
    file['images'].append(dict(id=9, file_name='a.png', width=60, height=40))
    path.write_text(json.dumps(file))
    found = convert_data(coco, tmp_path / 'voc', target_format='voc')
    files = {image.path.relative_to(coco).as_posix(): image.file for image in found.labelled.images}
    assert (files['train/a.png'], files['val/a.png']) == ('a.png', 'a (2).png')
    assert any('renamed' in note and 'a (2).png' in note for note in found.notes)
    assert (tmp_path / 'voc/JPEGImages/a (2).png').read_bytes() == (coco / 'val/a.png').read_bytes()


# -------------------------------------------------------------------------- division
def flat(tmp_path, count, copies=()):
    """A set of images with one box each; ``copies`` are (image, that it equals, ending)."""
    root = tmp_path / 'flat'
    images, annotations = [], []
    for i in range(count):
        noise(root / f'{i}.png', i)
    for i, original, ending in copies:
        (root / f'{i}.png').unlink(missing_ok=True)
        Image.open(root / f'{original}.png').save(root / f'{i}.{ending}')
    for i, path in enumerate(sorted(root.iterdir()), 1):
        images.append(dict(id=i, file_name=path.name, width=60, height=40))
        name = 2 if path.stem == '3' else 1
        annotations.append(dict(id=i, image_id=i, category_id=name, bbox=[1, 1, 5, 5]))
    categories = [dict(id=1, name='usual'), dict(id=2, name='rare')]
    (root / 'all.json').write_text(
        json.dumps(dict(images=images, annotations=annotations, categories=categories))
    )
    return root


def test_a_division_is_by_seed_and_equal_images_stay_together(tmp_path):
    # the same pixels in other files; only one of them has the rare name
    root = flat(tmp_path, 20, [(7, 3, 'bmp'), (8, 3, 'png')])
    parts = []
    for i, seed in enumerate((0, 0, 1)):
        found = convert_data(root, tmp_path / f'out{i}', split=(0.8, 0.1, 0.1), seed=seed)
        parts.append({image.path.stem: image.part for image in found.labelled.images})
        assert Counter(parts[-1].values()) == dict(train=16, val=2, test=2)
        assert {parts[-1][stem] for stem in ('3', '7', '8')} == {'train'}
        assert any('3.png = 7.bmp = 8.png' in note for note in found.notes)
    assert parts[0] == parts[1] != parts[2]


def test_images_that_look_alike_in_two_parts_are_reported(tmp_path):
    root = flat(tmp_path, 20)
    image = Image.open(root / '5.png')
    for i in (6, 7, 9, 11, 12, 13, 14):  # of eight, some are in another part
        bright = image.point(lambda value, i=i: min(255, value + i % 5 + 1))
        bright.save(root / f'{i}.png')
    found = convert_data(root, tmp_path / 'out', split=(0.5, 0.5))
    (said,) = [note for note in found.notes if 'look alike' in note]
    assert '5.png' in said and '~' in said


def test_rare_names_are_in_the_first_part_and_others_in_proportion():
    names = [{'a'}] * 60 + [{'b'}] * 30 + [{'a', 'c'}] * 2 + [{'d'}] + [set()] * 7
    parts = divide(names, [1] * len(names), (0.8, 0.1, 0.1), seed=3)
    assert Counter(parts) == {0: 80, 1: 10, 2: 10}
    for name, wanted in dict(b=(24, 3, 3), c=(2, 0, 0), d=(1, 0, 0)).items():
        counts = Counter(part for part, found in zip(parts, names) if name in found)
        assert tuple(counts[part] for part in range(3)) == wanted


def test_shares_that_divide_nothing_are_refused(coco, tmp_path):
    for split in ((1.0,), (0.8, -0.1), (0, 1), (1, 1, 1, 1)):
        with pytest.raises(ValueError, match='0.8 0.1 0.1'):
            convert_data(coco, tmp_path / 'out', split=split)


# ------------------------------------------------------------------------ recognition
def test_what_is_no_set_or_several_is_refused(tmp_path, coco):
    with pytest.raises(FileNotFoundError, match='nowhere'):
        recognise(tmp_path / 'nowhere')
    (tmp_path / 'empty').mkdir()
    with pytest.raises(ValueError, match='--from'):
        recognise(tmp_path / 'empty')
    shutil.copytree(coco, tmp_path / 'two')
    (tmp_path / 'two/data.yaml').write_text('names: [cat]')
    with pytest.raises(ValueError, match='coco and yolo'):
        recognise(tmp_path / 'two')


def test_a_missing_image_is_named_with_its_annotation(coco, tmp_path):
    (coco / 'val/c.png').unlink()
    with pytest.raises(FileNotFoundError, match=r'1 of 3 .*val.json: image 1: c.png.*--images'):
        convert_data(coco, tmp_path / 'out')


def test_no_path_leads_out_of_the_folder_of_images(coco, tmp_path):
    noise(tmp_path / 'secret.png', 1)
    path = coco / 'annotations/val.json'
    path.write_text(path.read_text().replace('c.png', '../../secret.png'))
    with pytest.raises(FileNotFoundError, match='secret.png'):
        convert_data(coco, tmp_path / 'out')
