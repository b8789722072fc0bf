"""A worker that is killed once, as by a machine that fails."""

import os
import signal

from mmdet.registry import HOOKS
from mmengine.hooks import Hook


@HOOKS.register_module()
class KilledOnce(Hook):
    """Ends the second process of a job with SIGKILL, unless it was started again.

    Args:
        iteration: with which it ends.
    """

    def __init__(self, iteration):
        self.iteration = iteration

    def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None):
        first = os.environ['TORCHELASTIC_RESTART_COUNT'] == '0'
        if first and runner.rank == 1 and runner.iter + 1 == self.iteration:
            os.kill(os.getpid(), signal.SIGKILL)
