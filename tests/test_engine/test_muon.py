"""Muon for the matrices of the backbone: the same steps as torch's, schedules, resuming, errors."""

import copy

import pytest
import torch
from mmengine.model import BaseModel
from mmengine.optim import LinearLR, build_optim_wrapper
from mmengine.registry import DefaultScope
from torch import nn

import fiber_mmdet  # noqa: F401
from fiber_mmdet.engine import MuonAdamW

pytestmark = pytest.mark.skipif(
    not hasattr(torch.optim, 'Muon'), reason='torch.optim.Muon needs torch 2.9'
)


class Model(BaseModel):
    """A backbone with two linear layers, a norm and an embedding, and a joint space."""

    def __init__(self):
        super().__init__()
        self.backbone = nn.ModuleDict(
            dict(
                fc=nn.Linear(6, 8),
                out=nn.Linear(8, 4),
                norm=nn.LayerNorm(8),
                words=nn.Embedding(5, 6),
            )
        )
        self.fused = nn.Linear(4, 3)

    def forward(self, ids):
        b = self.backbone
        return self.fused(b['out'](b['norm'](b['fc'](b['words'](ids))).relu())).square().mean()


MATRICES = {'backbone.fc.weight', 'backbone.out.weight'}
MUON = dict(type='MuonAdamW', lr=1e-3, matrix_lr=0.02, weight_decay=0.1)


def build(model, constructor='ImageTextOptimWrapperConstructor', optimizer=MUON, **paramwise):
    with DefaultScope.overwrite_default_scope('mmdet'):
        return build_optim_wrapper(
            model,
            dict(
                type='OptimWrapper',
                optimizer=dict(optimizer),
                constructor=constructor,
                paramwise_cfg=paramwise,
            ),
        )


def train(model, optimizer, steps):
    for step in range(steps):
        optimizer.zero_grad()
        model(torch.tensor([step % 5, 1, 2])).backward()
        optimizer.step()


@pytest.mark.parametrize(
    'constructor', ['ImageTextOptimWrapperConstructor', 'FIBEROptimWrapperConstructor']
)
def test_linear_layers_of_the_backbone_are_matrices(constructor):
    model = Model()
    optimizer = build(model, constructor, custom_keys={'out.': dict(lr_mult=0.5)}).optimizer
    names = {id(p): name for name, p in model.named_parameters()}
    rates = {
        names[id(p)]: group['lr']
        for group in optimizer.param_groups
        if group['matrices']
        for p in group['params']
    }
    assert rates == {
        'backbone.fc.weight': pytest.approx(0.02),
        'backbone.out.weight': pytest.approx(0.01),
    }


def test_steps_are_those_of_muon_and_adamw():
    ours, theirs = Model(), Model()
    theirs.load_state_dict(ours.state_dict())
    optimizer = build(ours).optimizer
    chosen = [p for name, p in theirs.named_parameters() if name in MATRICES]
    decayed = [theirs.backbone['words'].weight, theirs.fused.weight]
    rest = [p for p in theirs.parameters() if all(p is not q for q in (*chosen, *decayed))]
    muon = torch.optim.Muon(chosen, 0.02, weight_decay=0.1)
    adamw = torch.optim.AdamW(
        [dict(params=decayed), dict(params=rest, weight_decay=0.0)], 1e-3, weight_decay=0.1
    )
    for step in range(4):
        for model, optimizers in ((ours, [optimizer]), (theirs, [muon, adamw])):
            model.zero_grad()
            model(torch.tensor([step, 1, 2])).backward()
            for each in optimizers:
                each.step()
    for (name, p), q in zip(ours.named_parameters(), theirs.parameters()):
        assert torch.equal(p, q), name


def test_schedules_change_both_rates():
    optimizer = build(Model()).optimizer
    before = [group['lr'] for group in optimizer.param_groups]
    LinearLR(optimizer, start_factor=0.1, by_epoch=False, end=10)
    assert [group['lr'] for group in optimizer.param_groups] == [
        pytest.approx(0.1 * lr) for lr in before
    ]


def test_resumes_to_the_same_weights():
    model = Model()
    optimizer = build(model)
    train(model, optimizer, 3)
    again = copy.deepcopy(model)
    resumed = build(again)
    resumed.load_state_dict(copy.deepcopy(optimizer.state_dict()))
    train(model, optimizer, 3)
    train(again, resumed, 3)
    for (name, p), q in zip(model.named_parameters(), again.parameters()):
        assert torch.equal(p, q), name


def test_no_matrices_are_refused():
    model = Model()
    for part in (model.backbone['fc'], model.backbone['out']):
        part.requires_grad_(False)
    with pytest.raises(ValueError, match='the whole backbone is frozen'):
        build(model)
    with pytest.raises(ValueError, match='Set optim_wrapper.constructor'):
        MuonAdamW([nn.Parameter(torch.zeros(2, 2))], lr=1e-3, matrix_lr=0.02)
    with pytest.raises(ValueError, match=r'shape \(7,\).*FSDP'):
        MuonAdamW([dict(params=[nn.Parameter(torch.zeros(7))], matrices=True)], 1e-3, 0.02)
