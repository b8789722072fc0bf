"""Checkpoints of other models stop a run."""
from types import SimpleNamespace

import pytest
import torch
from mmengine.runner import BaseLoop
from torch import nn

from fiber_mmdet.convert.fit import MisfitError
from fiber_mmdet.engine import CheckpointCheckHook


class Loop(BaseLoop):

    def __init__(self):
        pass

    def run(self):
        pass


def check(state, training=False, resume=False):
    runner = SimpleNamespace(
        _load_from='file.pth', _resume=resume, model=nn.Linear(2, 3),
        _train_loop=Loop() if training else dict(type='EpochBasedTrainLoop'))
    CheckpointCheckHook().after_load_checkpoint(runner, dict(state_dict=state))


FITTING = dict(weight=torch.zeros(3, 2), bias=torch.zeros(3))
OFFICIAL = {'fusion_backbone.backbone.body.patch_embed.norm.bias': torch.zeros(2)}


@pytest.mark.parametrize('mode', [dict(), dict(training=True), dict(training=True, resume=True)])
def test_fitting_weights_pass_and_official_ones_do_not(mode):
    check(FITTING, **mode)
    with pytest.raises(MisfitError, match='file.pth is an official FIBER checkpoint: convert it'):
        check(OFFICIAL, **mode)


@pytest.mark.parametrize('state, difference', [
    (dict(weight=torch.zeros(3, 2)), r'1 missing \(bias\)'),
    (dict(FITTING, extra=torch.zeros(1)), r'1 unexpected \(extra\)'),
    (dict(FITTING, bias=torch.zeros(4)), r'1 of another shape \(bias \(4,\) for \(3,\)\)'),
])
def test_a_partial_fit_stops_testing_and_resuming_only(state, difference):
    for mode in (dict(), dict(training=True, resume=True)):
        with pytest.raises(MisfitError, match='file.pth does not fit the config: ' + difference):
            check(state, **mode)
    check(state, training=True)


def test_training_does_not_start_from_strangers():
    with pytest.raises(MisfitError, match=r"shares no key with the model \(first key: 'other'\)"):
        check(dict(other=torch.zeros(1)), training=True)
