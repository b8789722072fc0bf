"""tools/check_data.py as people run it, on generated scenes."""

import runpy
import sys
from pathlib import Path

import pytest
from mmengine.config import Config
from PIL import Image

CHECKOUT = Path(__file__).resolve().parents[2]


@pytest.fixture
def run(monkeypatch, tmp_path, tiny_scenes):
    """Runs the tool on the config of the scenes, with their data at ``root``."""

    def run(*arguments, root=tiny_scenes, config='fiber_mini_scenes'):
        text = Config.fromfile(CHECKOUT / f'configs/scenes/{config}.py').pretty_text
        (tmp_path / 'config.py').write_text(text.replace('data/scenes/', f'{root}/'))
        monkeypatch.setattr(
            sys, 'argv', ['check_data.py', str(tmp_path / 'config.py'), *map(str, arguments)]
        )
        return runpy.run_path(str(CHECKOUT / 'tools/check_data.py'))['main']()

    return run


def test_sound_data(run, capsys):
    assert run('--sample', 5) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[-1] == 'no problems found'
    rows = [line.split() for line in lines if not line.startswith('    ')]
    (first,) = (row for row in rows if row[1].endswith('annotations/coco_train.json'))
    assert first[0] == 'train' and first[2:4] == ['12', '12']
    (texts,) = (row for row in rows if row[1].endswith('annotations/grounding_train.json'))
    assert texts[-2:] == ['captions', '5']
    (val,) = (row for row in rows if row[0] == 'val')
    assert val[6:8] == ['64', 'categories']
    assert sum(line.startswith('    boxes per name: ') for line in lines) >= 3


def test_missing_data(run, tmp_path, capsys):
    assert run('--splits', 'val', root=tmp_path / 'nowhere') == 1
    lines = capsys.readouterr().out.splitlines()
    problems = [line for line in lines if line.startswith('PROBLEM: ')]
    assert len(problems) == 2 and lines[-1] == '2 problems'
    assert 'val_dataloader.dataset.ann_file, val_evaluator.ann_file' in problems[0]


def test_options(run, capsys):
    assert run('--splits', 'test', '--tokenizer', '/no/such') == 1
    assert "'/no/such' does not exist" in capsys.readouterr().out
    assert (
        run('--splits', 'test', '--cfg-options', 'test_dataloader.dataset.ann_file=gone.json') == 1
    )
    assert '/gone.json' in capsys.readouterr().out
    assert run('--cfg-options', 'data_root=elsewhere/') == 1
    assert 'val_dataloader.dataset.data_root=elsewhere/' in capsys.readouterr().err


@pytest.mark.parametrize(
    'task, rows',
    [('vqa', ['12', '30', '30']), ('nlvr2', ['12', '12', '12']), ('retrieval', ['24', '6', '6'])],
)
def test_image_text_tasks(run, capsys, task, rows):
    """Counts of the generated files, of training, validation and test."""
    assert run('--sample', 3, config=f'fiber_mini_scenes_{task}') == 0
    out = capsys.readouterr().out
    assert out.splitlines()[-1] == 'no problems found'
    lines = [line.split() for line in out.splitlines() if line.startswith(('train', 'val', 'test'))]
    assert [line[0] for line in lines] == ['train', 'val', 'test']
    assert [next(cell for cell in line if cell.isdigit()) for line in lines] == rows
    assert 'with boxes' not in out and 'images' in out


def test_where_the_boxes_are(run, tiny_scenes, tmp_path, capsys):
    out = tmp_path / 'boxes.png'
    assert run('--sample', 1, '--drawing', out) == 0
    image = Image.open(out).convert('RGB')
    assert image.width > 3 * image.height / 4  # four names in a row, three rows
    assert run('--splits', 'val', '--drawing', out) == 1
    assert 'no box to draw' in capsys.readouterr().err
    assert run('--drawing', tmp_path / 'boxes.xyz') == 1
    assert 'ending of a drawing' in capsys.readouterr().err
    photo = next((tiny_scenes / 'images/train').iterdir())
    before = photo.read_bytes()
    assert run('--sample', 1, '--drawing', photo) == 1 and photo.read_bytes() == before
    assert 'is read as well' in capsys.readouterr().err
