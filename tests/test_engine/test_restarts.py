"""Trainings that torchrun starts again."""

import argparse

import pytest

from fiber_mmdet.engine.launch import settle_arguments
from fiber_mmdet.engine.restarts import (
    PATIENCE,
    RestartError,
    patience,
    refuse_useless_restarts,
)

ELASTIC = {'TORCHELASTIC_MAX_RESTARTS': '3', 'TORCH_DISABLE_SHARE_RDZV_TCP_STORE': '1'}


@pytest.mark.parametrize(
    'resume, load_from, where',
    [
        (None, None, 'at the beginning'),
        (False, 'weights.pth', 'at the beginning'),
        ('run/iter_5.pth', None, 'at run/iter_5.pth'),
        (True, 'run/iter_5.pth', 'at run/iter_5.pth'),
    ],
)
def test_restarts_that_lose_what_was_done_are_refused(resume, load_from, where):
    with pytest.raises(RestartError, match=f'restarts 3.*{where}: add --resume, without a file'):
        refuse_useless_restarts(resume, load_from, ELASTIC)
    for environment in ({}, {'TORCHELASTIC_MAX_RESTARTS': '0'}):
        refuse_useless_restarts(resume, load_from, environment)


def test_restarts_from_the_last_checkpoint_are_not():
    refuse_useless_restarts('auto', 'weights.pth', ELASTIC)
    refuse_useless_restarts(True, None, ELASTIC)


def test_restarts_of_processes_that_would_not_find_each_other_are_refused():
    with pytest.raises(RestartError, match='TORCH_DISABLE_SHARE_RDZV_TCP_STORE=1 for torchrun'):
        refuse_useless_restarts('auto', None, {'TORCHELASTIC_MAX_RESTARTS': '3'})


def test_who_waits_for_a_lock():
    assert patience({}) == patience({'TORCHELASTIC_MAX_RESTARTS': '0'}) == 0
    assert patience(ELASTIC) == patience({'SLURM_RESTART_COUNT': '1'}) == PATIENCE


def arguments(config, launcher, **changes):
    return argparse.Namespace(
        **{
            **dict(config=str(config), work_dir=None, resume=None, cfg_options=None),
            **dict(launcher=launcher, amp=False),
            **changes,
        }
    )


def test_one_process_decides_for_all(tmp_path, monkeypatch):
    """Each would decide by its own machine's view of the disk."""
    monkeypatch.chdir(tmp_path)
    config = tmp_path / 'c.py'
    hooks = "default_hooks = dict(check=dict(type='CheckpointCheckHook'))\n"
    config.write_text(f"load_from = 'weights.pth'\n{hooks}")
    left = settle_arguments(arguments(config, 'pytorch', resume='auto'))
    assert left.resume is None and left.cfg_options == {'resume': 'auto'}
    for launcher, text in (('none', hooks), ('pytorch', '')):  # nobody would decide later
        config.write_text(text)
        left = settle_arguments(arguments(config, launcher, resume='auto'))
        assert left.resume is None and left.cfg_options == {'resume': False}
    monkeypatch.setenv('TORCHELASTIC_MAX_RESTARTS', '1')
    with pytest.raises(RestartError):
        settle_arguments(arguments(config, 'pytorch'))
