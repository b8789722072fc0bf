"""A toy model in shards beside its twin without them; torchrun starts this in two processes.

Each process trains the twin on the whole batch, and its shards on its half of it.
"""

import copy
import sys
from pathlib import Path
from types import SimpleNamespace

import torch
import torch.distributed as dist
from mmengine.model import BaseModel
from mmengine.optim import AmpOptimWrapper, OptimWrapper, build_optim_wrapper
from mmengine.registry import OPTIM_WRAPPERS, DefaultScope
from torch import nn
from torch.distributed.fsdp import FSDPModule
from torch.distributed.tensor import DTensor

from fiber_mmdet.engine import Bf16OptimWrapper, ChosenWeightsEMAHook, ResumableFSDPStrategy
from fiber_mmdet.models.backbone import FusionLayer

CLIPPED = dict(clip_grad=dict(max_norm=0.05))
# where gradients vanish, Adam would divide rounding errors by each other
ADAMW = dict(optimizer=dict(type='AdamW', lr=0.01, weight_decay=0.1, eps=1e-3))
GROUPS = dict(constructor='FIBEROptimWrapperConstructor')


class Unit(FusionLayer):
    """A unit with a scalar parameter, whose activations are computed again."""

    def __init__(self):
        super().__init__()
        self.fc = nn.Linear(8, 8)
        self.gate = nn.Parameter(torch.tensor(0.5))

    def forward(self, x):
        fc = torch.utils.checkpoint.checkpoint(self.fc, x, use_reentrant=False)
        return x + self.gate * fc.relu()


class Toy(BaseModel):
    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.first = nn.Linear(3, 8)
        self.backbone = nn.ModuleList([Unit(), Unit()])
        self.frozen = nn.Linear(8, 8).requires_grad_(False)
        self.last, self.other = nn.Linear(8, 1), nn.Linear(8, 1)
        self.unused = nn.Linear(8, 1)  # without a gradient nothing decays
        self.scale = nn.Parameter(torch.tensor(2.0))
        self.register_buffer('count', torch.tensor(1.5))

    def forward(self, inputs, other=1.0, mode='loss'):
        x = self.first(inputs)
        for unit in self.backbone:
            x = unit(x)
        loss = self.scale * self.last(self.frozen(x)).square().mean()
        return dict(loss=loss + other * self.other(x[:2]).square().mean())


@OPTIM_WRAPPERS.register_module()
class ScaledOnCPU(AmpOptimWrapper):
    """Scaled losses in float32, of a scale that is too large at first."""

    optim_context = OptimWrapper.optim_context

    def __init__(self, **kwargs):
        OptimWrapper.__init__(self, **kwargs)
        self._scale_update_param = None
        self.loss_scaler = torch.amp.GradScaler('cpu', 2.0**127, backoff_factor=2.0**-60)


def twins(folder, config):
    """The shards with their strategy, and the twin with its optimizer."""
    plain = Toy()
    optimizer = build_optim_wrapper(plain, copy.deepcopy(config))
    strategy = ResumableFSDPStrategy(work_dir=folder, env_kwargs=dict(launcher='pytorch'))
    strategy.prepare(Toy(), optim_wrapper=copy.deepcopy(config), dispatch_kwargs=dict(max_iters=99))
    assert isinstance(strategy.model, FSDPModule)
    assert all(isinstance(p, DTensor) for p in strategy.model.parameters())
    return strategy, plain, optimizer


def step(number, strategy, plain, optimizer):
    """One iteration of both; their losses and norms."""
    rank = dist.get_rank()
    batch = torch.randn(4, 3, generator=torch.Generator().manual_seed(number))
    half = dict(inputs=batch[2 * rank : 2 * rank + 2], other=1.0 - rank)
    found = strategy.model.train_step(half, strategy.optim_wrapper)['loss'].detach().clone()
    dist.all_reduce(found)
    expected = plain.train_step(dict(inputs=batch, other=0.5), optimizer)['loss']
    return found / 2, expected


def compare(strategy, plain, tolerance):
    """Compare the weights in the main process."""
    state = strategy.model_state_dict()
    expected = plain.state_dict()
    assert state.keys() == expected.keys()
    for key, value in expected.items() if dist.get_rank() == 0 else ():
        torch.testing.assert_close(state[key], value, rtol=tolerance, atol=tolerance, msg=key)


def same_training(folder, config, tolerance=1e-6, steps=4):
    strategy, plain, optimizer = twins(folder, config)
    for number in range(steps):
        torch.testing.assert_close(
            *step(number, strategy, plain, optimizer), rtol=tolerance, atol=tolerance
        )
    compare(strategy, plain, tolerance)
    assert not torch.equal(plain.first.weight, Toy().first.weight)
    assert torch.equal(plain.unused.weight, Toy().unused.weight)
    return strategy, plain, optimizer


def exchange_states(strategy, plain, optimizer, file):
    """The states of both optimizers are the same; each goes on with the other's."""
    found, expected = strategy.optim_state_dict(), optimizer.state_dict()
    if dist.get_rank() == 0:
        assert found['state'].keys() == expected['state'].keys()
        for number, entries in expected['state'].items():
            for key, value in entries.items():
                torch.testing.assert_close(found['state'][number][key], value, rtol=1e-5, atol=1e-7)
        torch.save(found, file)
    dist.barrier()
    strategy.load_optim_state_dict(copy.deepcopy(expected))
    optimizer.load_state_dict(torch.load(file))
    strategy.load_model_state_dict(copy.deepcopy(plain.state_dict()))
    torch.testing.assert_close(*step(9, strategy, plain, optimizer))
    compare(strategy, plain, 1e-6)


def averages(strategy, plain, optimizer):
    """Averaged weights are evaluated, each process for itself, and put back."""
    runners = [SimpleNamespace(model=model, iter=0) for model in (strategy.model, plain)]
    hooks = [ChosenWeightsEMAHook(momentum=0.3) for _ in runners]
    for hook, runner in zip(hooks, runners):
        hook.before_run(runner)
        hook.before_train(SimpleNamespace(model=runner.model, max_iters=99))
    step(20, strategy, plain, optimizer)
    for hook, runner in zip(hooks, runners):
        hook.after_train_iter(runner, 0)
        hook.before_val_epoch(runner)
    whole = strategy.hooks[0]
    whole.before_val_epoch(runners[0])
    if dist.get_rank() == 0:  # alone
        with torch.no_grad():
            x = torch.ones(1, 3)
            found = strategy.model.backbone[0](strategy.model.first(x))
            torch.testing.assert_close(found, plain.backbone[0](plain.first(x)))
            found, expected = strategy.model(x)['loss'], plain(x)['loss']
            torch.testing.assert_close(found.squeeze(), expected)
    for hook, runner in zip(hooks, runners):
        hook.after_val_epoch(runner)
    whole.after_val_epoch(runners[0])
    compare(strategy, plain, 1e-6)
    checkpoints = [
        dict(state_dict=strategy.model_state_dict()),
        dict(state_dict=plain.state_dict()),
    ]
    for hook, runner, checkpoint in zip(hooks, runners, checkpoints):
        hook.before_save_checkpoint(runner, checkpoint)
    if dist.get_rank() == 0:
        for part in ('state_dict', 'ema_state_dict'):
            assert checkpoints[0][part].keys() == checkpoints[1][part].keys()
            for key, value in checkpoints[1][part].items():
                torch.testing.assert_close(checkpoints[0][part][key], value)
    for hook, runner in zip(hooks, runners):
        runner._resume, runner._train_loop = True, None
        hook.after_load_checkpoint(runner, copy.deepcopy(checkpoints[1]))
    torch.testing.assert_close(*step(21, strategy, plain, optimizer))


def main(folder):
    dist.init_process_group('gloo')
    Bf16OptimWrapper.enabled = property(lambda self: True, lambda self, value: None)
    with DefaultScope.overwrite_default_scope('mmdet'):
        several = dict(type='OptimWrapper', accumulative_counts=2, **ADAMW, **GROUPS, **CLIPPED)
        trained = same_training(folder, several)
        exchange_states(*trained, folder / 'optimizer.pth')
        averages(*same_training(folder, dict(type='OptimWrapper', **ADAMW, **CLIPPED)))
        scaled = dict(type='ScaledOnCPU', **ADAMW, **CLIPPED)
        strategy, _, optimizer = same_training(folder, scaled)
        scales = [w.loss_scaler.get_scale() for w in (strategy.optim_wrapper, optimizer)]
        assert scales == [2.0**67] * 2  # one step was skipped
        same_training(folder, dict(type='Bf16OptimWrapper', **ADAMW, **CLIPPED), 0.02)
        # in bfloat16, directions without a gradient are noise that Muon blows up
        torch.Tensor.bfloat16 = lambda self: self
        muon = dict(type='MuonAdamW', lr=0.001, matrix_lr=0.01, weight_decay=0.1)
        same_training(folder, dict(type='OptimWrapper', optimizer=muon, **GROUPS, **CLIPPED), 1e-3)
        dist.barrier()
    print('done')
    dist.destroy_process_group()


if __name__ == '__main__':
    main(Path(sys.argv[1]))
