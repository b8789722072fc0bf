"""Annotation files that stay on disk: the samples are those of the file."""

import pickle

import numpy as np
import pytest
from mmdet.datasets import CocoDataset
from mmdet.registry import DATASETS
from mmengine.dataset import ClassBalancedDataset, ConcatDataset, RepeatDataset

from cached_readers import COCO, KARPATHY, MIXED, READERS, build, content, of_reader
from fiber_mmdet.datasets import PromptCocoDataset
from fiber_mmdet.datasets.stored_records import StoredRecords

pytest.importorskip('pyarrow', reason='caches need pyarrow')
pytest.importorskip('msgpack', reason='caches need msgpack')


@pytest.mark.parametrize('name', READERS)
def test_samples_are_those_of_the_file(name, root, tmp_path, monkeypatch, said):
    monkeypatch.chdir(root)
    plain = content(build(READERS[name]))
    lines = list(said)
    for start in range(2):
        del said[:]
        dataset = build(READERS[name], tmp_path)
        assert isinstance(dataset.data_list, StoredRecords)
        assert content(dataset) == plain, start
        assert of_reader(said) == lines
        assert any('read once' in line for _, line in said) == (start == 0)
    assert len(list(tmp_path.rglob('*.arrow'))) == 1
    assert not [path for path in tmp_path.rglob('*') if path.name.endswith('.part')]


def test_images_are_chosen_as_mmdet_chooses_them(root, monkeypatch):
    monkeypatch.chdir(root)
    rules = dict(filter_cfg=dict(filter_empty_gt=True, min_size=96))
    classes = dict(metainfo=dict(classes=('elephant', 'person')))
    ours = build(COCO, **rules, **classes)
    theirs = CocoDataset(
        **{key: value for key, value in COCO.items() if key != 'type'}, **rules, **classes
    )
    found, expected = (
        [dataset.get_data_info(i)['img_id'] for i in range(len(dataset))]
        for dataset in (ours, theirs)
    )
    assert found == expected and 0 < len(found) < len(build(COCO))


# ---------------------------------------------------------------- as mmengine uses them
def test_subsets_wrappers_and_categories(root, tmp_path, monkeypatch):
    monkeypatch.chdir(root)
    plain, cached = build(COCO), build(COCO, tmp_path)
    for indices in (3, -2, [4, 0, 0]):
        assert content(cached.get_subset(indices)) == content(plain.get_subset(indices)), indices
    for wrap in (
        lambda one: ConcatDataset([one, one]),
        lambda one: RepeatDataset(one, 2),
        lambda one: ClassBalancedDataset(one, 0.5),
    ):
        assert content(wrap(cached)) == content(wrap(plain))
    assert cached.get_data_info(-1) == plain.get_data_info(-1)
    assert [cached.get_cat_ids(i) for i in range(5)] == [plain.get_cat_ids(i) for i in range(5)]
    first = cached.get_data_info(0)
    first['instances'].clear()
    assert cached.get_data_info(0)['instances']
    cached.get_subset_([1])
    assert (
        len(cached) == 1 and cached.get_data_info(0)['img_id'] == plain.get_data_info(1)['img_id']
    )


def test_workers_that_are_started_anew_open_the_file(root, tmp_path, monkeypatch):
    monkeypatch.chdir(root)
    for cfg in (MIXED, KARPATHY):
        plain, cached = build(cfg), build(cfg, tmp_path)
        sent = pickle.dumps(cached)
        assert content(pickle.loads(sent)) == content(plain)
        assert len(sent) < len(pickle.dumps(plain))


def test_each_false_image_comes_from_the_cache(root, tmp_path, monkeypatch):
    monkeypatch.chdir(root)
    drawn = []
    for folder in (None, tmp_path):
        np.random.seed(0)
        dataset = build(KARPATHY, folder, false_image=True)
        drawn.append([dataset.get_data_info(i)['views'] for i in range(len(dataset))])
    assert drawn[0] == drawn[1]


def test_small_files_have_no_cache(root, tmp_path, monkeypatch):
    monkeypatch.chdir(root)
    monkeypatch.setenv('FIBER_CACHE', str(tmp_path))
    for kwargs in ({}, dict(annotation_cache_from=0, serialize_data=False)):
        dataset = DATASETS.build(dict(COCO, pipeline=[], **kwargs))
        assert not isinstance(dataset.data_list, StoredRecords)
    assert not list(tmp_path.iterdir())
    DATASETS.build(dict(COCO, pipeline=[], annotation_cache_from=0))
    (file,) = (tmp_path / 'annotations').rglob('*.arrow')
    assert file.parent.name.startswith('instances_train2017-')


@pytest.mark.parametrize(
    'option',
    [dict(annotation_cache=''), dict(annotation_cache=1.5), dict(annotation_cache_from='1')],
)
def test_options_that_are_none(option):
    with pytest.raises(ValueError, match='annotation_cache.* must be'):
        PromptCocoDataset(ann_file='', **option)
