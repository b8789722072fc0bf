"""A training that goes on with another batch than it had."""

from typing import Any

from mmdet.registry import HOOKS
from mmengine.hooks import Hook
from mmengine.runner import IterBasedTrainLoop

from .start import is_count

KEY = 'batch_of_iteration'  # key of a checkpoint's meta: processes, and samples of each


@HOOKS.register_module()
class ChangedBatchHook(Hook):
    """Says what changes when a training is resumed with another batch, and keeps it defined.

    The batch of an iteration is that of a process times the number of processes, which an elastic
    job may lose and regain (``torchrun --nnodes 1:4``). Then

    - learning rates stay as they were; with ``auto_scale_lr.enable`` (``--auto-scale-lr``) they,
      and the rates of which schedules are multiples, follow the batch;
    - a loop of iterations goes on at the same iteration, with the samples that it would have there
      if it had always had the new batch: some are trained on again, or left out;
    - a loop of epochs goes on after the same share of the epoch.
    """

    def __init__(self) -> None:
        self._before: Any = None

    def before_save_checkpoint(self, runner: Any, checkpoint: dict) -> None:
        """Write the batch into the checkpoint."""
        size = samples_of_process(runner.train_loop.dataloader)
        if size is not None:
            checkpoint['meta'][KEY] = [runner.world_size, size]

    def after_load_checkpoint(self, runner: Any, checkpoint: dict) -> None:
        """Remember that of the checkpoint."""
        self._before = checkpoint.get('meta', {}).get(KEY) if runner._resume else None

    def before_train(self, runner: Any) -> None:
        """Compare the batch with that of the checkpoint; scale the learning rates."""
        before, self._before = self._before, None
        size = samples_of_process(runner.train_loop.dataloader)
        if size is None or not is_batch(before):
            return
        now = [runner.world_size, size]
        old, new = before[0] * before[1], now[0] * now[1]
        if old == new:
            return
        scaling = getattr(runner, 'auto_scale_lr', None) or getattr(runner, '_auto_scale_lr', None)
        if (scaling or {}).get('enable'):
            scale_rates(runner, new / old)
            rates = f'learning rates are now {new / old:g} times what they were'
        else:
            rates = 'learning rates stay as they were (--auto-scale-lr scales them)'
        if isinstance(runner.train_loop, IterBasedTrainLoop):
            done = runner.iter * (new - old)
            order = (
                f'about {abs(done)} samples are {"left out" if done > 0 else "trained on again"}'
            )
        else:
            order = 'the same share of the running epoch counts as done'
        runner.logger.warning(
            f'The batch of an iteration is {new} ({now[0]} processes with {now[1]}), that of the '
            f'checkpoint {old} ({before[0]} with {before[1]}): {rates}; {order}; lengths in '
            'iterations, also of schedules, stay as they were'
        )


def is_batch(value: Any) -> bool:
    """Whether a value of a checkpoint is what :class:`ChangedBatchHook` writes."""
    return isinstance(value, list) and len(value) == 2 and all(is_count(v) and v for v in value)


def samples_of_process(loader: Any) -> int | None:
    """Samples that a process has in a batch, None if its loader does not say."""
    found = getattr(loader, 'batch_size', None)
    return found or getattr(getattr(loader, 'batch_sampler', None), 'batch_size', None)


def scale_rates(runner: Any, factor: float) -> None:
    """Multiply the learning rates of an optimizer, and what its schedules start from.

    Args:
        runner: whose optimizer and schedules are as in the checkpoint; changed in place.
        factor: of all rates.
    """
    for group in runner.optim_wrapper.param_groups:
        for key in ('lr', 'initial_lr'):
            if key in group:
                group[key] *= factor
    for scheduler in runner.param_schedulers or ():
        if scheduler.param_name == 'lr':
            scheduler.base_values = [value * factor for value in scheduler.base_values]
