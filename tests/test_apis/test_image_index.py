"""An index of images on disk: the same hits as in memory, and what may happen to its files."""

import json
import math
import os
import shutil
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from fiber_mmdet.apis import (
    ImageIndex,
    ImageIndexError,
    ImageTextInferencer,
    MissingHead,
    index_building,
)
from fiber_mmdet.apis.indexed_images import image_files
from fiber_mmdet.host import MissingExtra
from fiber_mmdet.images import ImageError
from fiber_mmdet.search import index_writer

pytest.importorskip('faiss', reason='the extra `search` (faiss-cpu) is not installed')

TEXTS = ['a red circle', 'two blue stars and a ring', 'a small heart']


@pytest.fixture
def photos(scenes, tmp_path) -> Path:
    """A folder with the six scenes."""
    folder = tmp_path / 'photos'
    folder.mkdir()
    for scene in scenes:
        shutil.copy2(scene, folder)
    return folder


@pytest.fixture
def index(ask, photos, tmp_path) -> ImageIndex:
    """An index of them."""
    return ImageIndex.build(tmp_path / 'index', ask, photos)


def same_hits(found, expected):
    assert [Path(hit.item).name for hit in found] == [Path(hit.item).name for hit in expected]
    for key in ('score', 'match'):
        values = [[getattr(hit, key) for hit in hits] for hits in (found, expected)]
        if None in values[1]:
            assert values[0] == values[1]
        else:
            np.testing.assert_allclose(*values, atol=2e-6)


# ------------------------------------------------------------------ the same hits
@pytest.mark.parametrize('rerank', (False, True))
def test_hits_are_those_of_a_collection(ask, index, photos, rerank):
    collection = ask.collect(photos)
    for k, candidates in ((2, 3), (6, None), (50, None)):
        expected = ask.retrieve(TEXTS, collection, k, rerank, candidates)
        for found, one in zip(ask.retrieve(TEXTS, index, k, rerank, candidates), expected):
            same_hits(found, one)
            assert [hit.index for hit in found] == [hit.index for hit in one]


def test_search_says_how_many_are_matched(ask, index, photos):
    whole = ask.retrieve(TEXTS[0], ask.collect(photos), k=6, rerank=True)
    same_hits(index.search(TEXTS[0], k=6), whole)
    nearest = index.search(TEXTS[0], k=6, rerank=0)
    assert [hit.match for hit in nearest] == [None] * 6
    two = index.search(TEXTS[0], k=2, rerank=2)
    assert {hit.item for hit in two} == {hit.item for hit in nearest[:2]}
    assert two[0].match >= two[1].match
    assert [len(hits) for hits in index.search(TEXTS, k=4)] == [4, 4, 4]


def test_features_are_those_of_embed_images(ask, index, photos):
    expected = ask.embed_images(photos)
    np.testing.assert_allclose(np.concatenate(index.files.blocks), expected, atol=1e-6)


def test_half_precision_moves_cosines_a_little(ask, photos, tmp_path):
    half = ImageIndex.build(tmp_path / 'half', ask, photos, dtype='float16')
    whole = ask.retrieve(TEXTS[0], ask.collect(photos), k=6)
    cosines = {Path(hit.item).name: hit.score for hit in half.search(TEXTS[0], 6, rerank=0)}
    drift = [abs(cosines[Path(hit.item).name] - hit.score) for hit in whole]
    assert 0 < max(drift) < 5e-4
    assert half.files.blocks[0].dtype == np.float16


@pytest.mark.parametrize('kind', ('hnsw', 'ivf'))
def test_approximate_kinds_and_images_added_after_they_were_built(
    ask, photos, tmp_path, kind, monkeypatch
):
    monkeypatch.setattr('fiber_mmdet.search.nearest.SHARE', 1)
    one = sorted(photos.iterdir())[:3]
    index = ImageIndex.build(tmp_path / kind, ask, one, kind=kind)
    assert index.files.manifest.nearest.kind == kind
    index.add(photos)  # so few are compared one by one
    assert (index.files.manifest.nearest.images, len(index)) == (3, 6)
    whole = ask.retrieve(TEXTS[0], ask.collect(photos), k=6)
    same_hits(index.search(TEXTS[0], 6, rerank=0), whole)
    monkeypatch.setattr('fiber_mmdet.search.index_writer.LATER', 0)
    index.add()
    assert index.files.manifest.nearest.images == 6
    same_hits(index.search(TEXTS[0], 6, rerank=0, effort=math.inf), whole)
    assert len(list(index.files.folder.glob('nearest-*'))) == 1


def test_kept_prefixes_need_no_images(ask, photos, tmp_path):
    built = ImageIndex.build(tmp_path / 'kept', ask, photos, keep_prefixes='float32')
    expected = built.search(TEXTS[1], k=6)
    shutil.rmtree(photos)
    assert built.search(TEXTS[1], k=6) == []
    opened = ImageIndex.open(tmp_path / 'kept', ask, check_files=False)
    same_hits(opened.search(TEXTS[1], k=6), expected)


def test_equal_images_are_both_found(ask, photos, tmp_path):
    first = sorted(photos.iterdir())[0]
    shutil.copy2(first, photos / 'zz.jpg')
    index = ImageIndex.build(tmp_path / 'index', ask, photos)
    hits = {hit.item.name: hit for hit in index.search(TEXTS[0], k=7)}
    assert len(hits) == 7
    same, copy = hits[first.name], hits['zz.jpg']
    assert copy[2:] == pytest.approx(same[2:], abs=2e-6)


# ------------------------------------------------------------------ changes
def test_added_later_is_as_built_at_once(ask, index, photos, tmp_path):
    parts = ImageIndex.build(tmp_path / 'parts', ask, sorted(photos.iterdir())[:2])
    changes = parts.add(photos)
    assert (changes.added, changes.renewed, changes.removed, changes.total) == (4, 0, 0, 6)
    assert len(parts.files.manifest.parts) == 2
    for rerank in (0, 3):
        for found, expected in zip(
            parts.search(TEXTS, 3, rerank=rerank), index.search(TEXTS, 3, rerank=rerank)
        ):
            same_hits(found, expected)
    assert parts.add(photos).added == 0


def test_gone_and_changed_files_are_noticed(ask, index, photos, caplog):
    first, second, *_ = sorted(photos.iterdir())
    Image.open(second).rotate(180).save(second)
    first.unlink()
    found = {hit.item.name for hit in index.search(TEXTS[0], k=6, rerank=0)}
    assert found == {path.name for path in photos.iterdir()} - {second.name}
    assert f'{first} is gone' in caplog.text and f'{second} has changed' in caplog.text
    changes = index.add()
    assert (changes.added, changes.renewed, changes.removed, changes.total) == (0, 1, 1, 5)
    whole = ask.retrieve(TEXTS[0], ask.collect(photos), k=6, rerank=True)
    same_hits(index.search(TEXTS[0], k=6), whole)
    same_hits(ImageIndex.open(index.files.folder, ask).search(TEXTS[0], k=6), whole)


def test_a_touched_file_is_not_encoded_again(index, photos):
    first = sorted(photos.iterdir())[0]
    first.touch()
    assert len(index.search(TEXTS[0], k=6, rerank=0)) == 6
    assert index.add().renewed == 0


def test_a_file_that_is_there_again_is_not_encoded_again(index, photos, tmp_path):
    expected = index.search(TEXTS[0], k=6, rerank=0)
    first = sorted(photos.iterdir())[0]
    first.rename(tmp_path / 'kept.jpg')
    assert index.add().removed == 1 and len(index) == 5
    (tmp_path / 'kept.jpg').rename(first)
    assert index.add(photos).added == 1
    assert len(index.files) == len(index) == 6
    assert index.search(TEXTS[0], k=6, rerank=0) == expected


def test_a_folder_that_moved(ask, index, photos, tmp_path, caplog):
    moved = photos.rename(tmp_path / 'elsewhere')
    assert index.search(TEXTS[0], k=6) == []
    assert len(caplog.messages) == 1 and f'{photos}, where the images of' in caplog.text
    with pytest.raises(ImageIndexError, match='photos, where the images.*root='):
        index.add()
    opened = ImageIndex.open(index.files.folder, ask, root=moved)
    assert len(opened.search(TEXTS[0], k=6)) == 6
    assert opened.search(TEXTS[0], k=1)[0].item.parent == moved
    opened.add()
    assert len(ImageIndex.open(index.files.folder, ask).search(TEXTS[0], k=6)) == 6


def test_broken_images_are_listed_and_read_when_they_are_mended(ask, photos, tmp_path, caplog):
    broken = photos / 'broken.jpg'
    broken.write_bytes(b'no image')
    index = ImageIndex.build(tmp_path / 'index', ask, photos)
    assert len(index) == 6 and list(index.unreadable) == [str(broken)]
    assert '1 images cannot be read' in caplog.text and 'broken.jpg' in caplog.text
    assert list(ImageIndex.open(tmp_path / 'index', ask).unreadable) == [str(broken)]
    shutil.copy2(sorted(photos.glob('*.jpg'))[1], broken)
    assert index.add(photos).added == 1
    assert len(index) == 7 and index.unreadable == {}
    (photos / 'late.jpg').write_bytes(b'no image')
    assert list(index.add(photos).unreadable) == ['late.jpg']
    shutil.copy2(broken, photos / 'late.jpg')
    changes = index.add()
    assert (changes.added, changes.unreadable, len(index)) == (1, {}, 8)


def test_subfolders_and_names_that_are_not_ascii(ask, photos, tmp_path):
    deep = photos / 'tiefer' / 'größer'
    deep.mkdir(parents=True)
    shutil.copy2(sorted(photos.glob('*.jpg'))[0], deep / 'ä ö.jpg')
    assert len(ImageIndex.build(tmp_path / 'flat', ask, photos)) == 6
    (photos / 'round').symlink_to(photos, target_is_directory=True)
    index = ImageIndex.build(tmp_path / 'deep', ask, photos, recursive=True)
    assert deep / 'ä ö.jpg' in {hit.item for hit in index.search(TEXTS[0], k=7)}
    assert len(index) == 7


def test_a_folder_that_cannot_be_listed_is_named(photos, monkeypatch, caplog):
    (photos / 'closed').mkdir()
    scandir = os.scandir

    def refuse(folder):
        if Path(folder).name == 'closed':
            raise PermissionError(13, 'Permission denied', str(folder))
        return scandir(folder)

    monkeypatch.setattr(os, 'scandir', refuse)
    assert len(list(image_files([photos], recursive=True))) == 6
    assert f'{photos / "closed"} cannot be listed (Permission denied)' in caplog.text


# ------------------------------------------------------------------ faults
def test_a_killed_build_goes_on(ask, index, photos, tmp_path, monkeypatch, caplog):
    monkeypatch.setattr(index_building, 'PART_IMAGES', 2)
    monkeypatch.setattr(ask, 'batch_size', 2)
    folder, encoded = tmp_path / 'killed', []
    encode = ask.model.encode_image

    def killed(pixels):
        encoded.append(len(pixels))
        if len(encoded) == 3:
            raise SystemExit('killed')
        return encode(pixels)

    monkeypatch.setattr(ask.model, 'encode_image', killed)
    with pytest.raises(SystemExit):
        ImageIndex.build(folder, ask, photos)
    (folder / 'part-00002.features.npy').write_bytes(b'half of a part')
    partial = ImageIndex.open(folder, ask)
    assert len(partial) == 4 and 'was interrupted' in caplog.text
    assert len(partial.search(TEXTS[0], k=6, rerank=0)) == 4
    again = ImageIndex.build(folder, ask, photos)
    assert encoded == [2, 2, 2, 2] and again.changes.added == 2
    same_hits(again.search(TEXTS[0], 6, rerank=0), index.search(TEXTS[0], 6, rerank=0))


def test_small_parts_are_merged(ask, index, photos, tmp_path, monkeypatch):
    monkeypatch.setattr(index_building, 'PART_IMAGES', 1)
    monkeypatch.setattr(ask, 'batch_size', 1)
    monkeypatch.setattr(index_writer, 'SMALL_PARTS', 3)
    monkeypatch.setattr(index_writer, 'LARGE', 4)
    small = ImageIndex.build(tmp_path / 'small', ask, photos, keep_prefixes='float32')
    manifest = small.files.manifest
    assert [part.images for part in manifest.parts] == [4, 1, 1]
    assert [part.images for part in manifest.prefix_parts] == [1] * 6
    names = {part.name for part in manifest.parts}
    assert {file.name.split('.')[0] for file in small.files.folder.glob('part-*')} == names
    assert [file.name for _, file in small.files.files()] == [
        path.name for path in sorted(photos.iterdir())
    ]
    opened = ImageIndex.open(tmp_path / 'small', ask)
    for rerank in (0, 6):
        same_hits(
            opened.search(TEXTS[0], 6, rerank=rerank), index.search(TEXTS[0], 6, rerank=rerank)
        )


def test_a_full_disk_is_one_line_and_loses_nothing(ask, photos, tmp_path, monkeypatch):
    monkeypatch.setattr(index_building, 'PART_IMAGES', 2)
    monkeypatch.setattr(ask, 'batch_size', 2)
    folder, save = tmp_path / 'full', np.save

    def full(file, array, **options):
        if 'part-00001' in str(file.name):
            raise OSError(28, 'No space left on device')
        save(file, array, **options)

    with monkeypatch.context() as patch:
        patch.setattr('numpy.save', full)
        with pytest.raises(ImageIndexError, match='the disk is full.*the 2 images') as caught:
            ImageIndex.build(folder, ask, photos)
    assert '\n' not in str(caught.value)
    assert len(ImageIndex.open(folder, ask)) == 2
    assert ImageIndex.build(folder, ask, photos).changes.added == 4
    assert sorted(path.name for path in folder.glob('part-*.npy')) == [
        f'part-0000{n}.{what}.npy' for n in range(3) for what in ('features', 'files')
    ]


@pytest.mark.parametrize('name', ('part-00000.features.npy', 'part-00000.names', 'index.json'))
@pytest.mark.parametrize('how', ('cut', 'gone'))
def test_damaged_files_are_named(ask, index, name, how):
    path = index.files.folder / name
    if how == 'cut':
        path.write_bytes(path.read_bytes()[:-20])
    else:
        path.unlink()
    with pytest.raises(ImageIndexError, match=name.partition('.')[0]):
        ImageIndex.open(index.files.folder, ask)


def test_a_damaged_graph_is_built_again(ask, photos, tmp_path, monkeypatch):
    monkeypatch.setattr('fiber_mmdet.search.nearest.SHARE', 1)
    index = ImageIndex.build(tmp_path / 'graph', ask, photos, kind='hnsw')
    file = next(index.files.folder.glob('nearest-*'))
    file.write_bytes(file.read_bytes()[:100])
    with pytest.raises(ImageIndexError, match=f'{file.name} is damaged.*fiber index'):
        ImageIndex.open(index.files.folder, ask).search(TEXTS[0])
    index.add()
    assert len(index.search(TEXTS[0], k=6)) == 6


def test_a_damaged_prefix_is_computed_again(ask, photos, tmp_path, caplog):
    index = ImageIndex.build(tmp_path / 'kept', ask, photos, keep_prefixes='float16')
    expected = index.search(TEXTS[0], k=6)
    shard = index.files.folder / 'prefixes-00000/shard-00000.npy'
    content = bytearray(shard.read_bytes())
    content[200:260] = bytes(60)
    shard.write_bytes(content)
    found = ImageIndex.open(tmp_path / 'kept', ask).search(TEXTS[0], k=6)
    assert 'read again instead' in caplog.text
    assert {hit.item for hit in found} == {hit.item for hit in expected}


# ------------------------------------------------------------------ refusals
def test_another_model_is_refused_by_name(model_files, index, tmp_path):
    config, weights = model_files
    state = torch.load(weights, weights_only=True)
    next(iter(state['state_dict'].values())).add_(0.5)
    torch.save(state, tmp_path / 'other.pth')
    other = ImageTextInferencer(config, tmp_path / 'other.pth', device='cpu')
    with pytest.raises(ImageIndexError, match=r'made by another model, .*weights\.pth.*other\.pth'):
        ImageIndex.open(index.files.folder, other)
    with pytest.raises(ImageIndexError, match='another model'):
        ImageIndex.build(index.files.folder, other, index.root)
    turned = ImageTextInferencer(config, weights, device='cpu', upright=False)
    with pytest.raises(ImageIndexError, match='prepared in another way.*upright=True'):
        ImageIndex.open(index.files.folder, turned)


def test_what_cannot_be_built(ask, index, photos, tmp_path):
    with pytest.raises(ValueError, match="kind='flat' must be one of 'auto', 'exact'"):
        ImageIndex.build(tmp_path / 'new', ask, photos, kind='flat')
    with pytest.raises(ImageIndexError, match='files that are no index'):
        ImageIndex.build(photos, ask, photos)
    with pytest.raises(ImageIndexError, match='dtype=float32, not float16'):
        ImageIndex.build(index.files.folder, ask, photos, dtype='float16')
    with pytest.raises(ImageIndexError, match='no index of images.*fiber index'):
        ImageIndex.open(tmp_path / 'nowhere', ask)
    with pytest.raises(FileNotFoundError, match='nothing'):
        ImageIndex.build(tmp_path / 'new', ask, tmp_path / 'nothing')
    with pytest.raises(ImageError, match='image files'):
        index.add([np.zeros((8, 8, 3), np.uint8)])
    with pytest.raises(ValueError, match='k=0'):
        index.search('a', k=0)
    assert not (tmp_path / 'new').exists()


def test_a_model_without_contrast_or_without_matching(tiny_scenes, photos, tmp_path):
    from image_text_model import make_config

    only = ImageTextInferencer(make_config(tiny_scenes, heads=['itm']), 'random', 'cpu')
    with pytest.raises(MissingHead, match='an index of images'):
        ImageIndex.build(tmp_path / 'new', only, photos)
    nearest = ImageTextInferencer(make_config(tiny_scenes, heads=['itc']), 'random', 'cpu')
    index = ImageIndex.build(tmp_path / 'new', nearest, photos)
    assert [hit.match for hit in index.search(TEXTS[0], k=2)] == [None, None]
    with pytest.raises(MissingHead, match='rerank'):
        index.search(TEXTS[0], rerank=4)


def test_without_faiss_the_extra_is_named(ask, photos, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, 'faiss', None)
    with pytest.raises(MissingExtra, match=r'fiber_mmdet\[search\]'):
        ImageIndex.build(tmp_path / 'new', ask, photos)
    assert not (tmp_path / 'new').exists()


# ------------------------------------------------------------------ by the inferencer
def test_collect_with_an_index(ask, photos, tmp_path):
    folder = tmp_path / 'index'
    index = ask.collect(sorted(photos.iterdir())[:2], index=folder)
    assert len(index) == 2
    assert len(ask.collect(photos, index=folder)) == 6
    same_hits(
        ask.retrieve(TEXTS[0], ask.collect(index=folder), k=3),
        ask.retrieve(TEXTS[0], ask.collect(photos), k=3),
    )
    with pytest.raises(ImageError, match='or open an index'):
        ask.collect()
    with pytest.raises(ValueError, match='finds images for texts'):
        ask.describe(index, TEXTS)


def test_the_packaged_model_finds_what_the_exhaustive_way_finds(tiny_scenes, tmp_path):
    """Matching the nearest 6 of 24 scenes finds for each caption what matching all finds."""
    ask = ImageTextInferencer(device='cpu', batch_size=8)
    folders = [tiny_scenes / 'images' / split for split in ('train', 'val', 'test')]
    written = json.loads((tiny_scenes / 'annotations/captions_karpathy.json').read_text())
    captions = [
        image['sentences'][0]['raw'] for image in written['images'] if image['split'] == 'test'
    ]
    index = ImageIndex.build(tmp_path / 'index', ask, folders)
    everything = ask.retrieve(captions, ask.collect(folders), k=1, rerank=True, candidates=24)
    for found, expected in zip(index.search(captions, k=1, rerank=6), everything):
        same_hits(found, expected)
