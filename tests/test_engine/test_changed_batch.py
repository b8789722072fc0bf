"""What changes when a training goes on with another batch."""

from types import SimpleNamespace

import pytest
import torch
from mmengine.optim import LinearLR, OptimWrapper
from mmengine.runner import IterBasedTrainLoop

from fiber_mmdet.engine import ChangedBatchHook


def runner(processes, size, scale=False, loop=IterBasedTrainLoop):
    model = torch.nn.Linear(2, 2)
    groups = [dict(params=[p], lr=0.1 * (i + 1)) for i, p in enumerate(model.parameters())]
    optimizer = OptimWrapper(torch.optim.SGD(groups, lr=0.1))
    train_loop = loop.__new__(loop)
    train_loop.dataloader = SimpleNamespace(batch_size=size)
    remarks = []
    return SimpleNamespace(
        world_size=processes,
        train_loop=train_loop,
        iter=100,
        _resume=True,
        optim_wrapper=optimizer,
        param_schedulers=[LinearLR(optimizer, start_factor=0.5, end=10, by_epoch=False)],
        auto_scale_lr=dict(enable=scale, base_batch_size=8),
        logger=SimpleNamespace(warning=remarks.append),
        remarks=remarks,
    )


def resume(saved, now):
    """Resume a training of one runner in another; the rates of its first step."""
    checkpoint = dict(meta={})
    ChangedBatchHook().before_save_checkpoint(saved, checkpoint)
    hook = ChangedBatchHook()
    hook.after_load_checkpoint(now, checkpoint)
    hook.before_train(now)
    before = [group['lr'] for group in now.optim_wrapper.param_groups]
    for _ in range(20):
        now.param_schedulers[0].step()
    return before, [group['lr'] for group in now.optim_wrapper.optimizer.param_groups]


def test_the_same_batch_is_not_mentioned():
    now = runner(2, 8, scale=True)
    assert resume(runner(4, 4), now)[1] == pytest.approx([0.1, 0.2])
    assert not now.remarks


def test_rates_stay_or_follow():
    now = runner(2, 4)
    first, last = resume(runner(4, 4), now)
    assert last == pytest.approx([0.1, 0.2]) and first[0] == pytest.approx(0.05)
    (remark,) = now.remarks
    assert 'is 8 (2 processes with 4), that of the checkpoint 16 (4 with 4)' in remark
    assert 'rates stay' in remark and '800 samples are trained on again' in remark
    now = runner(8, 4, scale=True)
    first, last = resume(runner(4, 4), now)
    assert last == pytest.approx([0.2, 0.4]) and first[0] == pytest.approx(0.1)
    assert 'now 2 times' in now.remarks[0] and '1600 samples are left out' in now.remarks[0]


def test_epochs():
    now = runner(2, 4, loop=type('Epochs', (), {}))
    resume(runner(4, 4), now)
    assert 'the same share of the running epoch' in now.remarks[0]


@pytest.mark.parametrize('value', [None, 4, [4], [0, 4], ['a', 4]])
def test_other_checkpoints(value):
    now = runner(2, 4)
    hook = ChangedBatchHook()
    hook.after_load_checkpoint(now, dict(meta=dict(batch_of_iteration=value)))
    hook.before_train(now)
    assert not now.remarks
