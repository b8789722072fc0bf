"""A worker that is killed once, as by a machine that fails."""

import os
import signal
from pathlib import Path

from mmdet.registry import HOOKS
from mmengine.hooks import Hook


@HOOKS.register_module()
class KilledOnce(Hook):
    """Ends the second process of a job with SIGKILL, unless that was done before.

    Args:
        iteration: with which it ends.
    """

    def __init__(self, iteration):
        self.iteration = iteration

    def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None):
        if runner.rank == 1 and runner.iter + 1 == self.iteration:
            done = Path(runner.work_dir) / 'killed'  # each node counts its own restarts
            if not done.exists():
                done.touch()
                os.kill(os.getpid(), signal.SIGKILL)
