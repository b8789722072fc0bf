"""Datasets of shards are checked and shown without reading them from end to end."""

import json

import pytest
from mmdet.registry import DATASETS
from mmengine.config import ConfigDict
from mmengine.registry import DefaultScope

from fiber_mmdet.datasets.dataset_tree import files_of
from fiber_mmdet.inspection.browsing import PairBrowser, is_image_text
from fiber_mmdet.inspection.data_check import check_data
from fiber_mmdet.text import PromptTokenizer
from made_shards import PIPELINE, image, sample_files, write_json, write_shards, write_tar

pytest.importorskip('webdataset', reason='needs the extra shards')


@pytest.fixture(autouse=True)
def scope():
    with DefaultScope.overwrite_default_scope('mmdet'):
        yield


def web(folder, **cfg):
    given = dict(
        type='WebImageTextDataset', shards='*.tar', data_root=str(folder), pipeline=PIPELINE
    )
    return dict(given, **cfg)  # fmt: skip


def check(dataset, **options):
    tokenizer = dict(name_or_path='fiber_mmdet:mini', max_tokens=6)
    backbone = dict(text=dict(vocab_size=1200))
    cfg = ConfigDict(
        model=dict(type='FIBERForVL', tokenizer=tokenizer, backbone=backbone),
        train_dataloader=dict(dataset=dataset),
    )
    return check_data(cfg, ('train',), **options)


def test_sound_shards(tmp_path):
    write_shards(tmp_path, [4, 5, 3])
    report = check(web(tmp_path), sample=7)
    assert report.faults == []
    (source,) = report.sources
    assert source.looked_at == 7 and source.counts == dict(texts=7, cut=7)
    assert 'no index.json' in source.notes[0] and '7 of 7 texts' in source.notes[1]


def test_broken_shards(tmp_path):
    paths = write_shards(tmp_path, [4, 3])
    write_tar(tmp_path / '00002.tar', {'1.png': image(1), '2.png': b'?', '2.txt': b'a'})
    rows = [
        dict(url=f'0000{i}.tar', nsamples=n, filesize=size)
        for i, n, size in ((0, 4, paths[0].stat().st_size), (1, 3, 5), (2, 2, None))
    ]
    (tmp_path / 'index.json').write_text(json.dumps(dict(shardlist=rows)))
    report = check(web(tmp_path), sample=12)
    (source,) = report.sources
    assert source.counts['samples'] == 9
    assert '1 shards have another size than their index says' in report.faults[0]
    assert '00002.tar, 1: no txt file' in report.faults[1] and '00002.tar, 2: ' in report.faults[1]
    lenient = check(web(tmp_path, max_broken=0.5), sample=12)
    assert len(lenient.faults) == 1


def test_missing_shards(tmp_path):
    write_shards(tmp_path, [2])
    report = check(web(tmp_path, shards='{00000..00002}.tar'))
    assert len(report.missing) == 1 and 'no file' in report.missing[0]
    report = check(web(tmp_path, shards='s3://x/a.tar'))
    assert 'webdataset reads' in report.faults[0]


def test_shards_are_not_overwritten(tmp_path):
    paths = write_shards(tmp_path, [1, 1])
    cfg = dict(train_dataloader=dict(dataset=web(tmp_path, shards='{00000..00001}.tar')))
    assert set(files_of(cfg)) == set(paths)


def test_browsing(tmp_path):
    write_shards(tmp_path / 'a', [2, 3], captions=2)
    write_json(tmp_path / 'json', 2)
    shards = DATASETS.build(web(tmp_path / 'a', caption_field='captions'))
    files = dict(type='WebCaptionDataset', ann_file='captions.json',
                 data_root=str(tmp_path / 'json'), pipeline=PIPELINE)  # fmt: skip
    tokenizer = PromptTokenizer('fiber_mmdet:mini')
    browser = PairBrowser(shards, tokenizer)
    assert is_image_text(shards) and len(browser) == 5
    seen = browser.look(3)
    assert seen.text.caption == 'caption 0 of 3' and seen.path.endswith('00001.tar/000000003.png')
    assert seen.facts == ('other captions: caption 1 of 3',)
    mix = DATASETS.build(
        dict(
            type='WeightedMixDataset',
            datasets=[web(tmp_path / 'a', caption_field='captions'), files],
            weights=[1, 1],
        )
    )
    browser = PairBrowser(mix, tokenizer)
    assert len(browser) == 7
    assert [browser.look(i).text.caption for i in (0, 6)] == ['caption 0 of 0', 'caption 0 of 1']
    write_tar(tmp_path / 'a' / '00002.tar', sample_files(9) | {'x.png': b'?'})
    broken = PairBrowser(DATASETS.build(web(tmp_path / 'a')), tokenizer)
    with pytest.raises(OSError, match='00002.tar, x: no txt file'):
        broken.look(6)
