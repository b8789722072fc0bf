"""Annotation files that stay on disk: the same samples, and never those of another file."""

import errno
import json
import logging
import multiprocessing
import pickle
import re
import shutil
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from mmdet.datasets import CocoDataset
from mmdet.registry import DATASETS
from mmengine.dataset import ClassBalancedDataset, ConcatDataset, RepeatDataset
from mmengine.logging import MMLogger

from benchmark_files import write_all
from fiber_mmdet.datasets import (
    PromptCocoDataset,
    WebCaptionDataset,
    annotation_cache,
    stored_records,
)
from fiber_mmdet.datasets.cached_annotations import CachedAnnotations
from fiber_mmdet.datasets.stored_records import (
    CannotStore,
    DamagedRecords,
    RecordFile,
    RecordWriter,
    StoredRecords,
)
from fiber_mmdet.whole_files import part_of

pytest.importorskip('pyarrow', reason='caches need pyarrow')
pytest.importorskip('msgpack', reason='caches need msgpack')

EMPTY = dict(filter_cfg=dict(filter_empty_gt=True))
PROMPT = {'wine glass': dict(prefix='a ')}
COCO = dict(
    type='PromptCocoDataset',
    data_root='data/coco/',
    ann_file='annotations/instances_train2017.json',
    data_prefix=dict(img='train2017/'),
)
MIXED = dict(
    type='MDETRGroundingDataset',
    data_root='data/',
    ann_file='mdetr_annotations/final_mixed_train_no_coco.json',
    image_dirs=dict(coco='coco/train2014/', vg='gqa/images/'),
)
FLICKR = dict(
    type='MDETRGroundingDataset',
    data_root='data/',
    ann_file='mdetr_annotations/final_flickr_separateGT_val.json',
    data_prefix=dict(img='flickr30k/flickr30k_images/'),
)
REFCOCO = dict(
    FLICKR,
    ann_file='mdetr_annotations/finetune_refcoco_val.json',
    data_prefix=dict(img='coco/train2014/'),
)
LVIS = dict(
    type='PromptLVISDataset',
    data_root='data/coco/',
    ann_file='annotations/lvis_v1_train.json',
    data_prefix=dict(img=''),
)
KARPATHY = dict(
    type='KarpathyCaptionDataset',
    data_root='data/',
    ann_file='karpathy/dataset_coco.json',
    data_prefix=dict(img='coco/'),
)
VQA = dict(
    type='VQAv2Dataset',
    data_root='data/',
    question_files=['vqav2/v2_OpenEnded_mscoco_train2014_questions.json'],
    annotation_files=['vqav2/v2_mscoco_train2014_annotations.json'],
    answer_file='vqav2/answer_list.json',
    data_prefix=dict(img='coco/'),
)
ODVG = dict(
    type='GroundingODVGDataset',
    data_root='data/gqa/',
    ann_file='final_mixed_train_no_coco_vg.json',
    data_prefix=dict(img='images/'),
)
NAMED = dict(
    type='GroundingODVGDataset',
    data_root='data/objects365v1/',
    ann_file='o365v1_train_od.json',
    label_map_file='o365v1_label_map.json',
    data_prefix=dict(img='train/'),
)
REGIONS = dict(
    type='RegionPhraseDataset',
    data_root='data/visual_genome/',
    ann_file='region_descriptions.json',
)
READERS = {
    'coco': dict(COCO, **EMPTY),
    'coco test, some classes': dict(
        COCO, test_mode=True, metainfo=dict(classes=('elephant', 'person'))
    ),
    'coco, worded, some': dict(COCO, caption_prompt=PROMPT, annotated_only=True, indices=5),
    'coco, chosen': dict(COCO, indices=[3, 1, 3], filter_cfg=dict(min_size=96)),
    'coco, few': dict(COCO, shots=1, shot_seed=0),
    'lvis': dict(LVIS, **EMPTY),
    'lvis, described': dict(
        LVIS,
        ann_file='annotations/lvis_v1_val.json',
        descriptions='annotations/lvis_v1.description.v1.json',
        test_mode=True,
    ),
    'objects365 v2': dict(
        type='PromptObjects365V2Dataset',
        data_root='data/objects365v2/',
        ann_file='annotations/zhiyuan_objv2_train.json',
        data_prefix=dict(img='train/'),
    ),
    'mixed': dict(MIXED, **EMPTY),
    'mixed, by image': dict(MIXED, texts_per_image=3),
    'mixed, described': dict(
        MIXED,
        ann_file='mdetr_annotations/final_mixed_train_no_coco_with_nouns_gpt.0425.json',
        with_descriptions=True,
    ),
    'flickr30k': dict(FLICKR, test_mode=True),
    'refcoco, whole': dict(REFCOCO, test_mode=True, whole_caption=True),
    'odvg captions': dict(ODVG, **EMPTY),
    'odvg captions, by image': dict(ODVG, texts_per_image=2),
    'odvg names': NAMED,
    'odvg names, worded, by image': dict(NAMED, texts_per_image=2, caption_prompt={}),
    'odvg names, wordless': dict(NAMED, need_text=False),
    'captions': KARPATHY,
    'captions, by image': dict(KARPATHY, texts_per_image=3, indices=4),
    'captions, one': dict(KARPATHY, one_per='image', splits='test', test_mode=True),
    'regions': REGIONS,
    'regions, by address': dict(REGIONS, image_data_file='image_data.json'),
    'web captions': dict(type='WebCaptionDataset', data_root='data/sbu/', ann_file='annot.json'),
    'vqa': VQA,
    'vqa, unanswerable, by image': dict(VQA, keep_unanswerable=True, texts_per_image=2),
    'nlvr2': dict(
        type='NLVR2Dataset', data_root='data/nlvr2/', ann_files=dict(train='data/train.json')
    ),
}


@pytest.fixture(scope='module')
def root(tmp_path_factory):
    folder = tmp_path_factory.mktemp('published')
    write_all(folder)
    (folder / 'data/vqav2/answer_list.json').write_text('["yes", "no", "red", "2"]')
    return folder


@pytest.fixture
def said():
    """What the log is told, with the levels."""
    lines = []

    class Handler(logging.Handler):
        def emit(self, record):
            if record.levelno >= logging.INFO:
                lines.append((record.levelname, record.getMessage()))

    handler, logger = Handler(), MMLogger.get_current_instance()
    logger.addHandler(handler)
    yield lines
    logger.removeHandler(handler)


def build(cfg, folder=None, **kwargs):
    """A dataset, with a cache in a folder or without any."""
    cache = dict(annotation_cache=str(folder), annotation_cache_from=0) if folder else {}
    return DATASETS.build(
        dict(cfg, pipeline=[], **(cache or dict(annotation_cache=False)), **kwargs)
    )


def content(dataset):
    """Everything that a dataset yields, as text that tells tuples from lists."""
    samples = [dataset.get_data_info(i) for i in range(len(dataset))]
    return [repr(sorted(sample.items())) for sample in samples], repr(dataset.metainfo)


def of_reader(lines):
    """The log without what the cache says of itself."""
    return [
        line for line in lines if 'read once' not in line[1] and ' samples come ' not in line[1]
    ]


# ------------------------------------------------------------------------ identity
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


# ------------------------------------------------------------------------- stale ones
def captions(folder, texts):
    """A list of captions, one for each image, and its dataset."""
    rows = [[f'{i}.jpg', text] for i, text in enumerate(texts)]
    (folder / 'list.json').write_text(json.dumps(rows))
    return dict(type='WebCaptionDataset', data_root=str(folder), ann_file='list.json')


def texts_of(dataset):
    return [dataset.get_data_info(i)['text'] for i in range(len(dataset))]


def test_a_file_that_changed_is_read_again(tmp_path):
    cfg, folder = captions(tmp_path, ['one', 'two']), tmp_path / 'cache'
    assert texts_of(build(cfg, folder)) == ['one', 'two']
    (old,) = folder.rglob('*.arrow')
    captions(tmp_path, ['owe', 'two'])  # of the same size
    assert texts_of(build(cfg, folder)) == ['owe', 'two']
    (new,) = folder.rglob('*.arrow')
    assert new != old and new.parent == old.parent


def test_files_beside_and_folders_count(tmp_path):
    (tmp_path / 'left_out.txt').write_text('0.jpg\n')
    cfg = dict(captions(tmp_path, ['one', 'two']), exclude_ids='left_out.txt')
    assert texts_of(build(cfg, tmp_path / 'cache')) == ['two']
    (tmp_path / 'left_out.txt').write_text('1.jpg\n')
    assert texts_of(build(cfg, tmp_path / 'cache')) == ['one']
    regions = [dict(regions=[dict(image_id=1, phrase='a cat')])]
    (tmp_path / 'regions.json').write_text(json.dumps(regions))
    for name in ('a', 'b'):
        (tmp_path / name).mkdir()
    cfg = dict(
        type='RegionPhraseDataset',
        data_root=str(tmp_path),
        ann_file='regions.json',
        folders=['a', 'b'],
    )
    for name, other in ('ab', 'ba'):
        (tmp_path / other / '1.jpg').unlink(missing_ok=True)
        (tmp_path / name / '1.jpg').touch()
        path = build(cfg, tmp_path / 'cache').get_data_info(0)['views']['image']['img_path']
        assert Path(path).parent.name == name


@pytest.mark.parametrize('what', ['options', 'reader', 'class'])
def test_other_readings_have_caches_of_their_own(what, tmp_path, monkeypatch, said):
    cfg, folder = captions(tmp_path, ['one', 'two']), tmp_path / 'cache'
    build(cfg, folder)
    if what == 'options':
        cfg['image_template'] = 'photos/{path}'
    elif what == 'reader':
        monkeypatch.setattr(annotation_cache, 'RECORDS', annotation_cache.RECORDS + 1)
    else:
        monkeypatch.setattr(annotation_cache, 'sources_of', lambda kind: ['another text'])
    del said[:]
    found = build(cfg, folder)
    assert any('read once' in line for _, line in said)
    assert content(found) == content(build(cfg))
    assert len(list(folder.rglob('*.arrow'))) == 1 + (what == 'options')


# ------------------------------------------------------------------------ damaged ones
@pytest.mark.parametrize('damage', ['empty', 'cut', 'other', 'name'])
def test_a_damaged_cache_is_made_again(damage, tmp_path, said):
    cfg, folder = captions(tmp_path, ['one', 'two']), tmp_path / 'cache'
    build(cfg, folder)
    (file,) = folder.rglob('*.arrow')
    if damage == 'other':
        with RecordWriter(file, dict(key='another', sections=dict(samples=1))) as writer:
            writer.extend([dict(text='three')])
    else:
        whole = file.read_bytes()
        changed = dict(empty=b'', cut=whole[:-30], name=whole.replace(b'sections', b'sectiohs'))
        file.write_bytes(changed[damage])
    del said[:]
    assert texts_of(build(cfg, folder)) == ['one', 'two']
    (line,) = [line for level, line in said if level == 'WARNING']
    assert 'list.json' in line and 'made again' in line and str(file) in line
    del said[:]
    build(cfg, folder)
    assert not any('again' in line or 'once' in line for _, line in said)


def test_a_damaged_record_is_no_sample(tmp_path):
    cfg, folder = captions(tmp_path, ['one', 'two', 'three']), tmp_path / 'cache'
    build(cfg, folder)
    (file,) = folder.rglob('*.arrow')
    file.write_bytes(file.read_bytes().replace(b'two', b'twa'))
    dataset = build(cfg, folder)
    assert dataset.get_data_info(0)['text'] == 'one'
    with pytest.raises(ValueError, match=rf'{file}: record 1 is damaged.*start again'):
        dataset.get_data_info(1)
    assert texts_of(build(cfg, folder)) == ['one', 'two', 'three']


def test_any_changed_byte_is_noticed(tmp_path):
    file, records = tmp_path / 'some.arrow', [dict(a=i, b='x' * (i % 40)) for i in range(5000)]
    with RecordWriter(file, dict(classes=('a', 'b'))) as writer:
        writer.extend(records)
    whole, rng = file.read_bytes(), np.random.default_rng(0)
    for place in rng.integers(len(whole), size=40):
        changed = bytearray(whole)
        changed[place] ^= 1 + int(rng.integers(255))
        file.write_bytes(changed)
        try:
            found = RecordFile(file)
            same = list(StoredRecords(found)) == records
            assert same and found.header == dict(classes=('a', 'b'))
        except DamagedRecords as error:
            assert str(file) in str(error)


@pytest.mark.parametrize(
    'value', [10**30, np.float64(1), object(), np.array([object()]), {'a': [Path('x')]}]
)
def test_only_plain_data_is_stored(value, tmp_path):
    with pytest.raises(CannotStore), RecordWriter(tmp_path / 'some.arrow', {}) as writer:
        writer.extend([value])


def test_what_is_stored_comes_back(tmp_path):
    records = [
        (1, 'é\udcff', ['a', (2.5, None, True)]),
        {'x': {1, 2}, 3: frozenset('a'), 'bytes': b'\x00', 'nan': float('inf')},
        -(2**63),
        dict(same=[dict(a=1, b=(2,)), dict(a=3, b=None)], order=[dict(a=1, b=2), dict(b=3, a=4)]),
        dict(one=[{}], none=[], mixed=[dict(a=1), [2]], deep=[[dict(a=[dict(b=1), dict(b=2)])]]),
        dict(array=np.arange(6, dtype=np.int32).reshape(2, 3)),
    ]
    with RecordWriter(tmp_path / 'some.arrow', {}) as writer:
        writer.extend(records)
    assert repr(list(StoredRecords(RecordFile(tmp_path / 'some.arrow')))) == repr(records)


# ------------------------------------------------------------------ errors and fallbacks
@pytest.mark.parametrize(
    'cfg, file, change',
    [
        (COCO, 'coco/annotations/instances_train2017.json', ('"bbox": [', '"bbox": [-1, ')),
        (ODVG, 'gqa/final_mixed_train_no_coco_vg.json', ('"caption": "', '"caption": 7, "x": "')),
        (KARPATHY, 'karpathy/dataset_coco.json', ('"split": ', '"spilt": ')),
        (MIXED, 'mdetr_annotations/final_mixed_train_no_coco.json', ('"vg"', '"vq"')),
    ],
)
def test_faults_of_a_file_are_said_as_without_a_cache(
    cfg, file, change, root, tmp_path, monkeypatch
):
    monkeypatch.chdir(root)
    path = Path('data') / file
    whole = path.read_text(encoding='utf-8')
    try:
        path.write_text(whole.replace(*change, 1), encoding='utf-8')
        with pytest.raises(ValueError) as plain:
            build(cfg)
        with pytest.raises(ValueError) as cached:
            build(cfg, tmp_path)
    finally:
        path.write_text(whole, encoding='utf-8')
    assert str(cached.value) == str(plain.value) and type(cached.value) is type(plain.value)
    assert not [file for file in tmp_path.rglob('*') if file.suffix in ('.arrow', '.part')]


class FullDisk:
    """A file on a disk with room for some bytes."""

    def __init__(self, path, mode):
        self.file, self.room = open(path, mode), 2000

    def write(self, data):
        self.room -= len(data)
        if self.room < 0:
            raise OSError(errno.ENOSPC, 'No space left on device')
        return self.file.write(data)

    def __getattr__(self, name):
        return getattr(self.file, name)


@pytest.mark.parametrize('why', ['full', 'no room', 'no folder', 'extra', 'attribute'])
def test_without_a_cache_a_dataset_reads_its_file(why, root, tmp_path, monkeypatch, said):
    monkeypatch.chdir(root)
    plain, lines = content(build(COCO)), list(said)
    folder, level, words = tmp_path / 'cache', 'WARNING', 'is full: make room.*FIBER_CACHE'
    if why == 'full':
        monkeypatch.setattr(stored_records, 'open', FullDisk, raising=False)
    elif why == 'no room':
        monkeypatch.setattr(shutil, 'disk_usage', lambda folder: shutil._ntuple_diskusage(9, 9, 0))
        words = 'has 0 MB left: make room.*annotation_cache'
    elif why == 'no folder':
        (tmp_path / 'file').touch()
        folder, words = tmp_path / 'file/cache', 'cannot be written.*FIBER_CACHE'
    elif why == 'extra':
        monkeypatch.setitem(sys.modules, 'pyarrow', None)
        level, words = 'INFO', r'needs pyarrow: .*fiber_mmdet\[annotations\]'
    else:
        whole = PromptCocoDataset.load_data_list

        def load(self):
            self.opened = object()
            return whole(self)

        monkeypatch.setattr(PromptCocoDataset, 'load_data_list', load)
        words = 'its attribute opened holds a object'
    del said[:]
    assert content(build(COCO, folder)) == plain
    (line,) = [line for line in said if 'because there is no cache' in line[1]]
    assert line[0] == level and re.search(words, line[1]) and 'instances_train2017.json' in line[1]
    assert of_reader(said)[-len(lines) :] == lines
    assert not [file for file in tmp_path.rglob('*') if file.suffix in ('.arrow', '.part')]


def test_leftovers_of_a_killed_process_are_removed(tmp_path):
    cfg, folder = captions(tmp_path, ['one']), tmp_path / 'cache'
    build(cfg, folder)
    (file,) = folder.rglob('*.arrow')
    left = part_of(file.parent / 'records', 2**22 + 1)
    left.write_bytes(b'half')
    file.unlink()
    build(cfg, folder)
    assert not left.exists()


class OwnDataset(CachedAnnotations):
    """A reader that returns a list, and leaves something beside it."""

    def load_data_list(self):
        rows = json.loads(Path(self.ann_file).read_text())
        self.longest = max(rows, key=len)
        return [dict(img_path=row, size=(1, len(row))) for row in rows]


def test_readers_that_know_nothing_of_it_are_cached_as_well(tmp_path):
    (tmp_path / 'rows.json').write_text('["a", "bcd", "ef"]')
    for _ in range(2):
        dataset = OwnDataset(
            str(tmp_path / 'rows.json'), annotation_cache=str(tmp_path), annotation_cache_from=0
        )
        assert isinstance(dataset.data_list, StoredRecords)
        assert dataset.longest == 'bcd'
        assert dataset.get_data_info(2) == dict(img_path='ef', size=(1, 2), sample_idx=2)


def build_and_tell(cfg, folder, reads, results):
    read = WebCaptionDataset.read_images

    def slowly(self):
        with open(reads, 'a') as file:
            file.write('read\n')
        time.sleep(0.3)
        return read(self)

    WebCaptionDataset.read_images = slowly
    results.put(texts_of(build(cfg, folder)))


def test_one_process_reads_and_the_others_wait(tmp_path):
    context = multiprocessing.get_context('fork')
    results, cfg = context.Queue(), captions(tmp_path, ['one', 'two'])
    arguments = (cfg, tmp_path / 'cache', tmp_path / 'reads', results)
    processes = [context.Process(target=build_and_tell, args=arguments) for _ in range(3)]
    for process in processes:
        process.start()
    assert [results.get(timeout=60) for _ in processes] == [['one', 'two']] * 3
    for process in processes:
        process.join()
    assert (tmp_path / 'reads').read_text() == 'read\n'
