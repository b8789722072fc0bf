"""Configs by name: what is found, what is suggested, and a child of a config."""

import runpy
import sys
from pathlib import Path

import pytest
from mmengine.config import Config

from fiber_mmdet.apis.loading import LoadingError, find_files
from fiber_mmdet.weights.catalogue import UnknownWeights
from fiber_mmdet.weights.configs import NoConfig, config_file, shipped_configs

CHECKOUT = Path(__file__).resolve().parents[2]
NAME = 'coco/fiber_swin-b_16xb2-24e_coco'


@pytest.mark.parametrize(
    'given',
    [
        NAME,
        f'{NAME}.py',
        f'configs/{NAME}.py',
        f'fiber://configs/{NAME}',
        f'fiber://configs/{NAME}.py',
        'desco-fiber-b',
        'fiber://desco-fiber-b',
    ],
)
def test_names_of_a_config(given, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert config_file(given).samefile(CHECKOUT / 'configs' / f'{NAME}.py')


def test_a_file_comes_first(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    file = tmp_path / 'configs' / f'{NAME}.py'
    file.parent.mkdir(parents=True)
    file.touch()
    assert config_file(f'configs/{NAME}.py') == Path(f'configs/{NAME}.py')
    assert config_file(f'fiber://configs/{NAME}.py').resolve() != file


@pytest.mark.parametrize(
    'wrong, near',
    [
        ('coco/fiber_swinb_16xb2-24e_coco.py', f'{NAME}.py'),
        ('fiber_swin-b_16xb2-24e_coco.py', f'{NAME}.py'),
        ('fiber_swin-b_16xb2-24e_coco', f'{NAME}.py'),
        ('desco-fiber', 'the model desco-fiber-b'),
        ('', 'fiber configs list'),
        ('configs', 'fiber configs list'),
        ('fiber://configs/../pyproject', 'fiber configs list'),
        ('fiber://configs//etc/passwd', 'fiber configs list'),
    ],
)
def test_what_is_no_config_is_named_with_what_is_near(wrong, near):
    with pytest.raises(NoConfig) as caught:
        config_file(wrong)
    assert repr(wrong) in str(caught.value) and near in str(caught.value)


def test_a_name_of_nothing_or_of_weights_alone():
    with pytest.raises(UnknownWeights, match='nothing'):
        config_file('fiber://nothing')
    with pytest.raises(UnknownWeights, match='is not a complete model'):
        config_file('fiber://glip-t')


def test_inferencers_take_names(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    config, weights = find_files('scenes/fiber_mini_scenes', 'random')
    assert config.model.type == 'FIBERDetector' and weights == 'random'
    assert find_files(f'fiber://configs/{NAME}', 'random')[0].model.backbone
    with pytest.raises(LoadingError, match='no weights'):
        find_files(NAME, None)


@pytest.fixture
def configs(monkeypatch, tmp_path):
    """``configs(*arguments)``: the exit code of the tool, run in an empty folder."""

    def run(*arguments):
        monkeypatch.setattr(sys, 'argv', ['configs.py', *map(str, arguments)])
        return runpy.run_path(str(CHECKOUT / 'tools/configs.py'))['main']()

    monkeypatch.chdir(tmp_path)
    return run


def test_every_listed_name_is_found(configs, capsys):
    assert configs('list') == 0
    names = capsys.readouterr().out.split()
    assert names == shipped_configs() and len(names) > 50
    assert all(config_file(name).is_file() for name in names)
    assert configs('list', 'coco', 'swin-b') == 0
    assert set(capsys.readouterr().out.split()) == {
        name for name in names if 'coco' in name and 'swin-b' in name
    }
    assert configs('list', 'nothing') == 1


def test_a_child_inherits_from_a_named_config(configs, tmp_path, capsys):
    assert configs('child', 'scenes/fiber_mini_scenes', 'mine.py') == 0
    file = tmp_path / 'mine.py'
    file.write_text(file.read_text() + 'train_dataloader = dict(batch_size=3)\n')
    base, mine = Config.fromfile(config_file('scenes/fiber_mini_scenes')), Config.fromfile(file)
    assert mine.model == base.model and mine.train_dataloader.batch_size == 3
    assert mine.train_dataloader.dataset == base.train_dataloader.dataset
    before = file.read_bytes()
    assert configs('child', NAME, 'mine.py') == 1 and file.read_bytes() == before
    assert configs('child', NAME, 'mine.txt') == 1 and configs('child', 'nothing', 'a.py') == 1
    said = capsys.readouterr().err
    assert 'is there already' in said and 'must end with .py' in said and "'nothing'" in said


def test_mmengines_short_form_does_not_know_this_package(tmp_path):
    """What tools/configs.py is for: should MMEngine learn it, the pages can say so."""
    (tmp_path / 'a.py').write_text(f"_base_ = ['fiber_mmdet::{NAME}.py']\n")
    with pytest.raises(AssertionError, match='does not support to load fiber_mmdet'):
        Config.fromfile(tmp_path / 'a.py')
