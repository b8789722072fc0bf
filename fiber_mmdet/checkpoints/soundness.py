"""Whether what a checkpoint holds can be weights: named by text, ordinary tensors, finite."""

from collections.abc import Iterator, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from .account import ConversionError
from .names import DROPPED, first_match

# where weights lie, of mmengine, Lightning and the trainers of Swin and FIBER
SECTIONS = ('state_dict', 'model', 'ema_state_dict', 'official_extras')
AVERAGED = 'model_ema'  # of official files, beside or instead of `model`
# what a training adds; it becomes weights with the next step
TRAINING = ('optimizer', 'contrast_queue')
# a tensor may repeat the values that are stored for it up to this size (position ids do)
REPEATED = 1 << 20


class NotFinite(ConversionError):
    """Weights that are NaN or infinite; the message has their keys."""


def check_sound(checkpoint: Mapping, name: str, training: bool = False, ema: bool = False) -> None:
    """Refuse a checkpoint whose weights no model could use.

    Only what will be used is looked at: the rest of a mapped file is never read.

    Args:
        checkpoint: what was read.
        name: its name in error messages.
        training: look at the state of the optimizer, too.
        ema: look at the averaged weights of an official file (``model_ema``), not at ``model``.

    Raises:
        NotFinite: weights are NaN or infinite.
        ConversionError: a name is not text, or a tensor is not an ordinary one (sparse, quantized,
            complex, without values, or repeating a few values many times).
    """
    bad: list[str] = []
    for place, value in _weights(checkpoint, name, training, ema):
        odd = oddity(value)
        if odd is not None:
            raise ConversionError(f'{name}: {place} {odd}, which cannot be weights')
        # masks may be infinite, as what they add to
        if 'mask' not in place.rpartition('.')[2] and not is_finite(value):
            bad.append(place)
    refuse_infinite(bad, name)


def refuse_infinite(keys: list[str], name: str) -> None:
    """Refuse weights that are not finite.

    Args:
        keys: theirs; nothing happens if there are none.
        name: what they are weights of.

    Raises:
        NotFinite: naming some of the keys.
    """
    if keys:
        shown = ', '.join(keys[:8]) + (f' and {len(keys) - 8} more' if len(keys) > 8 else '')
        raise NotFinite(
            f'{name}: weights that are not finite (NaN or infinite): {shown}. The training '
            'that wrote them had diverged: take an earlier checkpoint'
        )


def oddity(value: Tensor) -> str | None:
    """What keeps a tensor from being an ordinary one; None if nothing does.

    Args:
        value: (…) any.
    """
    if type(value) not in (Tensor, nn.Parameter):
        return f'is a {type(value).__name__}'
    if value.layout != torch.strided:
        return f'is sparse ({value.layout})'
    if value.is_meta:
        return 'has a shape, but no values (device meta)'
    if value.is_quantized:
        return f'is quantized ({value.dtype})'
    if value.is_complex():
        return f'is complex ({value.dtype})'
    wanted, stored = value.numel() * value.element_size(), value.untyped_storage().nbytes()
    if wanted > max(stored, REPEATED):
        return f'has the shape {tuple(value.shape)}, but only {stored} bytes of values'
    return None


def is_finite(value: Tensor) -> bool:
    """Whether no value is NaN or infinite.

    Args:
        value: (…) an ordinary tensor, see :func:`oddity`.
    """
    if not value.is_floating_point() or not value.numel():
        return True
    try:
        ends = torch.aminmax(value)  # NaN if any value is; makes no copy
    except RuntimeError:  # a type that cannot be compared, of 8 bits
        ends = torch.aminmax(value.float())
    return bool(ends.min.isfinite() and ends.max.isfinite())


def not_finite(state: Mapping[str, Any]) -> list[str]:
    """Keys of the tensors of a state dict that are not finite."""
    return [
        key for key, value in state.items() if isinstance(value, Tensor) and not is_finite(value)
    ]


def _weights(
    checkpoint: Mapping, name: str, training: bool, ema: bool
) -> Iterator[tuple[str, Tensor]]:
    """Tensors that are weights and will be used, with the place of each."""
    wanted = (AVERAGED,) if ema else SECTIONS
    sections = [key for key in wanted if isinstance(checkpoint.get(key), Mapping)]
    for section in sections:
        yield from _entries(checkpoint[section], '', name, section)
    if not {'state_dict', 'model', AVERAGED}.intersection(sections):
        yield from _entries(checkpoint, '', name, 'the file')
    if training:
        for section in TRAINING:
            yield from tensors_in(checkpoint.get(section), section)


def _entries(state: Mapping, prefix: str, name: str, section: str) -> Iterator[tuple[str, Tensor]]:
    for key, value in state.items():
        if not isinstance(key, str):
            # Lightning has callbacks by their class; weights have none
            if isinstance(value, Tensor) or section in ('state_dict', 'model'):
                raise ConversionError(
                    f'{name}: {section} has the key {key!r}, a {type(key).__name__}: names of '
                    'weights are text'
                )
        elif isinstance(value, Tensor) and first_match(DROPPED['coarse'], key) is None:
            yield f'{prefix}{key}', value


def tensors_in(content: Any, place: str) -> Iterator[tuple[str, Tensor]]:
    """All tensors of nested containers, each container once.

    Args:
        content: containers, tensors and anything else.
        place: name of the whole.

    Yields:
        The place of a tensor, its keys joined by periods, and the tensor.
    """
    waiting, seen = [(place, content)], set()
    while waiting:
        place, one = waiting.pop()
        if isinstance(one, Tensor):
            yield place, one
        elif isinstance(one, (Mapping, list, tuple)) and id(one) not in seen:
            seen.add(id(one))
            pairs = one.items() if isinstance(one, Mapping) else enumerate(one)
            waiting += [(f'{place}.{key}', value) for key, value in pairs]
