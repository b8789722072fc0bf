"""tools/browse_dataset.py as people run it, on generated scenes."""

import runpy
import shutil
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

CHECKOUT = Path(__file__).resolve().parents[2]


@pytest.fixture
def run(monkeypatch):
    """Runs the tool; returns the exit code."""

    def run(*arguments):
        monkeypatch.setattr(sys, 'argv', ['browse_dataset.py', *map(str, arguments)])
        return runpy.run_path(str(CHECKOUT / 'tools/browse_dataset.py'))['main']()

    return run


def config(folder, root, name='fiber_mini_scenes'):
    """A config of generated scenes with its data at ``root``."""
    from mmengine.config import Config

    text = Config.fromfile(CHECKOUT / f'configs/scenes/{name}.py').pretty_text
    path = folder / 'config.py'
    path.write_text(text.replace('data/scenes/', f'{root}/'))
    return path


def test_images_and_lines(run, tiny_scenes, tmp_path, capsys):
    assert (
        run(
            config(tmp_path, tiny_scenes),
            '--number',
            3,
            '--out',
            tmp_path / 'out',
            '--format',
            'png',
        )
        == 0
    )
    lines = capsys.readouterr().out.splitlines()[-4:]
    assert len(lines) == 4 and all('192×192' in line and 'tokens' in line for line in lines[:3])
    assert 'drawings of 3' in lines[3]
    files = sorted((tmp_path / 'out').iterdir())
    assert [int(file.name[:6]) for file in files] == [int(line.split()[0]) for line in lines[:3]]
    assert all(np.asarray(Image.open(file)).shape[1] == 768 for file in files)


def test_chosen_samples_of_another_split(run, tiny_scenes, tmp_path, capsys):
    root = shutil.copytree(tiny_scenes, tmp_path / 'scenes')
    path = config(tmp_path, root)
    out = tmp_path / 'out'
    assert run(path, '--split', 'test', '--index', 1, 4, '--out', out) == 0
    capsys.readouterr()
    assert sorted(file.name for file in out.iterdir()) == ['000001_000001.jpg', '000004_000004.jpg']
    (root / 'images/test/000004.jpg').unlink()
    assert run(path, '--split', 'test', '--index', 1, 4, '--out', out) == 1
    said = capsys.readouterr()
    assert 'drawings of 1' in said.out and 'error: sample 4: no image' in said.err


def test_errors_are_one_line(run, tiny_scenes, tmp_path, capsys):
    path = config(tmp_path, tiny_scenes)
    for arguments, message in (
        (['--index', 99999], 'there is no sample 99999'),
        (['--cfg-options', 'train_dataloader=None'], 'has no train_dataloader'),
        (['--tokenizer', '/no/such'], "'/no/such' does not exist"),
    ):
        assert run(path, '--out', tmp_path / 'out', *arguments) == 1
        last = capsys.readouterr().err.splitlines()[-1]
        assert last.startswith('error: ') and message in last


def test_pairs_of_images(run, tiny_scenes, tmp_path, capsys):
    path = config(tmp_path, tiny_scenes, 'fiber_mini_scenes_nlvr2')
    assert (
        run(path, '--split', 'test', '--index', 3, '--format', 'png', '--out', tmp_path / 'out')
        == 0
    )
    line = capsys.readouterr().out.splitlines()[-2]
    assert line.startswith('3  image ') and line.count('256×256 → 192×192') == 2
    (file,) = (tmp_path / 'out').iterdir()
    assert np.asarray(Image.open(file)).shape[1] == 480 + 12 + 480
