"""`fiber index` and `fiber retrieve --index` as people run them."""

import json
import runpy
import shutil
import sys
from pathlib import Path

import pytest

from fiber_mmdet.apis import ImageIndex
from image_text_model import ask, model_files, scenes  # noqa: F401

pytest.importorskip('faiss', reason='the extra `search` (faiss-cpu) is not installed')

TOOLS = Path(__file__).resolve().parents[2] / 'tools'


@pytest.fixture
def run(monkeypatch, model_files):
    """Runs a tool with the tiny model; returns its exit code."""

    def run(tool, *arguments):
        model = ('--config', model_files[0], '--weights', model_files[1], '--device', 'cpu')
        monkeypatch.setattr(sys, 'argv', [tool, *map(str, (*arguments, *model))])
        return runpy.run_path(str(TOOLS / tool))['main']()

    return run


def test_a_folder_is_indexed_and_searched(run, ask, scenes, tmp_path, capsys):
    photos, index = tmp_path / 'photos', tmp_path / 'index'
    shutil.copytree(scenes[0].parent, photos)
    assert run('index_images.py', photos, index) == 0
    assert f'{index}: 6 images, 6 new' in capsys.readouterr().out
    texts = ['a red ring', 'two stars']
    out = tmp_path / 'found.png'
    options = ('--top', '2', '--rerank', '--candidates', '3', '--out', out)
    assert run('demo_image_text.py', 'retrieve', '--index', index, *texts, *options) == 0
    found = json.loads(out.with_suffix('.json').read_text())
    expected = ask.retrieve(texts, photos, 2, rerank=True, candidates=3)
    assert [record['text'] for record in found] == texts
    for record, hits in zip(found, expected):
        assert [one['image'] for one in record['images']] == [str(hit.item) for hit in hits]
    (photos / 'broken.png').write_text('nothing')
    next(photos.glob('*.jpg')).unlink()
    assert run('index_images.py', photos, index) == 1
    said = capsys.readouterr()
    assert '5 images, 0 new, 1 left out, since their files are gone, 1 that cannot be read' in (
        said.out
    )
    assert len(ImageIndex.open(index, ask)) == 5


def test_errors_are_one_line(run, scenes, tmp_path, capsys):
    assert run('index_images.py', scenes[0].parent, scenes[0].parent) == 1
    error = capsys.readouterr().err.strip().splitlines()[-1]
    assert error.startswith('error:') and 'no index of images: name an empty folder' in error
    with pytest.raises(SystemExit):
        run('demo_image_text.py', 'retrieve', 'one text')
    assert '--index DIR' in capsys.readouterr().err
    assert run('demo_image_text.py', 'retrieve', '--index', tmp_path / 'no', 'a text') == 1
    assert 'fiber index IMAGES FOLDER' in capsys.readouterr().err
