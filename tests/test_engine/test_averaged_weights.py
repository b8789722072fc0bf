"""Averaged weights: which set is evaluated, saved, resumed and tested."""

import copy
import itertools
from types import SimpleNamespace

import pytest
import torch
from mmengine.runner import FlexibleRunner, Runner

from fiber_mmdet.engine.averaged_weights import ChosenWeightsEMAHook
from toy_runs import COUNT, Noisy, Score, Toy, run

EPOCHS = dict(max_epochs=2)
BOTH = list(itertools.product(('ema', 'model'), repeat=2))


def hooks(evaluate='ema', save='ema', **more):
    return [
        dict(type='ChosenWeightsEMAHook', evaluate=evaluate, save=save, momentum=0.3, **more),
        dict(type='SeedEveryIterHook'),
    ]


def load(path):
    return torch.load(path, weights_only=False)


class Steps:
    """Collector of the model's state after every step."""

    def __init__(self):
        self.states = []

    def __call__(self, runner, *args, **kwargs):
        self.states.append(copy.deepcopy(runner.model.state_dict()))


def watch(monkeypatch):
    steps = Steps()
    update = ChosenWeightsEMAHook.after_train_iter

    def spied(self, runner, *args, **kwargs):
        update(self, runner, *args, **kwargs)
        steps(runner)

    monkeypatch.setattr(ChosenWeightsEMAHook, 'after_train_iter', spied)
    return steps


@pytest.mark.parametrize('evaluate, save', BOTH)
def test_average_is_the_references_and_is_saved_as_chosen(evaluate, save, tmp_path, monkeypatch):
    steps = watch(monkeypatch)
    model = Toy()
    expected = {key: value.clone().double() for key, value in model.state_dict().items()}
    recorded, _ = run(tmp_path, hooks(evaluate, save), EPOCHS, model=model)
    for state in steps.states:
        for key, value in state.items():
            if value.is_floating_point():  # running statistics too
                expected[key] = 0.7 * expected[key] + 0.3 * value.double()
    found = load(tmp_path / 'epoch_2.pth')
    trained = steps.states[-1]
    average = {key: value.float() for key, value in expected.items() if value.dim()}
    first, second = (average, trained) if save == 'ema' else (trained, average)
    assert found['saved_weights'] == save
    for key in average:
        torch.testing.assert_close(
            found['state_dict'][key], first[key].float(), rtol=1e-5, atol=1e-6
        )
        torch.testing.assert_close(
            found['ema_state_dict']['module.' + key], second[key].float(), rtol=1e-5, atol=1e-6
        )
    assert not torch.allclose(average['first.weight'], trained['first.weight'], atol=1e-3)
    # the metric is the sum of predictions on noise, which distinguishes the two sets of weights
    other, _ = run(tmp_path / 'other', hooks('model' if evaluate == 'ema' else 'ema', save), EPOCHS)
    same, _ = run(tmp_path / 'same', hooks(evaluate, 'ema'), EPOCHS)
    assert same.metrics == recorded.metrics
    assert other.metrics[1] != recorded.metrics[1]
    assert other.losses == recorded.losses  # evaluating leaves the trained weights alone


@pytest.mark.parametrize('written', BOTH)
@pytest.mark.parametrize('read', BOTH)
def test_resumed_from_either_layout(written, read, tmp_path):
    full, _ = run(tmp_path / 'full', hooks(*written), EPOCHS)
    again, _ = run(tmp_path / 'again', hooks(*read), EPOCHS, resume=tmp_path / 'full/epoch_1.pth')
    assert again.losses == pytest.approx({i: full.losses[i] for i in range(4, 8)}, rel=1e-6)
    expected, found = load(tmp_path / 'full/epoch_2.pth'), load(tmp_path / 'again/epoch_2.pth')
    if written[1] != read[1]:
        hook = ChosenWeightsEMAHook()
        hook._swap_ema_state_dict(found)
    for part in ('state_dict', 'ema_state_dict'):
        assert expected[part].keys() == found[part].keys()
        for key, value in expected[part].items():
            torch.testing.assert_close(found[part][key], value, rtol=1e-6, atol=1e-7)


def weights_tested(path, folder, custom_hooks):
    """The weights that Runner.test evaluates."""
    seen = {}

    class Spy(Score):
        def process(self, data_batch, data_samples):
            seen.update(copy.deepcopy(runner.model.state_dict()))
            super().process(data_batch, data_samples)

    runner = Runner(
        model=Toy(),
        work_dir=str(folder),
        experiment_name=f'test-{next(COUNT)}',
        default_scope='mmdet',
        load_from=str(path),
        custom_hooks=custom_hooks,
        test_cfg=dict(),
        log_level='ERROR',
        test_dataloader=dict(
            batch_size=2,
            num_workers=0,
            dataset=Noisy(2),
            collate_fn=dict(type='default_collate'),
            sampler=dict(type='DefaultSampler', shuffle=False),
        ),
        test_evaluator=Spy(),
    )
    runner.test()
    return seen


@pytest.mark.parametrize('evaluate, save', BOTH)
def test_tested_weights_are_the_chosen_ones(evaluate, save, tmp_path):
    run(tmp_path, hooks(evaluate, save), dict(max_epochs=1))
    file = load(tmp_path / 'epoch_1.pth')
    first, second = (
        file['state_dict'],
        {key[7:]: value for key, value in file['ema_state_dict'].items() if key != 'steps'},
    )
    found = weights_tested(tmp_path / 'epoch_1.pth', tmp_path / 'a', hooks(evaluate, save))
    expected, other = (first, second) if evaluate == save else (second, first)
    assert torch.equal(found['first.weight'], expected['first.weight'])
    assert not torch.equal(found['first.weight'], other['first.weight'])
    # without the hook, state_dict is tested
    found = weights_tested(tmp_path / 'epoch_1.pth', tmp_path / 'b', [])
    assert torch.equal(found['first.weight'], first['first.weight'])


def test_new_training_starts_from_state_dict(tmp_path):
    run(tmp_path, hooks('ema', 'model'), dict(max_epochs=1))
    start = load(tmp_path / 'epoch_1.pth')['state_dict']
    model = Toy()
    run(
        tmp_path / 'next',
        hooks('ema', 'ema'),
        dict(max_epochs=1),
        model=model,
        lr=0.0,
        start=tmp_path / 'epoch_1.pth',
    )
    average = load(tmp_path / 'next/epoch_1.pth')['state_dict']
    for found in (model.first.weight.detach(), average['first.weight']):
        torch.testing.assert_close(found, start['first.weight'])


def test_our_readers_take_what_is_tested(tmp_path):
    from fiber_mmdet.checkpoints.fitting import fitting_weights
    from fiber_mmdet.checkpoints.reading import our_weights, read_checkpoint

    run(tmp_path, hooks('ema', 'ema'), dict(max_epochs=1))
    checkpoint = read_checkpoint(tmp_path / 'epoch_1.pth')
    state = fitting_weights(checkpoint, Toy(), 'epoch_1.pth')
    assert state.keys() == our_weights(checkpoint).keys() == Toy().state_dict().keys()
    expected = load(tmp_path / 'epoch_1.pth')['state_dict']
    assert all(torch.equal(value, expected[key]) for key, value in state.items())


def test_unknown_set():
    with pytest.raises(ValueError, match="ChosenWeightsEMAHook.evaluate is 'ema' or 'model'"):
        ChosenWeightsEMAHook(evaluate='raw')


def test_flexible_runner_loads_before_it_says_that_a_run_begins():
    """The average that was loaded is not replaced by a copy of the weights."""
    runner = FlexibleRunner.__new__(FlexibleRunner)
    runner.model, runner._resume, runner._train_loop = torch.nn.Linear(2, 2), True, {}
    hook = ChosenWeightsEMAHook()
    source = ChosenWeightsEMAHook()
    source.before_run(SimpleNamespace(model=torch.nn.Linear(2, 2)))
    checkpoint = dict(state_dict=runner.model.state_dict(), saved_weights='model')
    checkpoint['ema_state_dict'] = source.ema_model.state_dict()
    hook.after_load_checkpoint(runner, checkpoint)
    hook.before_run(runner)
    assert torch.equal(hook.ema_model.module.weight, source.ema_model.module.weight)
    assert hook.src_model is runner.model
