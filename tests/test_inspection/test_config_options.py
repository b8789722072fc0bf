"""Settings that would change nothing are refused, with those that do."""

from pathlib import Path

import pytest
from mmengine.config import Config

from fiber_mmdet.inspection.config_options import (
    IdleSettingError,
    refuse_idle_assignments,
    refuse_idle_options,
    refuse_other_counting,
)

BASE = """
max_iters = 70
root = 'data/'
names = ['a']
train_cfg = dict(type='IterBasedTrainLoop', max_iters=max_iters, val_interval=10)
param_scheduler = [dict(type='LinearLR', end=9), dict(type='PolyLR', begin=9, end=max_iters)]
train_dataloader = dict(dataset=dict(ann_file=root + 'train.json'))
work_dir = 'work'
"""


@pytest.fixture
def base(tmp_path):
    path = tmp_path / 'base.py'
    path.write_text(BASE)
    return path


@pytest.mark.parametrize(
    'options, said',
    [
        (
            dict(max_iters=30),
            'max_iters=30 changes nothing.* say param_scheduler.1.end=30 train_cfg.max_iters=30$',
        ),
        (dict(root='my/'), 'say train_dataloader.dataset.ann_file=my/train.json$'),
        (dict(names=['b']), 'names=.* changes nothing.* name the settings themselves'),
        ({'names.0': 'b'}, 'names is a variable of'),
    ],
)
def test_options_that_name_variables_are_refused(base, options, said):
    with pytest.raises(IdleSettingError, match=said):
        refuse_idle_options(Config.fromfile(base), options)


@pytest.mark.parametrize(
    'options',
    [None, {}, {'train_cfg.max_iters': 3}, {'work_dir': 'x', 'load_from': 'a.pth'}, {'mine': 1}],
)
def test_other_options_pass(base, options):
    refuse_idle_options(Config.fromfile(base), options)


@pytest.mark.parametrize(
    'child, said',
    [
        ('max_iters = 30', 'max_iters = 30 changes nothing.*train_cfg.max_iters = 30'),
        ("root = 'my/'", "root = 'my/' changes nothing.*ann_file = 'my/train.json'"),
        ('max_iters = 30\ntrain_cfg = dict(max_iters=max_iters)', None),
        ("work_dir = 'other'", None),
        ("mine = 'other'", None),
        ('max_iters = {{_base_.max_iters}}\nval_cfg = dict(x=max_iters)', None),
    ],
)
def test_a_childs_variables_are_refused_unless_it_uses_them(base, child, said):
    path = base.with_name('child.py')
    path.write_text(f"_base_ = './base.py'\n{child}\n")
    if said is None:
        refuse_idle_assignments(path)
        return
    with pytest.raises(IdleSettingError, match=said):
        refuse_idle_assignments(path)


def test_the_projects_configs_have_no_idle_variables():
    folder = Path(__file__).resolve().parents[2] / 'configs'
    for path in sorted(folder.rglob('*.py')):
        if '_base_' not in path.parts:
            refuse_idle_assignments(path)


@pytest.mark.parametrize(
    'train_cfg, said',
    [
        (
            dict(type='IterBasedTrainLoop', max_iters=9, max_epochs=1),
            'max_epochs=1.*counts iterations: set train_cfg.max_iters',
        ),
        (
            dict(type='ResumableEpochBasedTrainLoop', max_epochs=9, max_iters=1),
            'max_iters=1.*counts epochs: set train_cfg.max_epochs',
        ),
        (dict(type='IterBasedTrainLoop', max_iters=9), None),
        (dict(by_epoch=True, max_epochs=9), None),
        (None, None),
    ],
)
def test_lengths_that_the_loop_does_not_count(train_cfg, said):
    config = Config(dict(train_cfg=train_cfg))
    if said is None:
        refuse_other_counting(config)
        return
    with pytest.raises(IdleSettingError, match=said):
        refuse_other_counting(config)
