"""A training that cannot succeed stops, with the reason, before its next checkpoint."""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from mmdet.registry import HOOKS
from mmengine.dist import get_world_size
from mmengine.hooks import Hook

from fiber_mmdet.checkpoints.soundness import not_finite
from fiber_mmdet.datasets.dataset_tree import leaves
from fiber_mmdet.datasets.steps import refuse_mixed_batches, refuse_no_steps
from fiber_mmdet.models.image_text import FIBERForVL

from .run_summary import pretrained_parts
from .unwrapping import inner_model

NOISE = (
    'Training from noise: no weights are loaded (load_from, model.backbone.pretrained). What words '
    'mean and what things look like is learned from the training data alone: with fewer than some '
    'hundred thousand photos, that is hopeless. docs/custom_data.md says where weights come from'
)
SKIPPED = 3  # losses in a row that are not finite, under a gradient scaler


class DivergedError(ArithmeticError):
    """Losses or weights are NaN or infinite; the message says which, and when."""


@HOOKS.register_module()
class TrainingCheckHook(Hook):
    """Stop trainings that go on without learning anything.

    - Before the first iteration: an epoch without a step, because the samples of a process are
      fewer than a batch and ``drop_last`` leaves them out; an objective that compares pairs and
      never sees two; a task of the model of which the data have no text, or the other way round.
      That nothing pretrained is loaded is a warning.
    - After an iteration: a loss that is NaN or infinite. Under a gradient scaler
      (``AmpOptimWrapper``), which skips such steps and leaves the weights as they are, only the
      third in a row. Gradients may be infinite: a scaler looks for its scale with them.
    - Before a checkpoint is written: weights that are not finite (gradients can be NaN where the
      loss is not). The checkpoints that are there remain.
    """

    priority = 'LOW'  # before CheckpointHook, which would save

    def __init__(self) -> None:
        self._in_a_row = 0

    def before_train(self, runner: Any) -> None:
        """Look at the data and the objectives.

        Raises:
            ValueError: there is nothing to learn from.
        """
        self._in_a_row = 0
        loader = runner.train_loop.dataloader
        if from_noise(runner):
            runner.logger.warning(NOISE)
        refuse_no_steps(loader)
        refuse_mixed_batches(loader)
        inner = inner_model(runner.model)
        batch = getattr(loader, 'batch_size', None) or getattr(
            getattr(loader, 'batch_sampler', None), 'batch_size', None
        )
        if isinstance(inner, FIBERForVL):
            sources = list(leaves(loader.dataset))
            refuse_other_tasks(inner, sources)
            for name, head in inner.heads.items() if batch is not None else ():
                tasks = None if inner.tasks is None else inner.tasks.of_head[name]
                texts = max(
                    (d.most_texts(tasks) for d in sources if hasattr(d, 'most_texts')), default=1
                )
                lack = head.lacks_pairs(batch, get_world_size(), max(texts, 1))
                if lack:
                    raise ValueError(f'heads.{name} cannot learn: {lack}')

    def after_train_iter(
        self, runner: Any, batch_idx: int, data_batch: Any = None, outputs: Any = None
    ) -> None:
        """Look at the losses.

        Raises:
            DivergedError: naming the iteration and the losses.
        """
        bad = bad_losses(outputs)
        if not bad:
            self._in_a_row = 0
            return
        self._in_a_row += 1
        what = f'iteration {runner.iter + 1}: {", ".join(f"{k} is {v}" for k, v in bad.items())}'
        if scales_gradients(runner.optim_wrapper) and self._in_a_row < SKIPPED:
            runner.logger.warning(f'{what}; the gradient scaler skips this step')
            return
        raise DivergedError(
            f'{what}. The training has diverged and stops; checkpoints are those of before. Lower '
            'the learning rate, clip gradients (optim_wrapper.clip_grad), or look at the data of '
            'this iteration'
        )

    def before_save_checkpoint(self, runner: Any, checkpoint: dict) -> None:
        """Look at the weights that are about to be saved.

        Raises:
            DivergedError: naming their keys.
        """
        for section in ('state_dict', 'ema_state_dict'):
            keys = not_finite(checkpoint.get(section) or {})
            if keys:
                raise DivergedError(
                    f'iteration {runner.iter + 1}: weights are NaN or infinite '
                    f'({section}: {", ".join(keys[:8])}{", …" * (len(keys) > 8)}). They are not '
                    'saved; checkpoints are those of before'
                )


def from_noise(runner: Any) -> bool:
    """Whether a model of ours starts without any pretrained weights."""
    model = inner_model(runner.model)
    if runner._resume or runner._load_from or not hasattr(model, 'backbone'):
        return False
    return not pretrained_parts(model)


def refuse_other_tasks(model: FIBERForVL, sources: Sequence[Any]) -> None:
    """Refuse a training whose model and data have different tasks.

    Args:
        model: that is trained.
        sources: its datasets; those that do not say which tasks they have are left alone.

    Raises:
        ValueError: naming the task.
    """
    if model.tasks is None or not all(hasattr(source, 'tasks') for source in sources):
        return
    of_data = list(dict.fromkeys(task for source in sources for task in source.tasks))
    for task in of_data:
        if task not in model.tasks.tasks:
            raise ValueError(
                f'the data have texts of a task {task!r}, which no head reads: model.tasks has '
                f'{", ".join(model.tasks.tasks)}'
            )
    for task in model.tasks.tasks:
        if task not in of_data:
            raise ValueError(
                f'model.tasks has a task {task!r}, of which the data have no text: their tasks are '
                f'{", ".join(of_data)}'
            )


def bad_losses(outputs: Any) -> dict[str, float]:
    """Losses among the logged values of an iteration that are not finite."""
    values = {
        key: torch.as_tensor(value).detach().double().sum()
        for key, value in (outputs.items() if isinstance(outputs, Mapping) else ())
        if 'loss' in key
    }
    # one look at the device in the usual case
    if sum(values.values(), torch.zeros((), dtype=torch.float64)).isfinite():
        return {}
    return {key: float(value) for key, value in values.items() if not value.isfinite()}


def scales_gradients(optim_wrapper: Any) -> bool:
    """Whether steps with gradients that are not finite are skipped."""
    scaler = getattr(optim_wrapper, 'loss_scaler', None)
    return scaler is not None and scaler.is_enabled()
