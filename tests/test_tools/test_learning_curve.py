"""tools/learning_curve.py measures and draws several trainings."""

import importlib.util
import json
import os
import sys
from pathlib import Path

import pytest
from PIL import Image

TOOL = Path(__file__).resolve().parents[2] / 'tools/learning_curve.py'


@pytest.fixture
def tool():
    spec = importlib.util.spec_from_file_location('learning_curve', TOOL)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def command(tool, tmp_path, monkeypatch):
    """Run the command on two trainings; returns the measured checkpoints."""
    for run in 'ab':
        (tmp_path / run).mkdir()
        for iteration in (10, 20):
            (tmp_path / run / f'iter_{iteration}.pth').touch()
    measured = []

    def measure(runner, checkpoint, metric):
        assert (runner, metric) in (('config.py', 'grounding/R@1'), ('other.py', 'grounding/R@1'))
        measured.append(f'{checkpoint.parent.name}{checkpoint.stem[-2:]}')
        return 0.5

    monkeypatch.setattr(tool, 'make_runner', lambda file, work_dir: file)
    monkeypatch.setattr(tool, 'measure', measure)

    def run(*iterations, config='config.py'):
        monkeypatch.setattr(
            sys,
            'argv',
            [
                'learning_curve.py',
                '--out',
                str(tmp_path / 'curve.png'),
                '--iterations',
                *iterations,
                '--runs',
                f'both={tmp_path / "a"},{tmp_path / "b"}',
                '--measures',
                f'R@1={config}:grounding/R@1',
            ],
        )
        tool.main()
        return measured

    return run


def test_what_is_measured_is_drawn_and_kept(command, tmp_path, capsys):
    assert command('10') == ['a10', 'b10']
    assert command('10', '20') == ['a10', 'b10', 'a20', 'b20']  # what was there is not repeated
    figures = json.loads((tmp_path / 'curve.json').read_text())
    assert figures[f'config.py:grounding/R@1 {tmp_path / "a"} 20']['value'] == 0.5
    assert Image.open(tmp_path / 'curve.png').width > 300
    assert 'mean 0.500  0.500 0.500' in capsys.readouterr().out


def test_another_measurement_or_checkpoint_is_measured_anew(command, tmp_path):
    command('10')
    os.utime(tmp_path / 'a/iter_10.pth', (0, 0))
    assert command('10')[2:] == ['a10']
    assert command('10', config='other.py')[3:] == ['a10', 'b10']


def test_a_checkpoint_that_is_not_there_is_named(command):
    with pytest.raises(SystemExit, match='iter_30.pth'):
        command('30')
