"""tools/make_shards.py: shards with the same samples, whatever interrupts it."""

import json
import runpy
import sys
import tarfile
from pathlib import Path

import pytest
from mmdet.registry import DATASETS
from mmengine.registry import DefaultScope

from fiber_mmdet.datasets.shards import writing
from fiber_mmdet.datasets.shards.names import read_index
from fiber_mmdet.datasets.shards.streams import Lane
from fiber_mmdet.datasets.shards.writing import (
    JOURNAL,
    CaptionedImages,
    ShardFolder,
    make_shards,
)
from made_shards import PIPELINE, image, number_of, write_json

pytest.importorskip('webdataset', reason='needs the extra shards')
TOOL = Path(__file__).resolve().parents[2] / 'tools/make_shards.py'


@pytest.fixture
def run(monkeypatch, tmp_path):
    """Runs the tool on eight images with two captions each; returns the exit code."""
    source = write_json(tmp_path / 'json', 8, captions=2)

    def run(*arguments, source=source):
        given = [source, tmp_path / 'out', *arguments]
        monkeypatch.setattr(sys, 'argv', ['make_shards.py', *map(str, given)])
        return runpy.run_path(str(TOOL))['main']()

    return run


def contents(folder):
    return {path.name: path.read_bytes() for path in sorted(folder.glob('*.tar'))}


def dataset(folder, **cfg):
    given = dict(
        type='WebImageTextDataset',
        shards='*.tar',
        data_root=str(folder),
        caption_field='captions',
        shuffle=1,
        pipeline=PIPELINE,
    )
    with DefaultScope.overwrite_default_scope('mmdet'):
        return DATASETS.build(dict(given, **cfg))


def test_samples_and_index(run, tmp_path, capsys):
    assert run('--samples', 3) == 0
    assert '8 images in 3 shards' in capsys.readouterr().out
    out = tmp_path / 'out'
    assert sorted(path.name for path in out.iterdir()) == [
        '00000.tar',
        '00001.tar',
        '00002.tar',
        'index.json',
    ]
    made = dataset(out, texts_per_image=2)
    assert made.samples() == 8
    facts = read_index(made.shards)
    assert [facts[name].samples for name in made.shards] == [3, 3, 2]
    assert [facts[name].size for name in made.shards] == [len(x) for x in contents(out).values()]
    samples = made.open_stream(Lane(0, 1, (0,)), None)
    for number, sample in zip(range(8), samples):
        first, second = sample['data_samples'].samples
        assert number_of(sample) == number and first.image_id == f'{number}.png'
        assert [first.text, second.text] == [f'caption {i} of {number}' for i in (0, 1)]
    with tarfile.open(out / '00000.tar') as archive:
        names = ['000000000.json', '000000000.png', '000000000.txt']
        assert archive.getnames()[:3] == names
        assert archive.extractfile(names[1]).read() == image(0)  # as it was
    assert number_of(dataset(out).prepare_data(7)) == 7


def test_once_more(run, tmp_path, capsys):
    assert run('--samples', 3, '--shuffle', 1) == 0
    made = contents(tmp_path / 'out')
    assert run('--samples', 3, '--shuffle', 1) == 0
    assert 'is complete already' in capsys.readouterr().out
    assert run('--samples', 5) == 1
    assert 'made with another samples, shuffle' in capsys.readouterr().err
    assert contents(tmp_path / 'out') == made
    assert run('--samples', 5, '--overwrite') == 0
    assert len(contents(tmp_path / 'out')) == 2


def test_size_of_shards(run, tmp_path, monkeypatch):
    source = tmp_path / 'json/captions.json'
    images = CaptionedImages(build(source))
    folder = ShardFolder(tmp_path / 'small', {})
    assert [s.images for s in make_shards(images, folder, 100, 2 * len(image(0)))] == [2, 2, 2, 2]


def build(source):
    with DefaultScope.overwrite_default_scope('mmdet'):
        return DATASETS.build(
            dict(type='WebCaptionDataset', ann_file=source.name, data_root=str(source.parent))
        )


def test_killed_and_resumed(run, tmp_path):
    """A run that ends at any moment leaves whole shards, and the next one goes on."""
    images = CaptionedImages(build(tmp_path / 'json/captions.json'), shuffle=3)
    whole = ShardFolder(tmp_path / 'whole', dict(a=1))
    list(make_shards(images, whole, 3, 2**30))
    out = tmp_path / 'again'
    work = make_shards(images, ShardFolder(out, dict(a=1)), 3, 2**30)
    next(work)
    work.close()  # killed within the second shard: nothing was noted of it
    (out / '.00001.tar.1.999999999.part').write_bytes(b'half')
    (out / '00001.tar').write_bytes(b'renamed, but not in the journal')
    with open(out / JOURNAL, 'a') as journal:
        journal.write('{"url": "000')
    again = ShardFolder(out, dict(a=1))
    assert again.done == 3 and not again.complete
    assert [shard.url for shard in make_shards(images, again, 3, 2**30)] == [
        '00001.tar',
        '00002.tar',
    ]
    assert contents(out) == contents(tmp_path / 'whole')
    assert (out / 'index.json').read_text() == (tmp_path / 'whole/index.json').read_text()
    assert not list(out.glob('.*'))


def test_full_disk(run, tmp_path, monkeypatch, capsys):
    written = []

    def write(*arguments):
        written.append(1)
        if len(written) == 5:
            raise OSError(28, 'No space left on device')
        return sample(*arguments)

    sample = writing._sample
    monkeypatch.setattr(writing, '_sample', write)
    assert run('--samples', 3) == 1
    assert 'No space left' in capsys.readouterr().err
    assert list(contents(tmp_path / 'out')) == ['00000.tar']
    assert not list((tmp_path / 'out').glob('*.part'))
    assert run('--samples', 3) == 0
    assert '1 shards are there, of 3 images' in capsys.readouterr().out
    assert dataset(tmp_path / 'out').samples() == 8


def test_unreadable_images(run, tmp_path, capsys):
    (tmp_path / 'json/2.png').write_bytes(b'no image')
    (tmp_path / 'json/5.png').unlink()
    assert run('--samples', 1) == 1
    out = capsys.readouterr().out
    assert '6 images in 6 shards' in out and '2 of 8 images are left out' in out
    assert f'{tmp_path}/json/2.png' in out and f'{tmp_path}/json/5.png' in out
    assert json.loads((tmp_path / 'out/index.json').read_text())['shardlist'][2]['url'] == (
        '00002.tar'
    )


@pytest.mark.parametrize(
    'arguments, said',
    [
        (('--part', 0), 'is no config'),
        (('--cfg-options', 'a=1'), 'is no config'),
    ],
)
def test_wrong_arguments(arguments, said, run, capsys):
    assert run(*arguments) == 1
    assert said in capsys.readouterr().err


def test_other_folders_and_datasets(run, tmp_path, capsys):
    (tmp_path / 'out').mkdir()
    (tmp_path / 'out' / '00000.tar').write_bytes(b"somebody's")
    assert run() == 1
    assert 'choose an empty folder' in capsys.readouterr().err
    config = tmp_path / 'config.py'
    config.write_text(
        f"train_dataloader = dict(dataset=dict(type='ConcatDataset', datasets=["
        f"dict(type='WebCaptionDataset', ann_file='captions.json', data_root='{tmp_path}/json'),"
        "dict(type='NLVR2Dataset')]))"
    )
    (tmp_path / 'out' / '00000.tar').unlink()
    assert run('--part', 2, source=config) == 1
    assert 'has a list of 2 datasets' in capsys.readouterr().err
    assert run('--part', 0, source=config) == 0
    assert '8 images in 1 shards' in capsys.readouterr().out
    with pytest.raises(ValueError, match='other than images with captions'):
        CaptionedImages(dataset(tmp_path / 'out'))
