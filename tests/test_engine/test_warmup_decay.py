"""The learning rate of the image-level stage, step by step, against the reference's formula."""
import pytest
import torch
from mmdet.registry import PARAM_SCHEDULERS
from mmengine.optim import LinearLR, OptimWrapper, PolyLR
from torch import nn

import fiber_mmdet  # noqa: F401

# mmengine warns when the first iteration only accumulates
pytestmark = pytest.mark.filterwarnings('ignore:.*before `optimizer.step')
LR = 2e-5


def wrapped(accumulated=1):
    model = nn.Linear(1, 1)
    optimizer = torch.optim.AdamW(
        [dict(params=[model.weight], lr=LR), dict(params=[model.bias], lr=5 * LR)])
    return model, OptimWrapper(optimizer, accumulative_counts=accumulated)


def steps(iterations, accumulated=1, **cfg):
    """The learning rates of both groups, in each optimizer step of a training."""
    model, wrapper = wrapped(accumulated)
    scheduler = PARAM_SCHEDULERS.build(
        dict(type='WarmupDecayLR', **cfg), default_args=dict(optimizer=wrapper, epoch_length=30))
    wrapper.initialize_count_status(model, 0, iterations)
    found = []
    inner = wrapper.optimizer.step
    wrapper.optimizer.step = lambda: (
        found.append([group['lr'] for group in wrapper.optimizer.param_groups]), inner())
    for _ in range(iterations):
        wrapper.update_params(model(torch.ones(1, 1)).sum())
        scheduler.step()
    return found


def reference(step, total, warmup):
    """Linear warm-up, then a polynomial of power 1 to 0."""
    if step < warmup:
        return LR * step / max(1, warmup)
    return LR * (1 - (step - warmup) / (total - warmup))


@pytest.mark.parametrize('iterations, accumulated, total', [
    (60, 1, 60), (480, 8, 60), (57, 1, 57), (200, 8, 25)])
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


def test_as_mmengines_schedulers_but_for_their_first_step():
    _, wrapper = wrapped()
    pair = [LinearLR(wrapper, start_factor=1e-9, by_epoch=False, end=11),
            PolyLR(wrapper, power=1.0, by_epoch=False, begin=10, end=101)]
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
        scheduler = PARAM_SCHEDULERS.build(dict(
            type='WarmupDecayLR', optimizer=wrapper, by_epoch=False, end=100))
        if resumed:
            scheduler.load_state_dict(states[0])
        else:
            for _ in range(42):
                scheduler.step()
            states.append(scheduler.state_dict().copy())
        scheduler.step()
        values.append(scheduler.get_last_value())
    assert values[0] == values[1] != [0, 0]


@pytest.mark.parametrize('cfg, message', [
    (dict(warmup=10, end=5), 'warmup=10 must be a share'),
    (dict(), 'needs the length of the training'),
    (dict(end=10, by_epoch=True), 'counts iterations')])
def test_settings_that_make_no_sense(cfg, message):
    with pytest.raises(ValueError, match=message):
        PARAM_SCHEDULERS.build(dict(dict(type='WarmupDecayLR', optimizer=wrapped()[1]), **cfg))
