"""The queue of image-text contrast goes on where a training stopped."""

from mmdet.registry import HOOKS
from mmengine.hooks import Hook
from mmengine.model import is_model_wrapper
from mmengine.runner import Runner

from fiber_mmdet.models.image_text.heads.pair_queue import PairQueue

KEY = 'contrast_queue'


@HOOKS.register_module()
class ContrastQueueHook(Hook):
    """Keep the queues of a model's :class:`ITCHead` in checkpoints, beside the weights.

    They come back when a training is resumed, not when another one starts from
    its weights. Pixels are not kept (see :class:`PairQueue`): with a
    ``pixel_queue`` hard negative images come from the batch until it has filled
    again. A model without a queue is left alone.
    """

    def __init__(self) -> None:
        self.states: dict[str, dict] | None = None

    def before_save_checkpoint(self, runner: Runner, checkpoint: dict) -> None:
        """Add the queues; they are the same in all processes."""
        states = {name: queue.dump() for name, queue in _queues(runner).items()}
        if states:
            checkpoint[KEY] = states

    def after_load_checkpoint(self, runner: Runner, checkpoint: dict) -> None:
        """Remember the queues of the checkpoint that is resumed."""
        self.states = checkpoint.get(KEY, {}) if runner._resume else None

    def before_train(self, runner: Runner) -> None:
        """Fill the queues of a resumed training.

        Raises:
            ValueError: the checkpoint's queue has another size.
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
    """Name -> queue with room for at least one pair."""
    model = runner.model.module if is_model_wrapper(runner.model) else runner.model
    return {
        name: module
        for name, module in model.named_modules()
        if isinstance(module, PairQueue) and module.size
    }
