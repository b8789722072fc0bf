"""Which system a file of weights is of, and whether that is the one that was asked for."""

import re
from collections.abc import Collection
from pathlib import Path

from fiber_mmdet.checkpoints.account import ConversionError
from fiber_mmdet.checkpoints.other_systems import is_volta, public_tower, recognise
from fiber_mmdet.checkpoints.published_layout import detect_layout, is_official
from fiber_mmdet.checkpoints.reading import official_weights, read_checkpoint

from .catalogue import KnownWeights

FIBER = {'fine': 'FIBER, a detector', 'coarse': 'FIBER, an image-text model'}
OURS = 'FIBER, by this project'
# In the names of other systems, how their files are written.
_VARIANT = re.compile(r"( without early fusion)?,?( in mmdet's format)?$")


class OtherKind(ConversionError):
    """A file of another system than was asked for."""


def kind_of(keys: Collection[str]) -> str | None:
    """The system that a state dict is of; None if it is of none that is known.

    Args:
        keys: its keys, without a ``module.`` prefix.
    """
    if is_volta(keys):
        return 'VoLTA'
    if (system := recognise(keys)) is not None:
        return _VARIANT.sub('', system.name)
    if is_official(keys):
        return FIBER[detect_layout(keys)[0]]
    if any(key.startswith('backbone.image.') for key in keys):
        return OURS
    return public_tower(keys)


def refuse_other_kind(known: KnownWeights, file: str | Path) -> None:
    """Stop if a file is not of the system that a name stands for.

    Args:
        known: the name's record; nothing is checked where its ``system`` is None.
        file: the file.

    Raises:
        OtherKind: naming both systems.
        ConversionError: it is no checkpoint, or would run code.
    """
    if known.system is None:
        return
    keys = list(official_weights(read_checkpoint(file), name=str(file)))
    found = kind_of(keys)
    if found != known.system:
        example = f' (first key: {next(iter(keys), "none")!r})'
        what = f'a file of {found}' if found else f'of no system that is known{example}'
        raise OtherKind(f'{file} is {what}, but {known.name} is one of {known.system}')
