"""Trainings that cannot succeed stop, with the reason, before they write a checkpoint of it."""

from types import SimpleNamespace

import pytest
import torch
from mmengine.optim import AmpOptimWrapper, OptimWrapper
from torch import nn
from torch.utils.data import BatchSampler, DataLoader, Dataset

from fiber_mmdet.datasets.steps import refuse_no_steps
from fiber_mmdet.engine import TrainingCheckHook
from fiber_mmdet.engine.training_check import DivergedError
from toy_runs import Toy, run


class Diverging(Toy):
    """A toy whose loss is what is given, at each iteration."""

    def __init__(self, *losses):
        super().__init__()
        self.losses = list(losses)

    def forward(self, inputs, mode='loss'):
        found = super().forward(inputs, mode)
        if mode != 'loss':
            return found
        factor = self.losses.pop(0) if self.losses else 1.0
        return dict(loss_a=found['loss'], loss_b=found['loss'] * factor)


def hooks(by_epoch=False):
    checkpoint = dict(type='WholeCheckpointHook', interval=2, by_epoch=by_epoch, max_keep_ckpts=1)
    return dict(
        default_hooks=dict(checkpoint=checkpoint, check=dict(type='TrainingCheckHook')),
        validate=False,
    )


@pytest.mark.parametrize('value', ['nan', 'inf', '-inf'])
@pytest.mark.parametrize('loop', [dict(max_iters=6), dict(max_epochs=2)])
def test_a_loss_that_is_no_number_stops_the_training(tmp_path, value, loop):
    model = Diverging(1.0, 1.0, float(value))
    with pytest.raises(DivergedError, match=rf'iteration 3: loss is {value}, loss_b is {value}'):
        run(tmp_path, [], loop, model=model, **hooks('max_epochs' in loop))
    for file in tmp_path.glob('*.pth'):
        state = torch.load(file, weights_only=False)['state_dict']
        assert all(value.isfinite().all() for value in state.values())
    names = [file.name for file in tmp_path.glob('*.pth')]
    assert names == ([] if 'max_epochs' in loop else ['iter_2.pth'])


def test_weights_that_are_no_numbers_are_not_saved(tmp_path):
    """The gradient is infinite where the loss is not, in the step before the checkpoint."""

    class Steep(Toy):
        def forward(self, inputs, mode='loss'):
            found = super().forward(inputs, mode)
            self.steps = getattr(self, 'steps', 0) + 1
            if self.steps == 4:
                found['loss'] = (
                    found['loss'] + self.last.bias.sum().sub(self.last.bias.item()).sqrt()
                )
            return found

    with pytest.raises(DivergedError, match=r'iteration 4: weights are NaN.*state_dict: .*last\.'):
        run(tmp_path, [], dict(max_iters=6), model=Steep(), **hooks())
    assert [file.name for file in tmp_path.glob('*.pth')] == ['iter_2.pth']


def iteration(hook, wrapper, *losses):
    warned = []
    runner = SimpleNamespace(
        iter=0, optim_wrapper=wrapper, logger=SimpleNamespace(warning=warned.append)
    )
    for runner.iter, loss in enumerate(losses):
        hook.after_train_iter(runner, 0, None, dict(loss=torch.tensor(loss), grad=float('inf')))
    return warned


def scaling(enabled):
    wrapper = object.__new__(AmpOptimWrapper)
    wrapper.loss_scaler = SimpleNamespace(is_enabled=lambda: enabled)
    return wrapper


def test_steps_that_a_scaler_skips_are_allowed():
    nan = float('nan')
    hook, wrapper = TrainingCheckHook(), scaling(True)
    assert iteration(hook, wrapper, 1.0, 2.0) == []  # whatever the gradients are
    warned = iteration(hook, wrapper, 1.0, nan, nan, 1.0, nan)
    assert len(warned) == 3 and 'iteration 2: loss is nan; the gradient scaler' in warned[0]
    with pytest.raises(DivergedError, match='iteration 2'):
        iteration(hook, wrapper, nan, nan)
    for other in (scaling(False), OptimWrapper(torch.optim.SGD(nn.Linear(1, 1).parameters(), 1))):
        with pytest.raises(DivergedError, match='iteration 1: loss is nan'):
            iteration(TrainingCheckHook(), other, nan)


# ------------------------------------------------------------------- steps
class Images(Dataset):
    def __init__(self, tall, wide):
        self.sizes = [(1, 2)] * tall + [(2, 1)] * wide

    def __len__(self):
        return len(self.sizes)

    def __getitem__(self, index):
        return index

    def get_data_info(self, index):
        width, height = self.sizes[index]
        return dict(width=width, height=height)


def loader(kind, tall, wide, size, drop_last, world=1):
    from mmdet.datasets.samplers import AspectRatioBatchSampler
    from mmengine.dataset import DefaultSampler, InfiniteSampler

    data = Images(tall, wide)
    sampler = (InfiniteSampler if kind == 'infinite' else DefaultSampler)(data)
    if world > 1:
        sampler.num_samples = -(-len(data) // world)
    kinds = dict(aspect=AspectRatioBatchSampler)
    batches = kinds.get(kind, BatchSampler)(sampler, size, drop_last)
    return DataLoader(data, batch_sampler=batches)


@pytest.mark.parametrize(
    'arguments, message',
    [
        (('plain', 5, 0, 8, True), '5 samples make no whole batch of 8, and drop_last=True'),
        (('plain', 8, 0, 8, True), None),
        (('plain', 5, 0, 8, False), None),
        (('plain', 12, 0, 8, True, 2), r'6 samples of each process \(12 in all\) make no'),
        (('plain', 16, 0, 8, True, 2), None),
        (('aspect', 4, 4, 8, True), '8 samples make no whole batch of 8'),
        (('aspect', 4, 5, 8, True), None),
        (('aspect', 7, 8, 8, True), None),
        (('aspect', 3, 2, 8, False), None),
        (('infinite', 5, 0, 8, True), None),
    ],
)
def test_a_training_without_steps_is_refused(arguments, message):
    made = loader(*arguments)
    if message is None:
        refuse_no_steps(made)
        return
    with pytest.raises(ValueError, match=message):
        refuse_no_steps(made)


@pytest.mark.parametrize('loop', [dict(max_epochs=2), dict(max_iters=4)])
@pytest.mark.parametrize(
    'scheduler',
    [
        None,
        dict(type='WarmupDecayLR', by_epoch=True, convert_to_iter_based=True, begin=0, end=2),
        dict(type='RoundedMultiStepLR', by_epoch=True, convert_to_iter_based=True, milestones=[1]),
    ],
)
def test_whatever_the_schedule(tmp_path, loop, scheduler):
    with pytest.raises(ValueError, match='5 samples make no whole batch of 8.*no step'):
        run(
            tmp_path,
            [],
            loop,
            dict(batch_size=8, drop_last=True),
            size=5,
            scheduler=scheduler and [scheduler],
            **hooks(),
        )
    assert not list(tmp_path.glob('*.pth'))
