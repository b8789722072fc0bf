"""Training until the validation metric stops rising, for few-shot and small datasets."""

import math

from mmdet.registry import HOOKS, PARAM_SCHEDULERS
from mmengine.hooks import EarlyStoppingHook
from mmengine.optim import ReduceOnPlateauLR
from mmengine.runner import BaseLoop, IterBasedTrainLoop, Runner

STATE = 'plateau_stopping'  # key of a checkpoint


@PARAM_SCHEDULERS.register_module()
class PlateauLR(ReduceOnPlateauLR):
    """mmengine's ``ReduceOnPlateauLR``, except that a metric of exactly 0 is ignored.

    Such a model has not detected anything yet, which does not call for a lower learning rate.
    Arguments are those of mmengine's class.
    """

    def step(self, metrics: dict | None = None) -> None:
        """Take an evaluation into account; without ``metrics`` only count an epoch."""
        if metrics is None or metrics.get(self.monitor) != 0:
            super().step(metrics)


def progress(loop: BaseLoop) -> int:
    """Number of finished epochs, or of iterations in an iteration-based loop."""
    return loop.iter if isinstance(loop, IterBasedTrainLoop) else loop.epoch


@HOOKS.register_module()
class PlateauStoppingHook(EarlyStoppingHook):
    """Stop after a number of consecutive evaluations below the best.

    Differs from mmengine's ``EarlyStoppingHook``: an evaluation equal to the best resets the
    count (``min_delta=0``), and a resumed training continues as if it had never
    stopped. mmengine saves an epoch's checkpoint before the epoch is validated;
    when such a checkpoint is resumed, the validation is done first, so that
    neither this hook nor a plateau scheduler misses it.

    Use ``CheckpointHook(save_best=…)`` to keep the best weights; of equal ones it
    keeps the earliest (the reference: the latest). Resume from the last
    checkpoint: mmengine's best one has no optimizer state.

    Args:
        monitor: name of the metric.
        patience: consecutive evaluations below the best that end the training.
        rule: 'greater' if more is better, 'less' otherwise, None to infer it.
        min_delta: by how much an evaluation must exceed the best.
        strict: raise an error if the metric is missing; otherwise warn.
        check_finite: end the training when the metric is infinite or NaN.
        stopping_threshold: end the training when the metric passes this value.
    """

    def __init__(
        self,
        monitor: str,
        patience: int = 8,
        rule: str | None = 'greater',
        min_delta: float = 0.0,
        strict: bool = True,
        check_finite: bool = True,
        stopping_threshold: float | None = None,
    ) -> None:
        super().__init__(
            monitor,
            rule=rule,
            min_delta=min_delta,
            strict=strict,
            check_finite=check_finite,
            patience=patience,
            stopping_threshold=stopping_threshold,
        )
        self.judged = 0  # epochs or iterations finished at the last evaluation

    def before_train(self, runner: Runner) -> None:
        """Do the pending validation of a resumed checkpoint, or stop where it had stopped."""
        loop, done = runner.train_loop, progress(runner.train_loop)
        last = loop.max_iters if isinstance(loop, IterBasedTrainLoop) else loop.max_epochs
        if self.wait_count >= self.patience:
            loop.stop_training = True
        elif (
            runner._resume
            and runner.val_loop is not None
            and self.judged < done
            and done >= loop.val_begin
            and (done % loop.val_interval == 0 or done == last)
        ):
            runner.logger.info('The resumed checkpoint was saved before its validation: done now')
            runner.val_loop.run()

    def after_val_epoch(self, runner: Runner, metrics: dict | None = None) -> None:
        """Take an evaluation into account."""
        super().after_val_epoch(runner, metrics)
        self.judged = progress(runner.train_loop)

    def before_save_checkpoint(self, runner: Runner, checkpoint: dict) -> None:
        """Save the best value and the number of evaluations since."""
        checkpoint[STATE] = dict(best=self.best_score, waited=self.wait_count, judged=self.judged)

    def after_load_checkpoint(self, runner: Runner, checkpoint: dict) -> None:
        """Restore them when resuming."""
        if runner._resume and STATE in checkpoint:
            state = checkpoint[STATE]
            self.best_score, self.wait_count = state['best'], state['waited']
            self.judged = state['judged']
            if math.isfinite(self.best_score):
                runner.logger.info(
                    f'best {self.monitor} so far: {self.best_score:g}, '
                    f'{self.wait_count} evaluations ago'
                )
