"""The units of sharding; for whole trainings see test_processes.py."""

from types import SimpleNamespace

import pytest
import torch
from mmengine.registry import FUNCTIONS
from torch import nn
from torch.distributed.fsdp.wrap import _recursive_wrap

from fiber_mmdet.engine.sharding import AnyDeviceFSDP, WholeModel, lift_scalars
from fiber_mmdet.models.backbone.image_tower import SwinBlock
from fiber_mmdet.models.backbone.text_layers import TextLayer


class Unit(nn.Module):
    def __init__(self, module):
        super().__init__()
        self.module = module


def test_units_are_the_blocks_of_the_towers(tiny_model_cfg, build):
    detector = build(tiny_model_cfg)
    blocks = [m for m in detector.modules() if isinstance(m, (SwinBlock, TextLayer))]
    _recursive_wrap(detector, FUNCTIONS.get('tower_blocks'), Unit, set(), set())
    units = [m.module for m in detector.modules() if isinstance(m, Unit)]
    assert units == blocks and len(units) == 6 + 3


def test_scalars_keep_their_shape_in_state_dicts(tiny_model_cfg, build):
    detector = build(tiny_model_cfg)
    before = {key: value.clone() for key, value in detector.state_dict().items()}
    detector.bbox_head.scales[1].scale.requires_grad_(False)
    whole = WholeModel(detector)
    lift_scalars(detector)
    assert all(p.dim() > 0 for p in detector.parameters())
    assert not detector.bbox_head.scales[1].scale.requires_grad
    after = detector.state_dict()
    assert {k: v.shape for k, v in after.items()} == {k: v.shape for k, v in before.items()}
    assert {k: v.shape for k, v in whole.state_dict().items()} == {
        k: v.shape for k, v in after.items()
    }
    assert all(torch.equal(after[key], value) for key, value in before.items())
    other = {key: value + 1 for key, value in before.items()}
    detector.load_state_dict(other)
    assert torch.equal(detector.bbox_head.scales[0].scale, other['bbox_head.scales.0.scale'][None])


def test_clipping_is_refused():
    wrapper = SimpleNamespace(clip_grad_kwargs=dict(max_norm=1.0))
    with pytest.raises(ValueError, match='Set optim_wrapper.clip_grad=None with sharding'):
        AnyDeviceFSDP.train_step(None, {}, wrapper)
