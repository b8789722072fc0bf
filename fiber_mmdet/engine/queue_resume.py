"""A resumed training continues with the queue of image-text contrast."""

from mmdet.registry import HOOKS
from mmengine.hooks import Hook
from mmengine.runner import Runner

from fiber_mmdet.models.image_text.heads.pair_queue import PairQueue

from .unwrapping import inner_model

KEY = 'contrast_queue'


@HOOKS.register_module()
class ContrastQueueHook(Hook):
    """Saves the queues of a model's :class:`ITCHead` in checkpoints, beside the weights.

    They are restored when a training is resumed, not when another one starts from
    its weights. Pixels are not saved (see :class:`PairQueue`): with a
    ``pixel_queue``, hard negative images come from the batch until the queue has filled
    again. The hook ignores models without a queue.
    """

    def __init__(self) -> None:
        self.states: dict[str, dict] | None = None

    def before_save_checkpoint(self, runner: Runner, checkpoint: dict) -> None:
        """Add the queues, which are the same in all processes, to a checkpoint."""
        states = {name: queue.dump() for name, queue in _queues(runner).items()}
        if states:
            checkpoint[KEY] = states

    def after_load_checkpoint(self, runner: Runner, checkpoint: dict) -> None:
        """Remember the queues of a checkpoint from which training is resumed."""
        self.states = checkpoint.get(KEY, {}) if runner._resume else None

    def before_train(self, runner: Runner) -> None:
        """Restore the queues of a resumed training.

        Raises:
            ValueError: a queue of the checkpoint has another size.
        """
        states, self.states = self.states, None
        if states is None:
            return
        for name, queue in _queues(runner).items():
            if name in states:
                queue.restore(states[name])
            else:
                runner.logger.warning(
                    f'the checkpoint has no queue for {name!r}, which starts '
                    'empty: it was saved without ContrastQueueHook or without '
                    'that head'
                )


def _queues(runner: Runner) -> dict[str, PairQueue]:
    """Name -> queue, without those of size 0."""
    model = inner_model(runner.model)
    return {
        name: module
        for name, module in model.named_modules()
        if isinstance(module, PairQueue) and module.size
    }
