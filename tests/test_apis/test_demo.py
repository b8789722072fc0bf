"""tools/demo.py as people run it."""

import json
import runpy
import sys
from pathlib import Path

import pytest

DEMO = Path(__file__).resolve().parents[2] / 'tools' / 'demo.py'


@pytest.fixture
def demo(monkeypatch, config_file, weights_file):
    """Runs the demo with the tiny detector; returns the exit code."""

    def run(*args):
        model = ['--config', config_file, '--weights', weights_file, '--device', 'cpu']
        monkeypatch.setattr(sys, 'argv', ['demo.py', *map(str, [*args, *model])])
        return runpy.run_path(str(DEMO))['main']()

    return run


def test_packaged_scene(demo, tmp_path, capsys):
    drawing, detections = tmp_path / 'out.jpg', tmp_path / 'out.json'
    assert demo('--out', drawing, '--json', detections, '--score-thr', '0') == 0
    read = json.loads(detections.read_text())
    assert drawing.stat().st_size > 0 and read['phrases'][0] == 'a red ring'
    printed = capsys.readouterr().out
    assert 'score' in printed and str(drawing) in printed and str(detections) in printed


def test_folder(demo, folder, tmp_path, capsys):
    (folder / 'broken.png').write_bytes(b'nothing')
    (folder / 'a.bmp').write_bytes((folder / 'a.png').read_bytes())
    out = tmp_path / 'found'
    assert demo(folder, 'star. red circle', '--custom-entities', '--out', out) == 1
    assert sorted(path.name for path in out.iterdir()) == sorted(
        f'{name}.{kind}' for name in ('a.bmp', 'a.png', 'b', 'c') for kind in ('jpg', 'json')
    )
    assert json.loads((out / 'b.json').read_text())['phrases'] == ['star', 'red circle']
    assert 'broken.png' in capsys.readouterr().err


def test_errors_are_one_line(demo, capsys):
    assert demo('no/such.jpg', 'a star') == 1
    error = capsys.readouterr().err.strip().splitlines()
    assert error[-1].startswith('error: ') and 'such.jpg' in error[-1]
    with pytest.raises(SystemExit):
        demo('image.jpg')
    assert 'what to look for' in capsys.readouterr().err
