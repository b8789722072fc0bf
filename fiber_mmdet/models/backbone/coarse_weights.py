"""The hand-over: the backbone of a FIBER checkpoint, or its towers alone, for another model."""

import re
from collections.abc import Iterator, Mapping

from mmengine.logging import MMLogger
from torch import Tensor, nn

from fiber_mmdet.checkpoints import (
    Conversion,
    ConversionError,
    detect_layout,
    from_official,
    official_weights,
    our_weights,
    read_checkpoint,
    resize_bias_table,
)

from .fusion import CROSS_MODAL
from .public_weights import local_file

PREFIX = 'backbone.'
PATCH_WEIGHT = 'backbone.image.patch_embed.proj.weight'
BIAS_TABLE = '.relative_position_bias_table'
# What the backbone may have and the checkpoint not, or the other way round, and why.
_OPTIONAL = {
    r'.*\.text_attention\.query_norm\..*': 'i2t_norm',
    r'backbone\.image\.out_norms\..*': 'out_indices',
    r'backbone\.text\.prompt_rows': 'text.prompt_rows',
}


def load_coarse_weights(backbone: nn.Module, coarse: str, swap_rgb: bool = False) -> None:
    """Read the backbone of an image-level checkpoint, and log what became of every key.

    Bias tables of another window are resized. Image-level heads are left aside.
    The norms of the pyramid, prompt rows, and the norms of the image query if
    only one side has them, stay as they are.

    Args:
        backbone: a :class:`FIBERBackbone`, changed in place.
        coarse: path or URL of an image-level checkpoint: one of this project's
            (mmengine's ``state_dict``), or an official one.
        swap_rgb: turn the input channels of the patch embedding around: the
            image-level model reads RGB, the detector BGR. The reference hands the
            weights over as they are.

    Raises:
        ConversionError: if the file is missing, refused (it would run code) or no
            image-level checkpoint, or does not fit the backbone; all keys at
            fault are listed.
    """
    _load(backbone, coarse, swap_rgb, towers_only=False)


def load_tower_weights(backbone: nn.Module, towers: str, swap_rgb: bool = False) -> None:
    """Read both towers of a FIBER checkpoint, and leave the cross-attention fresh.

    For an image-level stage that starts from a detector: its cross-attention serves
    boxes, and can be saturated where the pyramid has no use for it. As
    :func:`load_coarse_weights` otherwise.

    Args:
        backbone: a :class:`FIBERBackbone`, changed in place.
        towers: path or URL of a checkpoint of this project, of a detector or of an
            image-level model, or of an official image-level one.
        swap_rgb: turn the input channels of the patch embedding around.

    Raises:
        ConversionError: as :func:`load_coarse_weights`.
    """
    _load(backbone, towers, swap_rgb, towers_only=True)


def _load(backbone: nn.Module, source: str, swap_rgb: bool, towers_only: bool) -> None:
    own = {PREFIX + key: value for key, value in backbone.state_dict().items()}
    found = _read(source, own, towers_only)
    if towers_only:
        for key in [key for key in found.state if re.fullmatch(CROSS_MODAL, key)]:
            del found.state[key]
            found.reasons[key] = 'cross-attention'
    state = found.state
    resized = [
        key
        for key, table in state.items()
        if key.endswith(BIAS_TABLE) and len(table) != len(own[key])
    ]
    for key in resized:
        state[key] = resize_bias_table(state[key], len(own[key]))
    found.fresh = [key for key in own if key not in state]
    problems = [f'unknown here: {key}' for key in found.unknown]
    problems += [
        f'missing: {key}'
        for key in found.fresh
        if _option(key) is None and not (towers_only and re.fullmatch(CROSS_MODAL, key))
    ]
    problems += [
        f'{key}: {tuple(value.shape)}, here {tuple(own[key].shape)}'
        for key, value in state.items()
        if value.shape != own[key].shape
    ]
    if problems:
        raise ConversionError(
            f'{source} does not fit the backbone ({len(problems)}); check its '
            'depths, widths, text layers and num_fused:'
            + ''.join(f'\n  {problem}' for problem in problems)
        )
    if resized:
        found.notes.append(f'{len(resized)} bias tables resized to the window of the model')
    if swap_rgb:
        state[PATCH_WEIGHT] = state[PATCH_WEIGHT].flip(1)
        found.notes.append('colour channels of the patch embedding reversed')
    backbone.load_state_dict(
        {key.removeprefix(PREFIX): value for key, value in state.items()}, strict=False
    )
    MMLogger.get_current_instance().info('\n'.join(_report(source, found)))


def _read(source: str, own: Mapping[str, Tensor], towers_only: bool) -> Conversion:
    """The backbone's part of a checkpoint, under our names."""
    checkpoint = read_checkpoint(local_file(source))
    try:
        weights = our_weights(checkpoint)
        if any(key.startswith(f'{PREFIX}image.') for key in weights):
            found = _sorted(weights, own, towers_only)
        else:
            weights = official_weights(checkpoint)
            if detect_layout(weights)[0] != 'coarse':
                raise ConversionError(
                    'is an official checkpoint of a detector. Convert it '
                    '(tools/convert_checkpoint.py) and start from it with '
                    'load_from'
                )
            found = from_official(weights, 'coarse', own)
    except ConversionError as error:
        raise ConversionError(f'{source}: {error}') from None
    theirs, ours = (
        any('.norm_i2t_i.' in key or '.query_norm.' in key for key in keys)
        for keys in (weights, own)
    )
    if theirs != ours and not towers_only:
        found.notes.append(
            'trained with the LayerNorm on the image query, which this model does not have: its '
            'outputs differ from what these weights were trained for (i2t_norm=True has it)'
            if theirs
            else 'trained without the LayerNorm on the image query: the norms of this '
            'model start fresh'
        )
    return found


def _sorted(weights: Mapping[str, Tensor], own: Mapping[str, Tensor], detector: bool) -> Conversion:
    """A checkpoint of ours, divided into what the backbone has and what it has not."""
    if not detector and any(key.startswith('bbox_head.') for key in weights):
        raise ConversionError('is a checkpoint of a detector: start from it with load_from')
    found = Conversion()
    for key, value in weights.items():
        if key in own:
            found.state[key] = value
        elif not key.startswith(PREFIX):
            found.reasons[key] = 'not of the backbone'
        elif _option(key) is None:
            found.unknown.append(key)
        else:
            found.reasons[key] = f'this model has none, see {_option(key)}'
    return found


def _option(key: str) -> str | None:
    """Argument of the backbone that decides whether there is such a weight, None if all have it."""
    return next(
        (option for pattern, option in _OPTIONAL.items() if re.fullmatch(pattern, key)), None
    )


def _report(source: str, found: Conversion) -> Iterator[str]:
    """Lines of the log; unused keys come under their reasons."""
    yield f'backbone: {len(found.state)} weights loaded from {source}'
    for reason in dict.fromkeys(found.reasons.values()):
        keys = [key for key, why in found.reasons.items() if why == reason]
        yield f'unused, {reason} ({len(keys)}): {", ".join(keys)}'
    yield f'kept fresh ({len(found.fresh)}): {", ".join(found.fresh) or "none"}'
    yield from (f'note: {note}' for note in found.notes)
