"""Fitting weights to a model: the one place where their keys and shapes are compared."""

import math
from collections.abc import Mapping

import torch.nn.functional as F
from torch import Tensor, nn

from .account import Conversion, ConversionError
from .borrowed import read_mark
from .model_options import option_differences
from .names import BIAS_TABLE, PATCH_WEIGHT, first_match, has_query_norm
from .other_systems import OtherSystemError, refuse_other_system
from .published_layout import detect_layout
from .reading import official_weights, our_weights


class MisfitError(ValueError):
    """A checkpoint of another model; the message says how it differs and what to do."""


def fit(
    found: Conversion,
    wanted: Mapping[str, Tensor],
    surplus: Mapping[str, str] | None = None,
    fresh: Mapping[str, str] | None = None,
    resize: bool = False,
    swap_rgb: bool = False,
) -> Conversion:
    """Weights under our names, fitted to a model; nothing is raised or loaded.

    Args:
        found: the weights and what is known of them so far; completed in place.
        wanted: state dict of the model, of which only keys and shapes are read.
        surplus: regular expression of keys that the model need not have -> why. They are set aside.
        fresh: regular expression of keys that the weights need not have -> why. They are left as
            they are, like those that ``found.fresh`` names.
        resize: bring relative position bias tables to the model's windows.
        swap_rgb: reverse the colour channels of the patch embedding: image-text models and public
            weights read RGB, detectors BGR.

    Returns:
        ``found``: each key of either side is now in ``state``, ``reasons``, ``fresh``, or, if it is
        at fault, in ``unknown``, ``missing`` or ``misshapen``.
    """
    found.options = list(option_differences(found.state, wanted, resize))
    for key in [key for key in found.state if key not in wanted]:
        del found.state[key]
        why = first_match(surplus or {}, key)
        if why is None:
            found.unknown[key] = 'the model has none'
        else:
            found.reasons[key] = why
    for key, value in found.state.items():
        target = wanted[key]
        if resize and key.endswith(BIAS_TABLE) and _other_windows(value, target):
            value = found.state[key] = resize_bias_table(value, len(target))
            found.resized.append(key)
        if value.shape != target.shape:
            found.misshapen[key] = tuple(value.shape), tuple(target.shape)
    for key in wanted:
        if key not in found.state and key not in found.fresh:
            why = first_match(fresh or {}, key)
            if why is None:
                found.missing.append(key)
            else:
                found.fresh[key] = why
    if found.resized:
        found.notes.append(f'{len(found.resized)} bias tables resized to the window of the model')
    if any('.text_attention.' in key for key in found.state):
        theirs, ours = has_query_norm([*found.state, *found.reasons]), has_query_norm(wanted)
        if theirs and not ours:
            found.notes.append(
                'trained with the LayerNorm on the image query, which this model does not have: '
                'its outputs differ from what these weights were trained for (i2t_norm=True has it)'
            )
        elif ours and not theirs:
            found.notes.append(
                'trained without the LayerNorm on the image query: the norms of this model '
                'start fresh'
            )
    if swap_rgb and PATCH_WEIGHT in found.state and PATCH_WEIGHT not in found.misshapen:
        found.state[PATCH_WEIGHT] = found.state[PATCH_WEIGHT].flip(1)
        found.notes.append('colour channels of the patch embedding reversed')
    return found


def _other_windows(table: Tensor, target: Tensor) -> bool:
    """Whether a bias table is one, but of another window.

    Args:
        table: (…) of a file.
        target: ((2v - 1)^2, heads).
    """
    return (
        table.dim() == 2
        and len(table) != len(target)
        and len(table) > 0
        and math.isqrt(len(table)) ** 2 == len(table)
    )


def resize_bias_table(table: Tensor, rows: int) -> Tensor:
    """A relative position bias table for windows of another size (bicubic, as the reference).

    Args:
        table: ((2w - 1)^2, heads).
        rows: (2v - 1)^2 for the new window side v.

    Returns:
        (rows, heads), the table itself if it has as many rows.
    """
    if len(table) == rows:
        return table
    old, new = math.isqrt(len(table)), math.isqrt(rows)
    grid = table.float().T.reshape(1, -1, old, old)
    grid = F.interpolate(grid, size=(new, new), mode='bicubic', align_corners=False)
    return grid.reshape(-1, rows).T.contiguous().to(table.dtype)


def fitting_weights(checkpoint: Mapping, model: nn.Module, name: str) -> dict[str, Tensor]:
    """The weights of a checkpoint, if they are exactly those of the model.

    Args:
        checkpoint: in our layout, mmengine's or a bare state dict.
        model: what they are meant for.
        name: the checkpoint's name in error messages.

    Returns:
        The state dict.

    Raises:
        ConversionError: there are no weights in it.
        MisfitError: official layout, or keys or shapes that differ.
    """
    refuse_official(checkpoint, name)
    found = fit(Conversion(our_weights(checkpoint, name)), model.state_dict())
    if difference := found.difference():
        if mark := read_mark(checkpoint):
            raise MisfitError(
                f'{name} was {mark}. It is not a whole model, but a start for training '
                f'(load_from): {difference}'
            )
        raise MisfitError(
            f'{name} does not fit the config: {difference}. Pass the config this checkpoint was '
            'trained with; weights that lack a part of the model can only start a training '
            '(load_from)'
        )
    return found.state


def refuse_official(checkpoint: Mapping, name: str) -> None:
    """Refuse a checkpoint that has not been converted, or cannot be.

    Args:
        checkpoint: what was read.
        name: its name in error messages.

    Raises:
        MisfitError: it has an official layout, or is of another system.
    """
    try:
        keys = official_weights(checkpoint).keys()
        refuse_other_system(keys, name)
        detect_layout(keys)
    except OtherSystemError as error:
        raise MisfitError(f'{name} {error}') from None
    except ConversionError:
        return
    raise MisfitError(
        f'{name} is an official FIBER checkpoint: convert it first, '
        f'fiber convert {name} ours.pth --config …'
    )


def refuse_stranger(checkpoint: Mapping, model: nn.Module, name: str) -> None:
    """Refuse weights from which a model cannot even start.

    Args:
        checkpoint: in our layout, mmengine's or a bare state dict.
        model: what they are meant for.
        name: the checkpoint's name in error messages.

    Raises:
        ConversionError: there are no weights in it.
        MisfitError: official layout, another layout of the image query, or no key in common.
    """
    refuse_official(checkpoint, name)
    state, wanted = our_weights(checkpoint, name), model.state_dict()
    if not set(state).intersection(wanted):
        raise MisfitError(
            f'{name} shares no key with the model (first key: '
            f'{next(iter(state), "none")!r}): is it a checkpoint of this project?'
        )
    towers = [any('.text_attention.' in key for key in keys) for keys in (state, wanted)]
    norms = [has_query_norm(keys) for keys in (state, wanted)]
    if all(towers) and norms[0] != norms[1]:
        others = [x for x in option_differences(state, wanted, True) if 'i2t_norm' not in x]
        more = f'. Also, {"; ".join(others)}' if others else ''
        raise MisfitError(
            f'{name} was made with i2t_norm={norms[0]}, the config says '
            f'{norms[1]}: set model.backbone.i2t_norm={norms[0]}{more}'
        )
