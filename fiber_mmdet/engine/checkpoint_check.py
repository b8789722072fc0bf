"""A checkpoint that does not belong to the model stops the run instead of being half loaded."""

import copy
import logging
import re
from collections.abc import Iterable, Iterator

from mmdet.registry import HOOKS
from mmengine.hooks import Hook
from mmengine.logging import print_log
from mmengine.runner import BaseLoop, Runner

from fiber_mmdet.checkpoints.account import Conversion
from fiber_mmdet.checkpoints.borrowed import Borrowed, expect_fresh, read_mark
from fiber_mmdet.checkpoints.fitting import MisfitError, fit, fitting_weights, refuse_stranger
from fiber_mmdet.checkpoints.names import HEADS
from fiber_mmdet.checkpoints.reading import holds_official
from fiber_mmdet.checkpoints.soundness import TRAINING
from fiber_mmdet.convert import official_for
from fiber_mmdet.models.image_text import FIBERForVL

from .start import settle_start
from .unwrapping import inner_model

OBJECTIVES = r'(heads|words)\..*'


@HOOKS.register_module()
class CheckpointCheckHook(Hook):
    """Refuse checkpoints that mmengine would load in part, with a warning.

    - When training starts from other weights (``load_from``), missing keys are
      normal and named, part by part. Refused are the other layout of the image
      query (``i2t_norm``) and weights that share no key with the model. What a
      borrowed file leaves fresh (tools/borrow_weights.py) is named with it;
      anything else that does not fit is refused, because the file was written
      for another model.
    - On resume every key must fit, and an official file is refused.
    - In testing, too, but the image-text model (:class:`FIBERForVL`) may have
      been trained with more objectives than are tested.

    An official file is converted in memory, as strictly as by
    ``tools/convert_checkpoint.py``.

    The image-text model's windows grow with the images: in training from
    other weights and in its testing, tables of relative position biases of
    another size are resized, which is logged.

    It also decides where a training starts that is resumed: see :func:`choose_start`.
    """

    def before_run(self, runner: Runner) -> None:
        """Decide where the run starts; a FlexibleRunner calls this too late, see its subclass."""
        settle_start(runner)

    def after_load_checkpoint(self, runner: Runner, checkpoint: dict) -> None:
        """Compare the checkpoint that was read with the runner's model; resize its tables.

        Args:
            runner: the runner.
            checkpoint: what was read; changed in place.

        Raises:
            MisfitError: naming the difference and the remedy.
            ConversionError: an official checkpoint that is not of this model.
        """
        name = str(runner._load_from or 'the checkpoint')
        meta = checkpoint.get('meta')
        if isinstance(meta, dict):
            meta.pop('config', None)  # which mmengine would run as Python
        inner = inner_model(runner.model)
        model = getattr(runner.model, 'whole', inner)  # shards do not show their shapes
        if runner._resume:
            if holds_official(checkpoint):
                raise MisfitError(
                    f'{name} is an official FIBER checkpoint, from which no training can be '
                    'resumed: start from it with load_from, without resume'
                )
            if all(parameter.is_cpu for parameter in inner.parameters()):
                # the optimizer would go on with what is mapped from the file
                own = {key: copy.deepcopy(checkpoint[key]) for key in TRAINING if key in checkpoint}
                checkpoint.update(own)
        elif (official := official_for(checkpoint, model, name)) is not None:
            checkpoint.clear()
            checkpoint.update(state_dict=official.weights)
        # the loop is a config until training builds it
        starting = isinstance(runner._train_loop, BaseLoop) and not runner._resume
        if starting:
            refuse_stranger(checkpoint, model, name)
        if starting or isinstance(inner, FIBERForVL) and not runner._resume:
            state = checkpoint.get('state_dict', checkpoint)
            names = {key.removeprefix('module.'): key for key in state}
            surplus = {} if starting else {OBJECTIVES: 'not tested'}
            found = fit(
                Conversion({name: state[key] for name, key in names.items()}),
                model.state_dict(),
                surplus,
                resize=True,
            )
            state.update({names[key]: found.state[key] for key in found.resized})
            for key in found.reasons:
                del state[names[key]]
            if starting and (mark := read_mark(checkpoint)):
                refuse_other_model(found, mark, name)
            for line in differences(found, starting):
                print_log(f'{name}: {line}', 'current', logging.WARNING)
        if not starting:
            fitting_weights(checkpoint, model, name)


def refuse_other_model(found: Conversion, mark: Borrowed, name: str) -> None:
    """Stop if borrowed weights do not fit, except for what their file says it leaves fresh.

    Args:
        found: the weights, fitted to the model; changed in place.
        mark: that of their file.
        name: the file's name in error messages.

    Raises:
        MisfitError: naming what differs.
    """
    heads = [key for key in found.missing if re.fullmatch(HEADS, key)]
    found.fresh.update(dict.fromkeys(heads, 'of a head that was not there'))
    found.missing = [key for key in found.missing if key not in heads]
    if difference := expect_fresh(found, mark):
        raise MisfitError(
            f'{name} was {mark}, for another model than that of the config: {difference}. Borrow '
            'again with this config (`fiber borrow`)'
        )
    print_log(f'{name}: {mark}', 'current', logging.WARNING)


def differences(found: Conversion, starting: bool) -> Iterator[str]:
    """What somebody should know who loads weights of another model.

    Args:
        found: the weights, fitted to the model.
        starting: training starts from them, so that a partial fit is in order.

    Yields:
        A sentence for each kind of difference, parts of the model named once.
    """
    kinds = {
        'not in it and as initialised': [*found.missing, *found.fresh] if starting else (),
        'in it and not in the model': [*found.reasons, *(found.unknown if starting else ())],
        'of another shape and as initialised': found.misshapen if starting else (),
        'position bias tables resized to other windows': found.resized,
    }
    if starting and (found.misshapen or found.unknown):
        yield from found.options
    for what, keys in kinds.items():
        if keys:
            yield f'{what}: {", ".join(parts(keys))}'


def parts(keys: Iterable[str]) -> list[str]:
    """Parts of a model that have these keys, and how many: 'heads.vqa (6)'."""
    counts: dict[str, int] = {}
    for key in keys:
        path = key.split('.')
        part = '.'.join(path[: 2 if path[0] in ('backbone', 'heads') else 1])
        counts[part] = counts.get(part, 0) + 1
    return [f'{part} ({count})' for part, count in counts.items()]
