"""Whole checkpoints between the official layouts and ours, every key accounted for."""

import copy
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path

import torch
from mmdet.registry import MODELS
from mmengine.registry import DefaultScope
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from fiber_mmdet.checkpoints.account import Conversion, ConversionError
from fiber_mmdet.checkpoints.fitting import fit
from fiber_mmdet.checkpoints.names import (
    COARSE_IMAGE,
    FILE_HAS_NONE,
    FINE_IMAGE,
    HEAD_NAMES,
    HEADS,
    MATCH,
    NOT_BACKBONE,
    RANK,
    has_query_norm,
    is_image_text,
)
from fiber_mmdet.checkpoints.published_layout import detect_layout, from_official, to_official
from fiber_mmdet.checkpoints.reading import (
    compact,
    official_weights,
    our_weights,
    read_checkpoint,
    stored_mapping,
)
from fiber_mmdet.outputs import OutputError, output_path, refuse_inputs, writing
from fiber_mmdet.version import __version__

from .derived_entries import derived_buffers, unused_weights

# Keys that a checkpoint of this layout need not have, by whether the model is an image-text one.
# Prompt rows start at zero, where they change nothing.
_FRESH = {
    ('fine', False): {r'backbone\.text\.prompt_rows': 'starts at zero'},
    ('coarse', False): {NOT_BACKBONE: 'of the detector alone', **FILE_HAS_NONE},
    ('coarse', True): {HEADS: 'of a head that the checkpoint does not have', **FILE_HAS_NONE},
}


class _EmptyOnMeta(TorchFunctionMode):
    """`torch.empty`, which makes the large weights, without memory behind it."""

    def __torch_function__(self, func, types, args=(), kwargs=None):
        kwargs = dict(kwargs or {})
        if func is torch.empty:
            kwargs['device'] = 'meta'
        return func(*args, **kwargs)


def skeleton(cfg: Mapping) -> nn.Module:
    """A model whose keys and shapes can be read but whose large weights take no memory.

    Args:
        cfg: config of the model.

    Returns:
        The model, unfit for running.
    """
    with _EmptyOnMeta(), DefaultScope.overwrite_default_scope('mmdet'):
        return MODELS.build(copy.deepcopy(cfg))


def import_weights(
    weights: Mapping[str, Tensor], model: nn.Module, swap_rgb: bool = False
) -> tuple[Conversion, dict]:
    """Official weights for a model.

    Args:
        weights: official key -> tensor.
        model: the model they are for; only its keys and shapes are read.
        swap_rgb: reverse the colour channels of the patch embedding. The image-text stage sees RGB,
            the detector BGR, and the reference hands the weights over as they are.

    Returns:
        The conversion, and what :func:`export_weights` has to know of it: ``layout``, ``i2t_norm``
        (of the checkpoint), ``swap_rgb``, ``resized`` (bias tables brought to another window) and
        ``shapes`` of numbers that were vectors.

    Raises:
        ConversionError: a weight has no place, the model lacks one, a shape differs, or the two are
            of different layouts; all keys at fault are listed.
    """
    if any(key.startswith('backbone.image.') for key in weights):
        raise ConversionError('has our names already; to get the official ones, use --reverse')
    layout, norm = detect_layout(weights)
    wanted = model.state_dict()
    if layout == 'fine':
        _refuse_other_detectors(wanted, norm)
    result = fit(
        from_official(weights, layout, wanted),
        wanted,
        fresh=_FRESH[layout, is_image_text(wanted)],
        resize=layout == 'coarse',
        swap_rgb=swap_rgb,
    )
    result.refuse_problems(
        f'was recognised as {layout}-grained, but does not fit the config: keys at fault',
        ''
        if any('.text_attention.' in key for key in wanted)
        else (
            'the backbone of the config has no cross-attention in its towers (fusion); '
            'pretrained=dict(towers=FILE) starts it from their other weights'
        ),
    )
    if result.resized:
        _set_aside_former_windows(result)
    if _rank_differs(weights):
        result.notes.append(
            f'{RANK} is not row 1 of {MATCH}, as it was meant to be: the '
            'reference overwrites that row with it when it loads the file, this '
            'model does not'
        )
    strangers = _stranger_heads(wanted)
    if strangers:
        result.notes.append(f'{_explain_heads(strangers)} and starts fresh')
    meta = dict(layout=layout, i2t_norm=norm, swap_rgb=swap_rgb, resized=bool(result.resized))
    if layout == 'coarse':
        meta['shapes'] = {
            key: list(weights[key].shape)
            for key, names in result.renamed.items()
            if weights[key].dim() > result.state[names[0]].dim()
        }
    return result, meta


def export_weights(
    weights: Mapping[str, Tensor],
    model: nn.Module,
    meta: Mapping | None = None,
    extras: Mapping[str, Tensor] | None = None,
) -> Conversion:
    """Our weights under the official names.

    Args:
        weights: our key -> tensor.
        model: the model they are of; only its keys, shapes and anchors are read.
        meta: what :func:`import_weights` returned. By default the model's own layout, not swapped,
            not resized.
        extras: official entries kept aside by the import; None if they are lost. Then what can be
            computed is computed, and the image-text weights that are never used get their first
            values, so that the layout is complete.

    Returns:
        The conversion; its ``state`` is the official state dict.

    Raises:
        ConversionError: a weight has no official name, is missing, or has another shape than the
            model's; all keys at fault are listed.
    """
    if any(key.startswith((FINE_IMAGE, COARSE_IMAGE)) for key in weights):
        raise ConversionError('has the official names already; convert it without --reverse')
    meta, wanted = meta or {}, model.state_dict()
    image_text = is_image_text(wanted)
    layout = meta.get('layout', 'coarse' if image_text else 'fine')
    if not isinstance(layout, str) or (layout, image_text) not in _FRESH:
        known = [name for name, level in _FRESH if level == image_text]
        raise ConversionError(
            f'says that it came from the layout {layout!r}, which for this model '
            f'is none of {", ".join(known)}'
        )
    ours = fit(
        Conversion(dict(weights)),
        wanted,
        fresh=_FRESH[layout, image_text],
        swap_rgb=meta.get('swap_rgb', False),
    )
    ours.refuse_problems('does not fit the config: keys at fault')
    result = to_official(ours.state, layout, extras)
    strangers = _stranger_heads(result.unknown)
    result.refuse_problems(
        f'has weights that the official {layout}-grained layout does not have',
        f'{_explain_heads(strangers)}; delete these weights from the file to convert the rest'
        if strangers
        else '',
    )
    result.notes += ours.notes
    for key, shape in stored_mapping(meta, 'shapes').items():
        try:
            result.state[key] = result.state[key].reshape(shape)
        except (KeyError, TypeError, RuntimeError) as error:
            raise ConversionError(f'says that {key} had the shape {shape!r}') from error
    if extras is None or meta.get('resized'):
        _add(result, derived_buffers(result.state, layout, model), 'computed')
    result.notes += [f'restored {key}' for key in extras or ()]
    if extras is None:
        if layout == 'coarse':
            _add(result, unused_weights(result.state), 'never used, first value:')
        lost = {
            'fine': 'rpn.head.cls_logits',
            'coarse': 'the queues' if image_text else 'the heads of the image-text model',
        }[layout]
        result.notes.append(
            f'not written: {lost}. The file does not carry the official extras '
            '(training does not keep them)'
        )
    return result


def convert_file(
    src: str | Path,
    dst: str | Path,
    model: nn.Module,
    reverse: bool = False,
    ema: bool = False,
    swap_rgb: bool = False,
    log: Callable[[str], None] = print,
) -> Conversion:
    """Convert a checkpoint file and report what became of every key.

    Args:
        src: the checkpoint: official, or with ``reverse`` one of ours.
        dst: the file to write: ``state_dict``, ``meta`` and ``official_extras``, or with
            ``reverse`` ``model`` (detector) or ``state_dict`` (image-text model).
        model: the model; only its keys and shapes are read, see :func:`skeleton`.
        reverse: from ours to official. What was converted here comes back exactly.
        ema: take the averaged weights of an official checkpoint.
        swap_rgb: see :func:`import_weights`. On the way back the file knows; give it for a file
            that was trained since, which no longer does.
        log: receives the report line by line.

    Returns:
        The conversion.

    Raises:
        ConversionError: the checkpoint cannot be read, does not fit, or cannot be written.
    """
    src, dst = Path(src).expanduser(), Path(dst).expanduser()
    try:
        refuse_inputs([output_path(dst)], [src])
    except OutputError as error:
        raise ConversionError(str(error)) from error
    if reverse and ema:
        raise ConversionError(
            'ema is for official checkpoints: those of mmengine hold the '
            'averaged weights in their state_dict already'
        )
    checkpoint = read_checkpoint(src, ema)
    try:
        if reverse:
            meta = stored_mapping(checkpoint, 'meta')
            extras = None
            if 'official_extras' in checkpoint:
                extras = stored_mapping(checkpoint, 'official_extras')
                if not all(isinstance(value, Tensor) for value in extras.values()):
                    raise ConversionError('has official_extras that are not tensors')
            meta['swap_rgb'] = meta.get('swap_rgb', False) or swap_rgb
            result = export_weights(our_weights(checkpoint), model, meta, extras)
            root = 'model' if detect_layout(result.state)[0] == 'fine' else 'state_dict'
            content = {root: result.state}
        else:
            result, meta = import_weights(official_weights(checkpoint, ema), model, swap_rgb)
            meta.update(source=src.name, ema=ema, fiber_mmdet=__version__)
            content = dict(state_dict=result.state, meta=meta, official_extras=result.extras)
    except ConversionError as error:
        raise ConversionError(f'{src}: {error}') from None
    for tensors in (result.state, result.extras):
        tensors.update({key: compact(value) for key, value in tensors.items()})
    _write(content, dst)
    for line in result.report():
        log(line)
    log(f'{src} -> {dst}')
    return result


def _write(content: dict, dst: Path) -> None:
    """All of the file or nothing."""
    try:
        with writing(dst) as part:
            torch.save(content, part)
    except (OSError, RuntimeError) as error:
        raise ConversionError(f'{dst}: cannot be written ({error})') from error


def _refuse_other_detectors(wanted: Iterable[str], norm: bool) -> None:
    """Stop unless a model takes the weights of a detector with or without the image query norm."""
    if is_image_text(wanted):
        raise ConversionError(
            "is of a detector, the config of an image-text model; take a detector's config"
        )
    model_norm = has_query_norm(wanted)
    if norm != model_norm:
        base = 'fiber_swin-b_i2t-norm.py' if norm else 'fiber_swin-b.py'
        raise ConversionError(
            f'was trained {"with" if norm else "without"} the LayerNorm on the image query, the '
            f'model is built {"with" if model_norm else "without"} it. Take a config whose '
            f'backbone has i2t_norm={norm}, such as those based on {base}'
        )


def _set_aside_former_windows(result: Conversion) -> None:
    """Drop the buffers of windows that were resized; they are computed anew on the way back."""
    for key in list(result.extras):
        if key.startswith(COARSE_IMAGE) and key.endswith(
            ('.relative_position_index', '.attn_mask')
        ):
            del result.extras[key]
            result.reasons[key] += ', of the former window'


def _rank_differs(weights: Mapping[str, Tensor]) -> bool:
    """Whether the ranking head has other values than the matching head's row that it should be."""
    pairs = [
        (weights.get(f'{MATCH}.{part}'), weights.get(f'{RANK}.{part}'))
        for part in ('weight', 'bias')
    ]
    return any(
        row is not None and rank is not None and not row.is_meta and not torch.equal(row[1:], rank)
        for row, rank in pairs
    )


def _stranger_heads(keys: Iterable[str]) -> list[str]:
    """Names in ``model.heads`` that have weights, but no place in the official layout."""
    found = (re.match(r'heads\.(\w+)\.', key) for key in keys)
    return list(dict.fromkeys(head[1] for head in found if head and head[1] not in HEAD_NAMES))


def _explain_heads(names: Sequence[str]) -> str:
    return (
        f'heads are matched by their name in model.heads, {", ".join(HEAD_NAMES)}: '
        f'{", ".join(names)} has no place in the official layout'
    )


def _add(result: Conversion, tensors: Mapping[str, Tensor], what: str) -> None:
    """Entries that the state lacks, each with a note."""
    new = {key: value for key, value in tensors.items() if key not in result.state}
    result.state.update(new)
    result.notes += [f'{what} {key}' for key in new]
