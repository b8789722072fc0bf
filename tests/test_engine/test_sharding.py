"""What sharding does to a model and its optimizer; for whole trainings see test_processes.py."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from mmengine.config import Config
from mmengine.registry import STRATEGIES
from torch import nn

from fiber_mmdet.engine.sharding import (
    ResumableFSDPStrategy,
    ShardsOf,
    by_number,
    lift_scalars,
)

CHECKOUT = Path(__file__).resolve().parents[2]


@pytest.mark.processes
def test_shards_train_like_the_whole(tmp_path):
    """Clipped, accumulated, scaled, in bfloat16, with Muon, averaged, with each other's states."""
    paths = [CHECKOUT, CHECKOUT / 'tests/support']
    env = dict(os.environ, PYTHONPATH=os.pathsep.join(map(str, paths)), CUDA_VISIBLE_DEVICES='')
    command = '-m torch.distributed.run --standalone --nproc_per_node=2'.split()
    script = CHECKOUT / 'tests/support/sharded_toy.py'
    done = subprocess.run(
        [sys.executable, *command, str(script), str(tmp_path)],
        env=dict(env, OMP_NUM_THREADS='1'),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    assert done.returncode == 0 and done.stdout.count('done') == 2, done.stdout[-6000:]


@pytest.mark.parametrize(
    'recipe',
    [
        'pretrain/fiber_swin-b_64xb1-800k_flickr-mixed-o365.py',
        'image_text_pretrain/fiber_swin-b_64xb8-100k_coco-vg-sbu-gcc.py',
    ],
)
def test_published_recipes_are_sharded_by_a_line(recipe, tmp_path):
    file = tmp_path / 'sharded.py'
    configs = CHECKOUT / 'configs'
    file.write_text(f"_base_ = ['{configs / recipe}', '{configs}/_base_/schedules/fsdp.py']")
    whole, sharded = Config.fromfile(configs / recipe), Config.fromfile(file)
    assert sharded.runner_type == 'ResumableFlexibleRunner'
    assert STRATEGIES.get(sharded.strategy.type) is ResumableFSDPStrategy
    added = ('runner_type', 'strategy')
    assert {k: v for k, v in sharded.items() if k not in added} == dict(whole.items())


def test_scalars_become_vectors_and_their_shapes_are_kept(tiny_model_cfg, build):
    detector = build(tiny_model_cfg)
    before = {key: value.shape for key, value in detector.state_dict().items()}
    detector.bbox_head.scales[1].scale.requires_grad_(False)
    lift_scalars(detector)
    assert all(p.dim() > 0 for p in detector.parameters())
    assert not detector.bbox_head.scales[1].scale.requires_grad
    assert {k: v.shape for k, v in detector.whole.state_dict().items()} == before
    assert sum(len(shape) == 0 for shape in before.values()) > 4


def test_state_of_earlier_sharded_trainings_is_numbered():
    names = ['a', 'c', 'b']
    state = dict(a=dict(step=1), b=dict(step=3))
    groups = [dict(params=['a', 'c'], lr=0.1), dict(params=['b'], lr=0.2)]
    found = by_number(dict(state=state, param_groups=groups, loss_scaler=4), names)
    assert found['state'] == {0: dict(step=1), 2: dict(step=3)}
    assert [group['params'] for group in found['param_groups']] == [[0, 1], [2]]
    assert found['loss_scaler'] == 4
    assert by_number(found, names) is found


def test_copies_of_tensors_have_their_names():
    model = nn.Sequential(nn.Linear(2, 2, bias=False), nn.BatchNorm1d(2))
    copied = ShardsOf(model)
    assert copied.state_dict().keys() == model.state_dict().keys()
    model[0].weight.data.zero_()
    assert copied.state_dict()['0.weight'].any()
    copied.load_state_dict(model.state_dict())
    assert not copied.state_dict()['0.weight'].any()
    assert not any(p.requires_grad for p in copied.parameters())
    assert torch.equal(copied.get_buffer('1.running_var'), torch.ones(2))
