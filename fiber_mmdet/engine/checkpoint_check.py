"""A checkpoint that does not belong to the model stops the run instead of being half loaded."""

import logging
from collections.abc import Iterable, Mapping, MutableMapping

from mmdet.registry import HOOKS
from mmengine.hooks import Hook
from mmengine.logging import print_log
from mmengine.model import is_model_wrapper
from mmengine.runner import BaseLoop, Runner
from torch import Tensor

TABLE = 'relative_position_bias_table'
OBJECTIVES = ('heads.', 'words.')


@HOOKS.register_module()
class CheckpointCheckHook(Hook):
    """Refuse checkpoints that mmengine would load in part, with a warning.

    - When training starts from other weights (``load_from``), missing keys are
      normal and named, part by part. Refused are the official layout, which has
      to be converted, the other layout of the image query (``i2t_norm``) and
      weights that share no key with the model.
    - On resume every key must fit.
    - In testing, too, but the image-level model (:class:`FIBERForVL`) may have
      been trained with more objectives than are tested.

    The image-level model's windows grow with the pictures: in training from
    other weights and in its testing, tables of relative position biases of
    another size are resized, which is logged.
    """

    def after_load_checkpoint(self, runner: Runner, checkpoint: dict) -> None:
        """Compare the checkpoint that was read with the runner's model; resize its tables.

        Args:
            runner: the runner.
            checkpoint: what was read; changed in place.

        Raises:
            MisfitError: naming the difference and the remedy.
        """
        from fiber_mmdet.checkpoints import our_weights
        from fiber_mmdet.checkpoints.fitting import fitting_weights, refuse_stranger
        from fiber_mmdet.models.image_text import FIBERForVL

        name = str(runner._load_from or 'the checkpoint')
        inner = runner.model.module if is_model_wrapper(runner.model) else runner.model
        model = getattr(runner.model, 'whole', inner)  # shards do not show their shapes
        # the loop is a config until training builds it
        starting = isinstance(runner._train_loop, BaseLoop) and not runner._resume
        if starting:
            refuse_stranger(checkpoint, model, name)
            state, wanted = our_weights(checkpoint), model.state_dict()
            resized = resize_tables(checkpoint, wanted)
            for line in differences(state, wanted, resized):
                print_log(f'{name}: {line}', 'current', logging.WARNING)
            return
        if isinstance(inner, FIBERForVL) and not runner._resume:
            wanted = model.state_dict()
            resized = resize_tables(checkpoint, wanted)
            unused = leave_out_objectives(checkpoint, wanted)
            for line in differences({}, {}, resized, unused):
                print_log(f'{name}: {line}', 'current', logging.WARNING)
        fitting_weights(checkpoint, model, name)


def resize_tables(checkpoint: MutableMapping, wanted: Mapping[str, Tensor]) -> list[str]:
    """Bring tables of relative position biases to the sizes of a model, in place.

    Args:
        checkpoint: mmengine's, or a bare state dict.
        wanted: the model's state dict.

    Returns:
        Keys of the tables that were resized.
    """
    from fiber_mmdet.checkpoints import resize_bias_table

    state, resized = checkpoint.get('state_dict', checkpoint), []
    for key in list(state):
        name = key.removeprefix('module.')
        if name.endswith(TABLE) and name in wanted and len(state[key]) != len(wanted[name]):
            state[key] = resize_bias_table(state[key], len(wanted[name]))
            resized.append(name)
    return resized


def leave_out_objectives(checkpoint: MutableMapping, wanted: Mapping[str, Tensor]) -> list[str]:
    """Remove weights of objectives that a model does not have, in place.

    Args:
        checkpoint: mmengine's, or a bare state dict.
        wanted: the model's state dict.

    Returns:
        Keys that were removed.
    """
    state = checkpoint.get('state_dict', checkpoint)
    names = {key: key.removeprefix('module.') for key in state}
    unused = [
        key for key, name in names.items() if name.startswith(OBJECTIVES) and name not in wanted
    ]
    for key in unused:
        del state[key]
    return [names[key] for key in unused]


def differences(
    state: Mapping[str, Tensor],
    wanted: Mapping[str, Tensor],
    resized: Iterable[str],
    unused: Iterable[str] = (),
) -> list[str]:
    """What somebody should know who starts from weights of another model.

    Args:
        state: the weights.
        wanted: those of the model.
        resized: keys of tables that were resized.
        unused: keys that were removed.

    Returns:
        A sentence for each kind of difference, parts of the model named once.
    """
    shared = [key for key in wanted if key in state and key not in resized]
    found = {
        'not in it and as initialised': [key for key in wanted if key not in state],
        'in it and not in the model': [*unused, *(key for key in state if key not in wanted)],
        'of another shape and as initialised': [
            key for key in shared if state[key].shape != wanted[key].shape
        ],
        'position bias tables resized to other windows': resized,
    }
    return [f'{what}: {", ".join(parts(keys))}' for what, keys in found.items() if keys]


def parts(keys: Iterable[str]) -> list[str]:
    """Parts of a model that have these keys, and how many: 'heads.vqa (6)'."""
    counts: dict[str, int] = {}
    for key in keys:
        path = key.split('.')
        part = '.'.join(path[: 2 if path[0] in ('backbone', 'heads') else 1])
        counts[part] = counts.get(part, 0) + 1
    return [f'{part} ({count})' for part, count in counts.items()]
