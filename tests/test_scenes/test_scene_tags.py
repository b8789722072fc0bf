"""Tags of scenes: what is there, the files of it, and what training makes of them."""

import json
from dataclasses import replace

import numpy as np
import pytest
from mmcv.transforms import Compose
from mmdet.registry import DATASETS, TRANSFORMS
from mmengine.registry import DefaultScope

from fiber_mmdet.datasets.transforms import FlipViews, TagsFromTexts
from fiber_scenes import HELD_OUT, SPLITS, TAGS, sample_scene, tags, write_dataset

KWARGS = dict(sizes=dict(train=6, val=2), image_size=64, seed=2, progress=False)


@pytest.fixture(scope='module')
def data(tmp_path_factory):
    root = tmp_path_factory.mktemp('tags') / 'data'
    write_dataset(root, train_tags=True, **KWARGS)
    return root


def placed(scene, x, y):
    """Name of the third of the image where a point is."""
    word = [
        '' if 1 / 3 <= v / scene.image_size < 2 / 3 else names[v > scene.image_size / 2]
        for v, names in ((y, ('top', 'bottom')), (x, ('left', 'right')))
    ]
    return ' '.join(filter(None, word)) or 'middle'


def mirror(scene):
    side = scene.image_size
    return replace(
        scene,
        objects=tuple(
            replace(o, box=(side - o.box[2], o.box[1], side - o.box[0], o.box[3]))
            for o in scene.objects
        ),
    )


def test_list_of_tags():
    assert len(set(TAGS)) == len(TAGS) == 8 + 8 + 52 + 72 + 72 + 5
    assert TAGS[:2] == ('red', 'green') and TAGS[8] == 'circle' and TAGS[16] == 'red circle'
    assert {'red top left', 'circle middle', 'ring bottom', 'wavy background'} <= set(TAGS)
    assert not {' '.join(pair) for split in SPLITS for pair in HELD_OUT[split]} & set(TAGS)


@pytest.mark.parametrize('split', SPLITS)
def test_tags_say_what_is_there(split):
    longest = 0
    for index in range(120):
        scene = sample_scene(split, index)
        expected = {f'{scene.background.kind} background'}
        for item in scene.objects:
            place = placed(scene, *item.center)
            expected |= {item.color, item.shape, f'{item.color} {item.shape}'}
            expected |= {f'{item.color} {place}', f'{item.shape} {place}'}
        found = tags(scene)
        assert len(set(found)) == len(found) and set(found) == expected
        assert found == tags(sample_scene(split, index))
        assert set(found) - set(TAGS) <= {' '.join(pair) for pair in HELD_OUT[split]}
        longest = max(longest, len(found))
    assert longest > 20


def test_files_of_tags(data, tmp_path):
    assert json.loads((data / 'annotations/tags.json').read_text()) == list(TAGS)
    meta = json.loads((data / 'meta.json').read_text())
    assert meta['train_tags'] is True
    count = sum(len(tags(sample_scene('train', i, 2, 64))) for i in range(6))
    assert meta['counts']['train']['tags'] == count and 'tags' not in meta['counts']['val']
    assert not (data / 'annotations/tags_val.json').exists()
    assert write_dataset(data, train_tags=True, **KWARGS) == meta
    with pytest.raises(FileExistsError, match="'train_tags': True"):
        write_dataset(data, **KWARGS)
    usual = write_dataset(tmp_path / 'usual', **KWARGS)
    assert 'train_tags' not in usual
    assert not list((tmp_path / 'usual/annotations').glob('*tags*'))


@pytest.mark.parametrize('one_per', ['caption', 'image'])
@pytest.mark.parametrize('prob', [0, 1])
def test_tags_of_mirrored_images(data, one_per, prob):
    """An image has the tags of its scene, or of the mirrored scene."""
    cfg = dict(
        type='RegionPhraseDataset',
        ann_file='annotations/tags_train.json',
        folders='train',
        image_template='{folder}/{image_id:06d}.jpg',
        data_root=str(data),
        data_prefix=dict(img='images'),
        one_per=one_per,
        texts_per_image=31 if one_per == 'caption' else 1,
        pipeline=[
            dict(type='EachView', transforms=[dict(type='LoadImageFromFile')]),
            dict(type='FlipViews', prob=prob, swap_words=True),
            dict(
                type='TagsFromTexts',
                tags=str(data / 'annotations/tags.json'),
                exact=True,
                all_captions=one_per == 'image',
            ),
        ],
    )
    with DefaultScope.overwrite_default_scope('mmdet'):
        dataset = DATASETS.build(cfg)
    assert len(dataset) == 6
    for i in range(6):
        scene = sample_scene('train', i, 2, 64)
        sample = dataset[i]
        found = {n for text in sample.get('texts', [sample]) for n in text['tags']}
        expected = tags(mirror(scene) if prob else scene)
        assert found == {TAGS.index(tag) for tag in expected}


def test_texts_that_are_tags():
    exact = TagsFromTexts(['red', 'red top', 'red top left'], exact=True)
    assert exact(dict(text='Red  top left'))['tags'] == [2]
    assert TagsFromTexts(exact.tags)(dict(text='red top left'))['tags'] == [0, 1, 2]
    with pytest.raises(ValueError, match=r"'reds' is not among the 3 tags .*'red', .*exact"):
        exact(dict(text='reds'))
    every = TagsFromTexts(['red', 'ring', 'star'], all_captions=True)
    sample = dict(text='a ring', captions=['a star', 'two red stars'])
    assert every(sample)['tags'] == [0, 2]
    with pytest.raises(KeyError, match='captions'):
        every(dict(text='a ring'))


def test_file_of_a_list_of_tags(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    path = tmp_path / 'tags.json'
    path.write_text('["red", "blue ring"]')
    built = TRANSFORMS.build(dict(type='TagsFromTexts', tags='tags.json'))
    assert built.tags == ('red', 'blue ring')
    with pytest.raises(FileNotFoundError, match='no file none.json'):
        TagsFromTexts('none.json')
    for content, message in {
        '{"red": 1}': 'tags.json holds a dict, not a list of tags',
        '["red", 3]': r"tags.json has tags \['red', 3\]: it must be a list",
        '["red", " "]': r"tags.json has tags \['red', ' '\]: it must be a list",
        '["red", "Red"]': r"tags.json has \['red'\] twice",
        '[]': 'tags.json, .*, must be a list of words',
    }.items():
        path.write_text(content)
        with pytest.raises(ValueError, match=message):
            TagsFromTexts('tags.json')


def test_mirrored_without_words_keeps_its_tags():
    """Which is wrong, and why words are to be swapped: only the option does it."""
    for swap, expected in ((True, 'ring top right'), (False, 'ring top left')):
        sample = dict(
            views=dict(image=dict(img=np.zeros((2, 2, 3), np.uint8))), text='ring top left'
        )
        steps = Compose([FlipViews(1, swap_words=swap), TagsFromTexts(TAGS, exact=True)])
        assert steps(sample)['tags'] == [TAGS.index(expected)]
