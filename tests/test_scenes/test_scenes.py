"""The generated world: everything it says about its images has to be true."""

import dataclasses
import json
import os
import re
import runpy
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from pycocotools.coco import COCO

from fiber_scenes import (
    COLORS,
    HELD_OUT,
    SHAPES,
    SIZES,
    SPLITS,
    combinations,
    describe,
    draw,
    is_held_out,
    refer,
    sample_scene,
    write_dataset,
)

NUMBERS = {'a': 1, 'an': 1, 'two': 2, 'three': 3, 'four': 4, 'five': 5, 'six': 6}
SINGULAR = {shape + 's': shape for shape in SHAPES} | {'crosses': 'cross'}
DATA_SIZES = {'train': 20, 'val': 12, 'test': 12}
CHECKOUT = Path(__file__).resolve().parents[2]
TOOL = CHECKOUT / 'tools' / 'make_scenes.py'
BARE = """
import runpy, sys
for name in ('torch', 'mmengine', 'mmcv', 'mmdet', 'transformers', 'fiber_mmdet'):
    sys.modules[name] = None  # importing it fails
sys.argv = sys.argv[1:]
sys.path.insert(0, sys.argv[0].rpartition('/')[0])  # as for a program
runpy.run_path(sys.argv[0], run_name='__main__')
"""


def scenes(split, count, **kwargs):
    return [sample_scene(split, i, **kwargs) for i in range(count)]


@pytest.fixture(scope='module')
def data(tmp_path_factory):
    root = tmp_path_factory.mktemp('scenes') / 'data'
    write_dataset(root, DATA_SIZES, seed=3, progress=False)
    return root


def load_meta(root):
    return json.loads((root / 'meta.json').read_text())


def described(phrase, objects):
    """Number (or None) and objects of a noun phrase, read word by word."""
    *adjectives, noun = phrase.split()
    number = NUMBERS.get(adjectives[0]) if adjectives else None
    if number or adjectives[:1] == ['the']:
        adjectives = adjectives[1:]
    # Plural exactly where the number asks for it.
    assert (noun in SINGULAR) == (number is not None and number > 1)
    wanted = {'shape': SINGULAR.get(noun, noun)}
    assert wanted['shape'] in SHAPES
    for word in adjectives:
        assert word in COLORS or word in SIZES
        wanted['color' if word in COLORS else 'size'] = word
    return number, [
        i
        for i, item in enumerate(objects)
        if all(getattr(item, key) == value for key, value in wanted.items())
    ]


def beside(relation, a, b):
    """Says whether the centre of box a lies on that side of the centre of box b."""
    dx, dy = ((a[k] + a[k + 2] - b[k] - b[k + 2]) / 2 for k in (0, 1))
    return {'left of': dx < 0, 'right of': dx > 0, 'above': dy < 0, 'below': dy > 0}[relation]


def test_scene_depends_on_its_place_only():
    assert sample_scene('val', 7, seed=5) == sample_scene('val', 7, seed=5)
    first = sample_scene('val', 7, seed=5)
    for other in (('val', 8, 5), ('test', 7, 5), ('val', 7, 6)):
        assert sample_scene(*other) != first
    np.testing.assert_array_equal(draw(first), draw(sample_scene('val', 7, seed=5)))
    assert describe(first) == describe(sample_scene('val', 7, seed=5))
    assert refer(first) == refer(sample_scene('val', 7, seed=5))


def test_bad_arguments_are_refused(tmp_path):
    for bad in (
        dict(split='dev', index=0),
        dict(split='val', index=-1),
        dict(split='val', index=0, seed=-1),
        dict(split='val', index=0, image_size=32),
    ):
        with pytest.raises(ValueError):
            sample_scene(**bad)
    for sizes in ({'dev': 1}, {'train': -1}, {}):
        with pytest.raises(ValueError):
            write_dataset(tmp_path / 'none', sizes)
    with pytest.raises(ValueError):
        write_dataset(tmp_path / 'none', {'val': 1}, seed=-1)
    assert not any(tmp_path.iterdir())


def test_held_out_combinations():
    assert not HELD_OUT['train'] and not HELD_OUT['val'] & HELD_OUT['test']
    share = len(HELD_OUT['val'] | HELD_OUT['test']) / (len(COLORS) * len(SHAPES))
    assert 0.15 < share < 0.25
    shown = {
        split: {(o.color, o.shape) for s in scenes(split, 200) for o in s.objects}
        for split in SPLITS
    }
    for split in SPLITS:
        assert shown[split] == set(combinations(split))
        assert {p for p in shown[split] if is_held_out(*p)} == HELD_OUT[split]
    assert {c for c, _ in shown['train']} == set(COLORS)
    assert {s for _, s in shown['train']} == set(SHAPES)


@pytest.mark.parametrize('image_size', [256, 320])
def test_layout(image_size):
    for scene in scenes('test', 60, image_size=image_size):
        assert 1 <= len(scene.objects) <= 6
        boxes = np.array([item.box for item in scene.objects])
        assert boxes.min() >= 0 and boxes.max() <= image_size
        for item, (x1, y1, x2, y2) in zip(scene.objects, boxes):
            low, high = np.array(SIZES[item.size]) * image_size / 256
            assert low - 1e-6 <= max(x2 - x1, y2 - y1) <= high + 1e-6
        for i, a in enumerate(boxes):
            for b in boxes[:i]:
                side = np.clip(np.minimum(a[2:], b[2:]) - np.maximum(a[:2], b[:2]), 0, None)
                union = np.prod(a[2:] - a[:2]) + np.prod(b[2:] - b[:2]) - side.prod()
                assert side.prod() / union < 0.1
    assert SIZES['small'][1] * 1.3 < SIZES['large'][0]


def test_boxes_are_tight_and_nothing_is_covered():
    for scene in scenes('train', 12) + scenes('test', 4, image_size=128):
        image = draw(scene)
        assert image.shape == (scene.image_size, scene.image_size, 3)
        assert image.dtype == np.uint8
        empty = draw(dataclasses.replace(scene, objects=()))
        for item in scene.objects:
            alone = draw(dataclasses.replace(scene, objects=(item,)))
            mask = (alone != empty).any(axis=-1)
            rows, columns = (np.flatnonzero(mask.any(axis=k)) for k in (1, 0))
            tight = columns[0], rows[0], columns[-1] + 1, rows[-1] + 1
            assert np.abs(np.subtract(tight, item.box)).max() <= 1
            np.testing.assert_array_equal(image[mask], alone[mask])


def test_drawn_colors_are_told_apart_from_each_other_and_the_background():
    for scene in scenes('train', 40):
        for item in scene.objects:
            distance = {
                name: np.abs(np.subtract(rgb, item.rgb)).sum() for name, rgb in COLORS.items()
            }
            assert min(distance, key=distance.get) == item.color
            for muted in scene.background.colors:
                assert np.abs(np.subtract(muted, item.rgb)).max() > 50


def test_phrases_are_linked_to_everything_they_describe():
    seen = set()
    for scene in scenes('train', 150) + scenes('val', 60):
        captions = describe(scene)
        assert 1 <= len(captions) <= 3
        assert len({caption.text for caption in captions}) == len(captions)
        for caption in captions:
            assert caption.phrases
            ends = [0] + [phrase.end for phrase in caption.phrases]
            assert all(a <= p.begin < p.end for a, p in zip(ends, caption.phrases))
            for phrase in caption.phrases:
                words = caption.text[phrase.begin : phrase.end]
                number, truth = described(words, scene.objects)
                assert list(phrase.objects) == truth and truth
                assert number in (None, len(truth))
                # Only the bare names of a class prompt come without a number.
                assert number or caption.text.endswith('.')
                seen.add((number, len(words.split()) - bool(number)))
            if ' background' in caption.text:
                assert f'on a {scene.background.kind} background' in caption.text
    assert {(1, 1), (1, 2), (1, 3), (2, 2), (None, 2)} <= seen


def test_names_without_a_link_are_absent():
    absent = 0
    for split in ('train', 'val'):
        for scene in scenes(split, 120):
            for caption in describe(scene):
                if not caption.text.endswith('.'):
                    continue
                linked = {caption.words_of(phrase) for phrase in caption.phrases}
                for name in set(caption.text.rstrip('.').split('. ')) - linked:
                    absent += 1
                    assert described(name, scene.objects)[1] == []
                    assert tuple(name.split()) in combinations(split)
    assert absent


def test_relations_hold():
    count = 0
    for scene in scenes('test', 150):
        for caption in describe(scene):
            relation = re.search(r' (left of|right of|above|below) ', caption.text)
            if relation:
                count += 1
                (a,), (b,) = (phrase.objects for phrase in caption.phrases)
                boxes = scene.objects[a].box, scene.objects[b].box
                assert beside(relation[1], *boxes)
                axis = relation[1] in ('above', 'below')
                near, far = sorted(boxes, key=lambda box: box[axis])
                assert far[axis] - near[axis + 2] >= 6
    assert count > 40


def test_expressions_single_out_one_object():
    related = 0
    for scene in scenes('val', 150):
        for expression in refer(scene):
            (phrase,) = expression.phrases
            head, *rest = re.split(r' (left of|right of|above|below) ', expression.text)
            assert expression.words_of(phrase) == head and head.startswith('the ')
            candidates = described(head, scene.objects)[1]
            if rest:
                related += 1
                relation, anchor = rest
                (anchor,) = described(anchor, scene.objects)[1]
                candidates = [
                    i
                    for i in candidates
                    if i != anchor
                    and beside(relation, scene.objects[i].box, scene.objects[anchor].box)
                ]
            assert tuple(candidates) == phrase.objects
    assert related > 40


@pytest.mark.parametrize('split', SPLITS)
def test_detection_files(data, split):
    combination = COCO(data / 'annotations' / f'coco_{split}.json')
    sized = COCO(data / 'annotations' / f'coco_sized_{split}.json')
    shapes = COCO(data / 'annotations' / f'coco_shapes_{split}.json')
    colors = COCO(data / 'annotations' / f'coco_colors_{split}.json')
    names = [c['name'] for c in combination.loadCats(combination.getCatIds())]
    assert combination.getCatIds() == list(range(1, 65)) and names == sorted(names)
    sized_names = [c['name'] for c in sized.loadCats(sized.getCatIds())]
    assert sized_names == sorted(f'{size} {name}' for size in SIZES for name in names)
    assert [c['name'] for c in shapes.loadCats(shapes.getCatIds())] == sorted(SHAPES)
    assert [c['name'] for c in colors.loadCats(colors.getCatIds())] == sorted(COLORS)
    for i in combination.getImgIds():
        record = combination.imgs[i]
        with Image.open(data / 'images' / split / record['file_name']) as image:
            assert image.size == (record['width'], record['height'])
        scene = sample_scene(split, i, seed=3)
        kinds = ((combination, 'name'), (sized, 'sized_name'), (shapes, 'shape'), (colors, 'color'))
        for coco, word in kinds:
            found = coco.loadAnns(coco.getAnnIds(imgIds=i))
            assert len(found) == len(scene.objects)
            for annotation, item in zip(found, scene.objects):
                x, y, w, h = annotation['bbox']
                assert np.allclose((x, y, x + w, y + h), item.box, atol=0.02)
                assert coco.cats[annotation['category_id']]['name'] == getattr(item, word)
                assert annotation['novel'] == item.novel and annotation['iscrowd'] == 0
                assert annotation['id'] > 0 and annotation['area'] == pytest.approx(w * h, abs=0.01)
    novel = any(a['novel'] for a in combination.anns.values())
    assert novel == (split != 'train')


@pytest.mark.parametrize('split', SPLITS)
def test_grounding_files(data, split):
    coco = COCO(data / 'annotations' / f'grounding_{split}.json')
    lines = (data / 'annotations' / f'odvg_{split}.jsonl').read_text().splitlines()
    assert len(lines) == len(coco.imgs)
    for (i, record), line in zip(coco.imgs.items(), map(json.loads, lines)):
        assert record['dataset_name'] == 'scenes'
        assert record['file_name'] == line['filename'] == f'{record["original_img_id"]:06d}.jpg'
        scene = sample_scene(split, record['original_img_id'], seed=3)
        spans = record['tokens_positive_eval']
        regions = line['grounding']['regions']
        assert record['caption'] == line['grounding']['caption']
        assert [r['tokens_positive'] for r in regions] == spans
        found = coco.loadAnns(coco.getAnnIds(imgIds=i))
        for k, (((begin, end),), region) in enumerate(zip(spans, regions)):
            assert record['caption'][begin:end] == region['phrase']
            truth = [scene.objects[j].box for j in described(region['phrase'], scene.objects)[1]]
            mine = [a for a in found if a['phrase_ids'] == [k]]
            assert all(a['tokens_positive'] == spans[k] and a['category_id'] == 1 for a in mine)
            boxes = [(x, y, x + w, y + h) for x, y, w, h in (a['bbox'] for a in mine)]
            assert np.allclose(boxes, truth, atol=0.02)
            assert np.allclose(np.reshape(region['bbox'], (-1, 4)), truth, atol=0.02)
        assert sum(len(np.reshape(r['bbox'], (-1, 4))) for r in regions) == len(found)


def test_expression_files(data):
    for split in SPLITS:
        coco = COCO(data / 'annotations' / f'refexp_{split}.json')
        assert coco.imgs
        for i, record in coco.imgs.items():
            (annotation,) = coco.loadAnns(coco.getAnnIds(imgIds=i))
            assert record['dataset_name'] == 'refcoco'
            ((begin, end),) = annotation['tokens_positive']
            assert begin == 0 and record['caption'].startswith('the ')
            assert record['tokens_positive_eval'] == [[[begin, end]]]


def test_meta_protects_what_is_there(data, tmp_path, capsys):
    meta = load_meta(data)
    assert meta['seed'] == 3 and meta['sizes'] == DATA_SIZES
    assert set(meta['held_out']['test']) == {' '.join(pair) for pair in HELD_OUT['test']}
    before = (data / 'meta.json').stat().st_mtime_ns
    assert write_dataset(data, DATA_SIZES, seed=3) == meta
    assert 'already' in capsys.readouterr().err
    assert (data / 'meta.json').stat().st_mtime_ns == before
    with pytest.raises(FileExistsError, match='another root'):
        write_dataset(data, DATA_SIZES, seed=4)
    (tmp_path / 'precious.txt').write_text('keep me')
    with pytest.raises(FileExistsError, match='not a generated'):
        write_dataset(tmp_path, {'val': 1}, overwrite=True)
    assert (tmp_path / 'precious.txt').exists()


def test_command_line(tmp_path, monkeypatch):
    command = [TOOL, tmp_path / 'out', '--train', '2', '--val', '1', '--test', '0']
    # the first time in an interpreter that has numpy and Pillow only
    done = subprocess.run(
        [sys.executable, '-c', BARE, *command],
        capture_output=True,
        text=True,
        env=dict(os.environ, PYTHONPATH=str(CHECKOUT)),
    )
    assert done.returncode == 0, done.stderr
    assert 'train: 2 images' in done.stdout
    assert not (tmp_path / 'out' / 'images' / 'test').exists()

    def run(*options):
        monkeypatch.setattr(sys, 'argv', [*map(str, command), *options])
        runpy.run_path(str(TOOL))['main']()

    with pytest.raises(SystemExit, match='another root'):
        run('--seed', '1')
    run('--seed', '1', '--overwrite')
    assert load_meta(tmp_path / 'out')['seed'] == 1
    easy = ['--max-objects', '1', '--zoom', '2', '--train-facts', '3', '--train-tags']
    run(*easy, '--overwrite')
    wanted = dict(max_objects=1, zoom=2.0, train_facts=3, train_tags=True)
    assert load_meta(tmp_path / 'out').items() >= wanted.items()
    with pytest.raises(SystemExit, match='zoom=9'):
        run('--zoom', '9', '--overwrite')
