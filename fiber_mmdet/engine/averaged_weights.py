"""Averaged weights, with a choice of the set that is evaluated and the set that is saved."""

from mmdet.registry import HOOKS
from mmengine.hooks import EMAHook
from mmengine.registry import MODELS
from mmengine.runner import BaseLoop, FlexibleRunner, Runner

from .sharding import ShardsOf, give_up_whole, is_sharded, whole_state
from .unwrapping import inner_model

SAVED = 'saved_weights'  # key of a checkpoint: which set is its `state_dict`
SETS = ('ema', 'model')


@HOOKS.register_module()
class ChosenWeightsEMAHook(EMAHook):
    """Exponential moving average of the weights: ``ema <- (1 - momentum) ema + momentum model``.

    Differs from mmengine's ``EMAHook``: the sets that are evaluated and saved can be
    chosen; the average starts with the initial weights, not with those
    after the first step; buffers are averaged as well by default. The reference
    only records its average: ``evaluate='model', save='model'``.

    A checkpoint holds both sets, the one named by ``save`` as
    ``state_dict`` and the other as ``ema_state_dict``. Training resumes from
    either; ``tools/test.py`` tests the set named by ``evaluate``; a new training
    (``load_from``) starts from ``state_dict``. The average of a sharded model is sharded, too.

    Args:
        evaluate: weights used in validation and testing, 'ema' or 'model'.
        save: weights under ``state_dict``, 'ema' or 'model'.
        momentum: weight of the newest values.
        update_buffers: average buffers as well; otherwise they are copied.
        **kwargs: as for mmengine's ``EMAHook`` (``ema_type``, ``begin_iter``, …).

    Raises:
        ValueError: another name of a set.
    """

    def __init__(
        self,
        evaluate: str = 'ema',
        save: str = 'ema',
        momentum: float = 0.001,
        update_buffers: bool = True,
        **kwargs,
    ) -> None:
        for name, value in (('evaluate', evaluate), ('save', save)):
            if value not in SETS:
                raise ValueError(f"{type(self).__name__}.{name} is 'ema' or 'model', not {value!r}")
        super().__init__(momentum=momentum, update_buffers=update_buffers, **kwargs)
        self.evaluate = evaluate
        self.save = save

    def before_train(self, runner: Runner) -> None:
        """Start the average unless it was resumed."""
        super().before_train(runner)
        if self.ema_model.steps == 0:
            self.ema_model.module.load_state_dict(self.src_model.state_dict())
            self.ema_model.steps += 1  # the first update averages, rather than copies

    # mmengine swaps the two sets before and after an evaluation
    def before_val_epoch(self, runner: Runner) -> None:
        """Put the chosen weights into the model."""
        if self.evaluate == 'ema':
            super().before_val_epoch(runner)

    def after_val_epoch(self, runner: Runner, metrics=None) -> None:
        """Put the trained weights back."""
        if self.evaluate == 'ema':
            super().after_val_epoch(runner, metrics)

    def before_test_epoch(self, runner: Runner) -> None:
        """Put the chosen weights into the model."""
        if self.evaluate == 'ema':
            super().before_test_epoch(runner)

    def after_test_epoch(self, runner: Runner, metrics=None) -> None:
        """Put the trained weights back."""
        if self.evaluate == 'ema':
            super().after_test_epoch(runner, metrics)

    def before_save_checkpoint(self, runner: Runner, checkpoint: dict) -> None:
        """Add the other set."""
        if self.save == 'ema':
            super().before_save_checkpoint(runner, checkpoint)
        else:
            checkpoint['ema_state_dict'] = self.ema_model.state_dict()
        if is_sharded(self.src_model):
            for part in ('state_dict', 'ema_state_dict'):
                checkpoint[part] = whole_state(checkpoint[part], self.src_model)
        checkpoint[SAVED] = self.save

    def after_load_checkpoint(self, runner: Runner, checkpoint: dict) -> None:
        """Swap the two sets of a checkpoint where its purpose requires the other order."""
        if isinstance(runner, FlexibleRunner):  # which loads weights before it calls before_run
            self._copy_model(runner)
        if 'ema_state_dict' in checkpoint:
            saved = checkpoint.get(SAVED, 'ema')  # mmengine's own hook saves the average
            # the train loop remains a config until a training builds it
            testing = not isinstance(runner._train_loop, BaseLoop)
            if runner._resume:
                swap = saved == 'model'  # mmengine's hook expects its own order and reverses it
            else:
                swap = testing and saved != self.evaluate
            if swap:
                self._swap_ema_state_dict(checkpoint)
        super().after_load_checkpoint(runner, checkpoint)

    def before_run(self, runner: Runner) -> None:
        """Copy the model."""
        copied = getattr(self, 'src_model', None) is inner_model(runner.model)
        if not (copied and isinstance(runner, FlexibleRunner)):
            self._copy_model(runner)

    def _copy_model(self, runner: Runner) -> None:
        model = inner_model(runner.model)
        if is_sharded(model):
            self.src_model = model
            self.ema_model = MODELS.build(self.ema_cfg, default_args=dict(model=ShardsOf(model)))
        else:
            super().before_run(runner)

    def _swap_ema_parameters(self) -> None:
        give_up_whole(self.src_model)  # what was gathered for an evaluation
        super()._swap_ema_parameters()
