"""Annotation files that stay on disk: never the samples of another file, and never none."""

import errno
import importlib
import json
import multiprocessing
import re
import shutil
import sys
import time
from pathlib import Path
from types import ModuleType

import pytest
from filelock import FileLock

from cached_readers import (
    COCO,
    KARPATHY,
    MIXED,
    ODVG,
    build,
    captions,
    content,
    of_reader,
    texts_of,
)
from fiber_mmdet import caches
from fiber_mmdet.datasets import (
    PromptCocoDataset,
    WebCaptionDataset,
    annotation_cache,
    stored_records,
)
from fiber_mmdet.datasets.cached_annotations import CachedAnnotations
from fiber_mmdet.datasets.stored_records import RecordWriter, StoredRecords
from fiber_mmdet.whole_files import part_of

pytest.importorskip('pyarrow', reason='caches need pyarrow')
pytest.importorskip('msgpack', reason='caches need msgpack')


# ------------------------------------------------------------------------- stale ones
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


class NoLocks(FileLock):
    """A lock of an older release of filelock, on a file system without locks."""

    def acquire(self, *args, **kwargs):
        raise NotImplementedError('use SoftFileLock instead')


@pytest.mark.parametrize('why', ['full', 'no room', 'no folder', 'no locks', 'extra', 'attribute'])
def test_without_a_cache_a_dataset_reads_its_file(why, root, tmp_path, monkeypatch, said):
    monkeypatch.chdir(root)
    plain, lines = content(build(COCO)), list(said)
    folder, level, words = tmp_path / 'cache', 'WARNING', 'is full: make room.*FIBER_CACHE'
    if why == 'full':
        monkeypatch.setattr(stored_records, 'open', FullDisk, raising=False)
    elif why == 'no room':
        monkeypatch.setattr(shutil, 'disk_usage', lambda folder: shutil._ntuple_diskusage(9, 9, 0))
        words = 'has 0 MB left.* make room.*annotation_cache'
    elif why == 'no folder':
        (tmp_path / 'file').touch()
        folder, words = tmp_path / 'file/cache', 'cannot be written.*FIBER_CACHE'
    elif why == 'no locks':
        monkeypatch.setattr(caches, 'FileLock', NoLocks)
        words = 'cannot be written .no locks.*FIBER_CACHE'
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


def own(kind, folder):
    return kind(
        str(folder / 'rows.json'), annotation_cache=str(folder / 'cache'), annotation_cache_from=0
    )


def test_readers_that_know_nothing_of_it_are_cached_as_well(tmp_path):
    (tmp_path / 'rows.json').write_text('["a", "bcd", "ef"]')
    for _ in range(2):
        dataset = own(OwnDataset, tmp_path)
        assert isinstance(dataset.data_list, StoredRecords)
        assert dataset.longest == 'bcd'
        assert dataset.get_data_info(2) == dict(img_path='ef', size=(1, 2), sample_idx=2)


def test_a_class_counts_as_it_was_imported(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(sys, 'dont_write_bytecode', True)  # of files of the same second
    (tmp_path / 'rows.json').write_text('[]')
    code = (
        'from fiber_mmdet.datasets.cached_annotations import CachedAnnotations\n'
        'class Rows(CachedAnnotations):\n'
        '    def load_data_list(self):\n'
        "        return [dict(img_path='first')]\n"
    )
    file = tmp_path / 'own_rows.py'
    file.write_text(code)
    module = importlib.import_module('own_rows')
    file.write_text(code.replace('first', 'other'))
    assert own(module.Rows, tmp_path).get_data_info(0)['img_path'] == 'first'
    assert own(importlib.reload(module).Rows, tmp_path).get_data_info(0)['img_path'] == 'other'


def test_a_class_of_a_notebook_has_no_cache(tmp_path, monkeypatch, said):
    (tmp_path / 'rows.json').write_text('["a"]')
    monkeypatch.setitem(sys.modules, 'cell', ModuleType('cell'))
    kind = type('Cell', (OwnDataset,), dict(__module__='cell'))
    dataset = own(kind, tmp_path)
    assert dataset.get_data_info(0)['img_path'] == 'a'
    assert not isinstance(dataset.data_list, StoredRecords)
    (line,) = [line for level, line in said if level == 'WARNING']
    assert 'Cell is defined in no file' in line and 'write it into a module' in line


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
