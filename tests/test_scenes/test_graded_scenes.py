"""Easier scenes: fewer objects, and larger ones."""

import json
from collections import Counter

import numpy as np
import pytest

from fiber_scenes import (
    SPLITS,
    ask,
    describe,
    draw,
    facts,
    narrate,
    refer,
    sample_scene,
    state,
    write_dataset,
)
from fiber_scenes.scene import MAX_ZOOM


def test_usual_arguments_change_nothing():
    for index in range(10):
        usual = sample_scene('val', index, seed=4, image_size=100)
        assert usual == sample_scene('val', index, 4, 100, max_objects=6, zoom=1)
        assert usual.zoom == 1.0 and usual.scale == 100 / 256


@pytest.mark.parametrize('most', [1, 2, 4])
def test_fewer_objects(most):
    counts = Counter(len(sample_scene('val', i, max_objects=most).objects) for i in range(150))
    assert set(counts) == set(range(1, most + 1))
    assert min(counts.values()) > 100 / most


@pytest.mark.parametrize('zoom', [1.0, 1.5, 2.0, MAX_ZOOM])
def test_zoomed_scene_is_a_cut_out(zoom):
    """Sizes, borders, distances and patterns are those of a whole scene that is as much larger."""
    for index in range(40):
        whole = sample_scene('train', index, image_size=round(96 * zoom), max_objects=3)
        part = sample_scene('train', index, image_size=96, max_objects=3, zoom=zoom)
        first, second = part.objects[0], whole.objects[0]
        assert (first.name, first.size, first.rgb) == (second.name, second.size, second.rgb)
        size = np.subtract(first.box[2:], first.box[:2])
        np.testing.assert_allclose(size, np.subtract(second.box[2:], second.box[:2]), rtol=0.01)
        assert part.background.period == pytest.approx(whole.background.period, rel=0.01)
        assert part.scale == pytest.approx(whole.scale, rel=0.01)
        for item in part.objects:
            border = 3 * part.scale
            assert min(item.box) > border - 1e-6 and max(item.box) < 96 - border + 1e-6


def test_drawing_of_a_zoomed_scene():
    for index in range(12):
        part = sample_scene('train', index, image_size=96, max_objects=1, zoom=2)
        picture = draw(part)
        np.testing.assert_array_equal(picture, draw(part))
        assert picture.shape == (96, 96, 3)
        (item,) = part.objects
        x, y = map(int, item.center)
        if item.shape != 'ring':
            assert np.abs(picture[y, x].astype(int) - item.rgb).max() < 30
        # the dark stroke at the top of the outline is as wide as in a scene twice as large
        column = picture[:, int(item.outline()[item.outline()[:, 1].argmin()][0])].astype(int)
        top = int(item.box[1])
        edge = column[top : top + 4].sum(axis=1)
        assert edge.min() < 0.7 * sum(item.rgb)


def test_refused_arguments(tmp_path):
    for bad in (0, 7, -1, 1.5):
        with pytest.raises(ValueError, match='max_objects=.* must be between 1 and 6'):
            sample_scene('val', 0, max_objects=bad)
    for bad in (0.9, 2.6, float('nan')):
        with pytest.raises(ValueError, match=r'zoom=.* must be between 1 and 2\.51: .* not fit'):
            sample_scene('val', 0, zoom=bad)
    with pytest.raises(ValueError, match='zoom=3'):
        write_dataset(tmp_path / 'data', dict(val=1), zoom=3)
    assert not any(tmp_path.iterdir())


@pytest.mark.parametrize('split', SPLITS)
@pytest.mark.parametrize('most', [1, 2])
def test_texts_of_easy_scenes(split, most):
    """Few objects offer few texts, but always some; nothing fails."""
    scenes = [sample_scene(split, i, 0, 96, max_objects=most, zoom=2) for i in range(40)]
    stated = 0
    for i, scene in enumerate(scenes):
        assert len(facts(scene, 12)) == len(ask(scene, 12)) == 12
        assert describe(scene) and len(narrate(scene, 8)) >= 4
        assert len(refer(scene)) <= len(scene.objects)
        assert len(refer(scene)) == 1 or len(scene.objects) > 1
        stated += len(state(scenes, i))
        if len(scene.objects) == 1:
            assert not any(' of ' in fact or ' above ' in fact for fact in facts(scene, 12))
    assert stated > 0.9 * 2 * len(scenes)


def test_files_of_easy_scenes(tmp_path):
    kwargs = dict(sizes=dict(train=4, val=3), image_size=64, progress=False)
    meta = write_dataset(tmp_path / 'data', max_objects=1, zoom=2, **kwargs)
    assert (meta['max_objects'], meta['zoom']) == (1, 2.0)
    assert meta == json.loads((tmp_path / 'data/meta.json').read_text())
    assert meta['counts']['train']['objects'] == 4
    boxes = json.loads((tmp_path / 'data/annotations/coco_train.json').read_text())['annotations']
    for i, box in enumerate(boxes):
        (item,) = sample_scene('train', i, 0, 64, 1, 2.0).objects
        assert box['bbox'][:2] == pytest.approx(item.box[:2], abs=0.01)
    assert write_dataset(tmp_path / 'data', max_objects=1, zoom=2, **kwargs) == meta
    with pytest.raises(FileExistsError, match="'max_objects': 1"):
        write_dataset(tmp_path / 'data', max_objects=2, zoom=2, **kwargs)
    usual = write_dataset(tmp_path / 'usual', max_objects=6, zoom=1, **kwargs)
    assert not {'max_objects', 'zoom', 'train_facts'} & set(usual)
