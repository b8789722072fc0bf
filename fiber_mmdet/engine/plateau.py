"""Training until the validation metric stops rising: few-shot and small data sets."""

import math

from mmdet.registry import HOOKS, PARAM_SCHEDULERS
from mmengine.hooks import EarlyStoppingHook
from mmengine.optim import ReduceOnPlateauLR
from mmengine.runner import BaseLoop, IterBasedTrainLoop, Runner

STATE = 'plateau_stopping'  # key of a checkpoint


@PARAM_SCHEDULERS.register_module()
class PlateauLR(ReduceOnPlateauLR):
    """mmengine's ``ReduceOnPlateauLR``, but a metric of exactly 0 counts as no evaluation.

    Nothing was found yet: the learning rate is not to blame. Arguments are those
    of mmengine's class.
    """

    def step(self, metrics: dict | None = None) -> None:
        """Judge an evaluation; without ``metrics`` only an epoch is counted."""
        if metrics is None or metrics.get(self.monitor) != 0:
            super().step(metrics)


def progress(loop: BaseLoop) -> int:
    """Epochs done, or iterations in an iteration-based loop."""
    return loop.iter if isinstance(loop, IterBasedTrainLoop) else loop.epoch


@HOOKS.register_module()
class PlateauStoppingHook(EarlyStoppingHook):
    """Stop after a number of evaluations in a row below the best.

    Differs from mmengine's ``EarlyStoppingHook``: as good as the best is good
    enough (``min_delta=0``), and a resumed training goes on as if it had never
    stopped. mmengine saves an epoch's checkpoint before the epoch is validated;
    when such a checkpoint is resumed, the validation is done first, so that
    neither this hook nor a plateau scheduler misses it.

    Let ``CheckpointHook(save_best=…)`` keep the best weights; of equal ones it
    keeps the earliest (the reference: the latest). Resume from the last
    checkpoint: mmengine's best one has no optimizer.

    Args:
        monitor: name of the metric.
        patience: evaluations below the best that end the training.
        rule: 'greater' if more is better, 'less' otherwise, None to infer it.
        min_delta: by how much an evaluation must beat the best.
        strict: stop with an error if the metric is missing; else warn.
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
        self.judged = 0  # epochs or iterations done when the last evaluation took place

    def before_train(self, runner: Runner) -> None:
        """Catch up on the validation of a resumed checkpoint, or stop where it had stopped."""
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
        """Judge an evaluation."""
        super().after_val_epoch(runner, metrics)
        self.judged = progress(runner.train_loop)

    def before_save_checkpoint(self, runner: Runner, checkpoint: dict) -> None:
        """Remember the best value and since when it stands."""
        checkpoint[STATE] = dict(best=self.best_score, waited=self.wait_count, judged=self.judged)

    def after_load_checkpoint(self, runner: Runner, checkpoint: dict) -> None:
        """Recall them."""
        if runner._resume and STATE in checkpoint:
            state = checkpoint[STATE]
            self.best_score, self.wait_count = state['best'], state['waited']
            self.judged = state['judged']
            if math.isfinite(self.best_score):
                runner.logger.info(
                    f'best {self.monitor} so far: {self.best_score:g}, '
                    f'{self.wait_count} evaluations ago'
                )
