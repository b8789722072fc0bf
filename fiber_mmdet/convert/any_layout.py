"""The weights of any checkpoint for a model; official ones are converted in memory."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from mmengine.logging import print_log
from torch import Tensor, nn

from fiber_mmdet.checkpoints.account import Conversion, ConversionError
from fiber_mmdet.checkpoints.fitting import fitting_weights
from fiber_mmdet.checkpoints.published_layout import detect_layout
from fiber_mmdet.checkpoints.reading import holds_official, official_weights, read_checkpoint

from .checkpoint import import_weights


@dataclass(frozen=True)
class Loaded:
    """The weights of a checkpoint, under our names.

    Attributes:
        weights: our key -> tensor. It may be mapped from the file, see
            :func:`~fiber_mmdet.checkpoints.reading.read_checkpoint`.
        report: what became of every entry of an official checkpoint; None for one of ours.
        meta: what :func:`~fiber_mmdet.convert.export_weights` has to know of an official one.
    """

    weights: dict[str, Tensor]
    report: Conversion | None = None
    meta: Mapping | None = None


def any_weights(path: str | Path, model: nn.Module, ema: bool = False) -> Loaded:
    """The weights of a checkpoint file, all of which have to fit a model.

    What is converted is logged in one line.

    Args:
        path: a checkpoint of ours (mmengine's, or a bare state dict), or an official one.
        model: the model they are for; only its keys and shapes are read.
        ema: take the averaged weights (``model_ema``) of an official checkpoint.

    Returns:
        The weights, exactly those of the model.

    Raises:
        ConversionError: the file is missing, damaged or unsafe, or is an official one that does
            not fit the model.
        MisfitError: keys or shapes of the model differ from those of the file.
    """
    return weights_for(read_checkpoint(path, ema), model, str(path), ema)


def weights_for(checkpoint: Mapping, model: nn.Module, name: str, ema: bool = False) -> Loaded:
    """The weights of a checkpoint that was read, all of which have to fit a model.

    Args:
        checkpoint: what was read.
        model: the model they are for; only its keys and shapes are read.
        name: the checkpoint's name in messages.
        ema: take the averaged weights (``model_ema``) of an official checkpoint.

    Returns:
        The weights, exactly those of the model.

    Raises:
        ConversionError, MisfitError: see :func:`any_weights`.
    """
    loaded = official_for(checkpoint, model, name, ema)
    if loaded is None:
        return Loaded(fitting_weights(checkpoint, model, name))
    fitting_weights(dict(state_dict=loaded.weights), model, name)
    return loaded


def official_for(
    checkpoint: Mapping, model: nn.Module, name: str, ema: bool = False
) -> Loaded | None:
    """The weights of an official checkpoint for a model, which may have parts that it lacks.

    What is converted is logged in one line.

    Args:
        checkpoint: what was read.
        model: the model they are for; only its keys and shapes are read.
        name: the checkpoint's name in messages.
        ema: take the averaged weights (``model_ema``).

    Returns:
        The weights, as the converter writes them; None if the checkpoint is not an official one.

    Raises:
        ConversionError: the checkpoint does not fit the model, see
            :func:`~fiber_mmdet.convert.import_weights`.
    """
    if not holds_official(checkpoint):
        return None
    try:
        weights = official_weights(checkpoint, ema)
        report, meta = import_weights(weights, model)
    except ConversionError as error:
        raise ConversionError(f'{name}: {error}') from None
    for line in (_told(weights, report), *report.notes):
        print_log(f'{name}: {line}', 'current')
    return Loaded(report.state, report, meta)


def _told(weights: Mapping[str, Tensor], report: Conversion) -> str:
    """What became of the entries of an official checkpoint, in one line."""
    layout, norm = detect_layout(weights)
    reasons = Counter(report.reasons.values())
    aside = '; '.join(f'{count} x {why}' for why, count in reasons.most_common())
    return (
        f'an official FIBER checkpoint ({layout}-grained, {"with" if norm else "without"} the '
        f'LayerNorm on the image query), converted in memory: {len(report.renamed)} of '
        f"{len(weights)} entries fill {len(report.state)} of the model's "
        f'{len(report.state) + len(report.fresh)}; {len(report.reasons)} are set aside ({aside})'
    )
