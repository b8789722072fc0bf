"""The schedule configs against the formulas of the reference."""

from bisect import bisect_right
from pathlib import Path

import pytest
import torch
from mmdet.registry import HOOKS, MODELS, PARAM_SCHEDULERS
from mmengine.config import Config
from mmengine.optim import build_optim_wrapper
from mmengine.registry import DefaultScope
from torch import nn

import fiber_mmdet  # noqa: F401

BASE = Path(__file__).resolve().parents[2] / 'configs/_base_'
SCHEDULES = sorted(path.stem for path in (BASE / 'schedules').glob('*.py'))
TRAINED = {
    'bbox_head.box_conv',
    'bbox_head.centerness_conv',
    'bbox_head.token_proj',
    'bbox_head.log_scale',
    'bbox_head.token_bias',
    'bbox_head.token_bias0',
}


@pytest.fixture(autouse=True)
def scope():
    with DefaultScope.overwrite_default_scope('mmdet'):
        yield


def schedule(name):
    return Config.fromfile(BASE / f'schedules/{name}.py')


class Toy(nn.Module):
    def __init__(self):
        super().__init__()
        self.backbone = nn.ModuleDict(dict(text=nn.Linear(1, 1), image=nn.Linear(1, 1)))


def history(cfg, steps, epoch_length=1):
    """Learning rate and weight decay of each group in each iteration."""
    wrapper = build_optim_wrapper(Toy(), cfg.optim_wrapper)
    schedulers = [
        PARAM_SCHEDULERS.build(
            dict(s), default_args=dict(optimizer=wrapper, epoch_length=epoch_length)
        )
        for s in cfg.param_scheduler
    ]
    assert not any(s.by_epoch for s in schedulers)
    groups = wrapper.optimizer.param_groups
    for _ in range(steps):
        yield [(group['lr'], group['weight_decay']) for group in groups]
        wrapper.optimizer.step()
        for scheduler in schedulers:
            scheduler.step()


def expected_factor(step, warmup, milestones):
    """The reference's learning-rate factor, from its definition."""
    a = step / warmup
    return (0.001 * (1 - a) + a if step < warmup else 1) * 0.1 ** bisect_right(milestones, step)


@pytest.mark.parametrize('name, epochs', [('finetune_24e', 24), ('refcoco_20e', 20)])
@pytest.mark.parametrize('length', [97, 131])
def test_fine_tuning(name, epochs, length):
    cfg, total = schedule(name), epochs * length
    milestones = [round(0.67 * total), round(0.89 * total)]
    assert any(m % length for m in milestones)  # within an epoch
    base = None
    for step, groups in enumerate(history(cfg, total, length)):
        if base is None:
            base = sorted({(round(lr * 1000, 12), decay) for lr, decay in groups})
            assert base == [(1e-5, 1e-4), (2e-5, 0.0)]
        factor = expected_factor(step, 2000, milestones)
        assert {(round(lr / factor, 12), decay) for lr, decay in groups} == set(base), step


def test_pretraining_at_full_length():
    cfg = schedule('pretrain_800k')
    total = cfg.train_cfg.max_iters
    warmup, drops, decays = cfg.param_scheduler
    assert total == 800_000 and warmup.end == 2000 + 1
    assert drops.milestones == [round(0.67 * total), round(0.89 * total)]
    # the first iterations that are >= 0.667 of the way
    assert decays.milestones == [
        next(i for i in range(300_000, total) if i >= m * 0.667) for m in drops.milestones
    ]


def test_pretraining_in_small():
    """All lengths divided by 1000, compared with the reference's rules in every iteration."""
    cfg = schedule('pretrain_800k')
    warmup, drops, decays = cfg.param_scheduler
    warmup.end = 200 + 1
    drops.milestones = [m // 1000 for m in drops.milestones]
    decays.milestones = [m // 1000 for m in decays.milestones]
    for step, groups in enumerate(history(cfg, 800)):
        factor = expected_factor(step, 200, drops.milestones)
        decay = 0.1 ** bisect_right(decays.milestones, step)
        expected = {
            (lr * factor, wd * decay)
            for lr, wd in ((1e-4, 0.01), (1e-5, 0.01), (2e-4, 0.0), (2e-5, 0.0))
        }
        assert sorted(groups) == [pytest.approx(e) for e in sorted(expected)], step


@pytest.mark.parametrize(
    'name, batch, clip, average',
    [
        ('finetune_24e', 32, None, True),
        ('refcoco_20e', 16, None, True),
        ('pretrain_800k', 64, 1.0, True),
        ('odinw_plateau', 4, 1.0, False),
    ],
)
def test_the_table_of_the_paper(name, batch, clip, average):
    cfg = schedule(name)
    assert cfg.auto_scale_lr == dict(enable=False, base_batch_size=batch)
    assert cfg.optim_wrapper.get('clip_grad') == (clip and dict(max_norm=clip))
    assert cfg.optim_wrapper.type == 'MixedPrecisionOptimWrapper'
    assert cfg.optim_wrapper.paramwise_cfg == dict(text_lr=1e-5)
    ema = [h for h in cfg.custom_hooks if h.type == 'ChosenWeightsEMAHook']
    assert len(ema) == average
    for hook in ema:  # recorded, not evaluated
        assert (hook.evaluate, hook.save, hook.momentum) == ('model', 'model', 0.001)


def test_odinw():
    cfg = schedule('odinw_plateau')
    assert cfg.optim_wrapper.optimizer == dict(type='AdamW', lr=1e-4, weight_decay=0.05)
    (plateau,) = cfg.param_scheduler
    wrapper = build_optim_wrapper(Toy(), cfg.optim_wrapper)
    plateau = PARAM_SCHEDULERS.build(dict(plateau), default_args=dict(optimizer=wrapper))
    assert (plateau.factor, plateau.patience, plateau.rule) == (0.1, 3, 'greater')
    assert set(plateau.min_values) == {1e-6} and cfg.train_cfg.max_epochs == 200
    stop = HOOKS.build(cfg.custom_hooks[0])
    # AP is rounded to thousandths; equal values are not an improvement
    assert stop.patience == 8 and 0 < stop.min_delta < 0.001 and stop.monitor == plateau.monitor


@pytest.mark.parametrize('runtime', ['iter_based_runtime', 'keep_best_runtime'])
def test_runtimes(runtime):
    cfg = Config.fromfile(BASE / f'{runtime}.py')
    default = Config.fromfile(BASE / 'default_runtime.py')
    assert cfg.custom_imports == default.custom_imports
    assert cfg.default_hooks.keys() == default.default_hooks.keys()
    by_epoch = runtime != 'iter_based_runtime'
    assert (
        cfg.log_processor.by_epoch == cfg.default_hooks.checkpoint.get('by_epoch', True) == by_epoch
    )
    assert default.randomness == dict(seed=0)


@pytest.mark.parametrize('name', ['linear_probe', 'prompt_tuning', 'text_tuning'])
def test_parts_that_learn(name, tiny_model_cfg):
    cfg = schedule(name)
    if name == 'prompt_tuning':
        tiny_model_cfg.backbone.text.prompt_rows = 256
        assert cfg.optim_wrapper.optimizer == dict(type='AdamW', lr=0.05, weight_decay=0.25)
    model = MODELS.build(dict(tiny_model_cfg, trainable=cfg.trainable))
    model.train()
    learning = {name for name, p in model.named_parameters() if p.requires_grad}
    stems = {
        n if n.rsplit('.', 1)[-1] not in ('weight', 'bias') else n.rsplit('.', 1)[0]
        for n in learning
    }
    if name == 'linear_probe':
        assert stems == TRAINED
    elif name == 'prompt_tuning':
        assert stems == {'backbone.text.prompt_rows'}
    else:
        assert learning == {
            n for n, _ in model.named_parameters() if n.startswith('backbone.text.')
        }
        assert any(n.endswith('image_attention.gate') for n in learning)
    groups = build_optim_wrapper(model, cfg.optim_wrapper).optimizer.param_groups
    assert sum(len(g['params']) for g in groups) == len(learning)
    if name == 'prompt_tuning':
        assert [(g['lr'], g['weight_decay']) for g in groups] == [(0.05, 0.25)]


def test_rounding():
    optimizer = torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=1.0)
    build = PARAM_SCHEDULERS.get('RoundedMultiStepLR').build_iter_from_epoch
    scheduler = build(optimizer, milestones=[0.5, 1.26], gamma=0.1, epoch_length=10)
    rates = []
    for _ in range(15):
        rates.append(optimizer.param_groups[0]['lr'])
        optimizer.step()
        scheduler.step()
    assert rates == pytest.approx([1.0] * 5 + [0.1] * 8 + [0.01] * 2)
