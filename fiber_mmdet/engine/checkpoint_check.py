"""A checkpoint that does not belong to the model stops the run instead of being half loaded."""
from mmdet.registry import HOOKS
from mmengine.hooks import Hook
from mmengine.model import is_model_wrapper
from mmengine.runner import BaseLoop, Runner


@HOOKS.register_module()
class CheckpointCheckHook(Hook):
    """Refuse checkpoints that mmengine would load in part, with a warning.

    In testing and on resume every key must fit. When training starts from other
    weights (``load_from``) missing keys are normal, but the official layout,
    which has to be converted, the other layout of the image query
    (``i2t_norm``) and weights that share no key with the model are refused.
    """

    def after_load_checkpoint(self, runner: Runner, checkpoint: dict) -> None:
        """Compare the checkpoint that was read with the runner's model.

        Raises:
            MisfitError: naming the difference and the remedy.
        """
        from fiber_mmdet.convert.fit import fitting_weights, refuse_stranger
        name = str(runner._load_from or 'the checkpoint')
        model = runner.model.module if is_model_wrapper(runner.model) else runner.model
        model = getattr(runner.model, 'whole', model)  # shards do not show their shapes
        # the loop is a config until training builds it
        starting = isinstance(runner._train_loop, BaseLoop) and not runner._resume
        (refuse_stranger if starting else fitting_weights)(checkpoint, model, name)
