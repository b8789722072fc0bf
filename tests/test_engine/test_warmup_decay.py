"""The learning rate of the image-text stage, step by step, against the reference's formula."""

from pathlib import Path

import pytest
import torch
from mmdet.registry import PARAM_SCHEDULERS
from mmengine.config import Config
from mmengine.optim import LinearLR, OptimWrapper, PolyLR, build_optim_wrapper
from mmengine.registry import DefaultScope
from torch import nn

import fiber_mmdet  # noqa: F401

# mmengine warns when the first iteration only accumulates
pytestmark = pytest.mark.filterwarnings('ignore:.*before `optimizer.step')
LR = 2e-5
SCHEDULES = Path(__file__).resolve().parents[2] / 'configs/_base_/schedules'


def wrapped(accumulated=1):
    model = nn.Linear(1, 1)
    optimizer = torch.optim.AdamW(
        [dict(params=[model.weight], lr=LR), dict(params=[model.bias], lr=5 * LR)]
    )
    return model, OptimWrapper(optimizer, accumulative_counts=accumulated)


def steps(iterations, accumulated=1, **cfg):
    """The learning rates of both groups, in each optimizer step of a training."""
    model, wrapper = wrapped(accumulated)
    scheduler = PARAM_SCHEDULERS.build(
        dict(type='WarmupDecayLR', **cfg), default_args=dict(optimizer=wrapper, epoch_length=30)
    )
    wrapper.initialize_count_status(model, 0, iterations)
    found = []
    inner = wrapper.optimizer.step
    wrapper.optimizer.step = lambda: (
        found.append([group['lr'] for group in wrapper.optimizer.param_groups]),
        inner(),
    )
    for _ in range(iterations):
        wrapper.update_params(model(torch.ones(1, 1)).sum())
        scheduler.step()
    return found


def reference(step, total, warmup):
    """Linear warm-up, then a polynomial of power 1 to 0."""
    if step < warmup:
        return LR * step / max(1, warmup)
    return LR * (1 - (step - warmup) / (total - warmup))


@pytest.mark.parametrize(
    'iterations, accumulated, total', [(60, 1, 60), (480, 8, 60), (57, 1, 57), (200, 8, 25)]
)
def test_every_step(iterations, accumulated, total):
    found = steps(iterations, accumulated, by_epoch=False, end=iterations)
    assert len(found) == total
    for step, (plain, times_five) in enumerate(found):
        expected = reference(step, total, int(0.1 * total))
        assert plain == pytest.approx(expected) and times_five == pytest.approx(5 * expected)
    assert found[0] == [0, 0] and max(found)[0] == LR


def test_epochs_become_iterations():
    cfg = dict(by_epoch=True, convert_to_iter_based=True, end=10)
    assert steps(300, **cfg) == steps(300, by_epoch=False, end=300)
    # batches are accumulated across the ends of epochs; those left over make a last, smaller step
    found = steps(300, 8, **cfg)
    assert len(found) == 38 and found[-1] == [0, 0]
    assert found[36][0] == pytest.approx(LR / (37 - 3))


class Toy(nn.Module):
    def __init__(self):
        super().__init__()
        self.fused, self.words, self.tower = (nn.Linear(1, 1) for _ in range(3))


@pytest.mark.parametrize(
    'name, epoch_length, iterations, total',
    [('image_text_100k', None, 1600, 200), ('image_text_10e', 43, 430, 430)],
)
def test_the_schedules_of_the_paper(name, epoch_length, iterations, total):
    cfg = Config.fromfile(SCHEDULES / f'{name}.py')
    if epoch_length is None:  # in small
        assert cfg.train_cfg.max_iters == 8 * 100_000
        cfg.train_cfg.max_iters = iterations
    with DefaultScope.overwrite_default_scope('mmdet'):
        wrapper = build_optim_wrapper(Toy(), cfg.optim_wrapper)
    end = cfg.train_cfg.get('max_iters') or cfg.train_cfg.max_epochs  # as the runner fills it in
    (scheduler,) = (
        PARAM_SCHEDULERS.build(
            dict(part, end=end), default_args=dict(optimizer=wrapper, epoch_length=epoch_length)
        )
        for part in cfg.param_scheduler
    )
    base = cfg.optim_wrapper.optimizer.lr
    accumulated = cfg.optim_wrapper.accumulative_counts
    for iteration in range(iterations):
        factor = reference(iteration // accumulated, total, total // 10) / LR
        found = {(group['lr'], group['weight_decay']) for group in wrapper.optimizer.param_groups}
        assert sorted(found) == [
            pytest.approx(pair)
            for pair in sorted(
                {(base * mult * factor, decay) for mult in (1, 5) for decay in (0, 0.01)}
            )
        ], iteration
        wrapper.step()
        scheduler.step()


def test_as_mmengines_schedulers_but_for_their_first_step():
    _, wrapper = wrapped()
    pair = [
        LinearLR(wrapper, start_factor=1e-9, by_epoch=False, end=11),
        PolyLR(wrapper, power=1.0, by_epoch=False, begin=10, end=101),
    ]
    values = []
    for _ in range(100):
        values.append(wrapper.param_groups[0]['lr'])
        wrapper.optimizer.step()
        for scheduler in pair:
            scheduler.step()
    ours = [plain for plain, _ in steps(100, by_epoch=False, end=100)]
    assert ours == pytest.approx(values, abs=1e-13)


def test_resumed():
    states, values = [], []
    for resumed in (False, True):
        model, wrapper = wrapped(4)
        scheduler = PARAM_SCHEDULERS.build(
            dict(type='WarmupDecayLR', optimizer=wrapper, by_epoch=False, end=100)
        )
        if resumed:
            scheduler.load_state_dict(states[0])
        else:
            for _ in range(42):
                scheduler.step()
            states.append(scheduler.state_dict().copy())
        scheduler.step()
        values.append(scheduler.get_last_value())
    assert values[0] == values[1] != [0, 0]


@pytest.mark.parametrize(
    'cfg, message',
    [
        (dict(warmup=10, end=5), 'warmup=10 must be a share'),
        (dict(), 'needs the length of the training'),
        (dict(end=10, by_epoch=True), 'counts iterations'),
    ],
)
def test_settings_that_make_no_sense(cfg, message):
    with pytest.raises(ValueError, match=message):
        PARAM_SCHEDULERS.build(dict(dict(type='WarmupDecayLR', optimizer=wrapped()[1]), **cfg))
