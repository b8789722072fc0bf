"""Checkpoint files: read without running what they contain, weights found in them."""

import re
import zipfile
from collections.abc import Mapping
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import torch
from torch import Tensor

from .account import ConversionError
from .allowed import OF_OTHERS, STAND_INS, mmengine_globals, only
from .archive import DamagedFile, check_archive, safetensors_header
from .foreign_files import foreign_kind
from .published_layout import is_official
from .soundness import check_sound, tensors_in
from .tensor_file import read_tensors


class UnsafeFile(ConversionError):
    """A file that wants something to be called; the message says what."""


def read_checkpoint(path: str | Path, ema: bool = False) -> dict:
    """Read a checkpoint file without running anything it contains.

    Tensors and plain containers come as they are, to the CPU; objects that training frameworks put
    beside them (histories, callbacks, numpy values) as empty stand-ins. The records of the file are
    compared with their checksums, and the weights are looked at: see :mod:`.archive` and
    :mod:`.soundness`.

    Tensors are mapped from the file: what is not used, such as the state of an optimizer, takes no
    memory. They hold until the file is written anew in its place. (The format of torch < 1.6, which
    is no zip archive, is read whole.)

    Args:
        path: a file written by ``torch.save``, or a safetensors file.
        ema: whether the averaged weights of an official file will be used, instead of the others.

    Returns:
        The dictionary in it.

    Raises:
        ConversionError: the file is missing, damaged, is not a checkpoint, holds what cannot be
            weights (NaN included), or asks for anything else to be called (a pickle can run any
            code when it is read).
    """
    path = Path(path).expanduser()
    if not path.is_file():
        raise ConversionError(f'{path}: {missing(path)}')
    checkpoint = _load(path, STAND_INS, 'cpu')
    check_sound(checkpoint, str(path), ema=ema and 'model_ema' in checkpoint)
    return checkpoint


def read_training_checkpoint(path: str | Path, map_location: Any = None) -> dict:
    """Read a checkpoint of mmengine, with all that a training needs to go on, as safely.

    Differs from :func:`read_checkpoint`: histories and numpy values are read, and the state of the
    optimizer has to be finite, too. The text of the config that mmengine's Runner would run as
    Python when it resumes (``meta['config']``, of old versions) is left out. An official file is
    read for its weights alone.

    Args:
        path: a file written by ``torch.save``.
        map_location: as for ``torch.load``.

    Returns:
        The dictionary in it.

    Raises:
        FileNotFoundError: no such file.
        UnpicklingError: the file asks for code to be run.
        ValueError: the file is no checkpoint, a damaged one, or its weights are not finite.
    """
    path = Path(path).expanduser()
    if not path.is_file():
        raise FileNotFoundError(f'no checkpoint {path}: {missing(path)}')
    try:
        checkpoint = _load(path, [*mmengine_globals(), *OF_OTHERS], map_location)
    except UnsafeFile as error:
        why = str(error).removeprefix(f'{path}: ')
        raise UnpicklingError(
            f'{path} is refused: reading it may run code (only tensors and the records of mmengine '
            f'are read, weights_only=True); {why}'
        ) from error
    except ConversionError as error:
        why = str(error).removeprefix(f'{path}: ')
        raise ConversionError(
            f'{path} is not a readable checkpoint ({why}): download or write it again'
        ) from error
    meta = checkpoint.get('meta')
    if isinstance(meta, dict):
        meta.pop('config', None)
    check_sound(checkpoint, str(path), training=not holds_official(checkpoint))
    return checkpoint


def missing(path: Path) -> str:
    """Why there is no file at a path."""
    return 'it is a folder: name the file in it' if path.is_dir() else 'no such file'


def holds_official(checkpoint: Mapping) -> bool:
    """Whether the weights of a checkpoint have the names of an official FIBER checkpoint.

    Args:
        checkpoint: what was read.
    """
    try:
        return is_official(official_weights(checkpoint))
    except ConversionError:  # no weights at all: another error will say so
        return False


def _load(path: Path, allowed: list[Any], map_location: Any) -> dict:
    """The dictionary in a file, mapped if it can be; only `allowed` is called.

    Raises:
        UnsafeFile: it asks for more.
        ConversionError: it cannot be read, is damaged, or holds something else.
    """
    try:
        if safetensors_header(path) is not None:
            return read_tensors(path)
        if (kind := foreign_kind(path)) is not None:
            raise ConversionError(f'{path}: not a checkpoint, but {kind}')
        check_archive(path)
        mmap = zipfile.is_zipfile(path)  # not the old format
        with only(allowed):
            checkpoint = torch.load(path, map_location=map_location, weights_only=True, mmap=mmap)
    except ConversionError:
        raise
    except DamagedFile as error:
        raise ConversionError(f'{path}: not a checkpoint, or a damaged one: {error}') from error
    except OSError as error:
        raise ConversionError(f'{path}: cannot be read ({error})') from error
    except torch.OutOfMemoryError:
        raise
    except Exception as error:
        wanted = _refused_name(error)
        if wanted is None:
            raise ConversionError(
                f'{path}: not a checkpoint written by torch.save, or a damaged one '
                f'({_first_line(error)})'
            ) from error
        raise UnsafeFile(
            f'{path}: refused, because reading it would call {wanted}, which may run any code. '
            'Only tensors and plain containers are read (torch.load with weights_only=True). If '
            'you trust whoever made the file, read it once yourself with weights_only=False and '
            "save the weights alone: torch.save({'model': state_dict}, new_file)"
        ) from error
    if not isinstance(checkpoint, Mapping):
        raise ConversionError(
            f'{path}: not a checkpoint: it holds a {type(checkpoint).__name__}, not a dictionary'
        )
    _refuse_larger_than_file(checkpoint, path)
    return checkpoint if isinstance(checkpoint, dict) else dict(checkpoint)


def _refuse_larger_than_file(checkpoint: Mapping, path: Path) -> None:
    """Every value is stored once: more memory than the file has bytes is a trap."""
    stored = {}
    for _, value in tensors_in(checkpoint, ''):
        if value.layout == torch.strided and not value.is_meta:
            storage = value.untyped_storage()
            stored[storage._cdata] = storage.nbytes()
    size = path.stat().st_size
    if sum(stored.values()) > size:
        raise ConversionError(
            f'{path}: not a checkpoint written by torch.save, or a damaged one: it has {size} '
            f'bytes, and its tensors claim {sum(stored.values())}'
        )


def _first_line(error: Exception) -> str:
    said = str(error)
    if said.startswith('Weights only load failed'):  # torch advises to run what is in the file
        found = re.search('WeightsUnpickler error: (.+)', said)
        return f'its pickle cannot be read: {found[1]}' if found else 'its pickle cannot be read'
    return (said.splitlines() or [type(error).__name__])[0]


def _refused_name(error: Exception) -> str | None:
    """What a refused pickle asked for, None if the error is of another kind."""
    if not isinstance(error, UnpicklingError):
        return None
    found = re.search(
        r'(?:GLOBAL|unrecognized function) (.+?)(?: whose| was| which|$)', str(error), re.MULTILINE
    )
    return found and found.group(1)


def official_weights(
    checkpoint: Mapping, ema: bool = False, name: str | None = None
) -> dict[str, Tensor]:
    """The weights of an official checkpoint.

    Args:
        checkpoint: with ``model`` (detector) or ``state_dict`` (image-text model), or a bare
            state dict.
        ema: take the averaged weights, ``model_ema``.
        name: of the checkpoint, for errors.

    Returns:
        Official key -> tensor, without the ``module.`` of distributed training.

    Raises:
        ConversionError: there are none.
    """
    if ema:
        if 'model_ema' not in checkpoint:
            raise ConversionError(
                'no averaged weights (`model_ema`) in the checkpoint, which '
                f'holds {_names(checkpoint)}; convert it without ema'
            )
        return _state_dict(checkpoint['model_ema'], name)
    return _state_dict(checkpoint.get('model', checkpoint.get('state_dict', checkpoint)), name)


def our_weights(checkpoint: Mapping, name: str | None = None) -> dict[str, Tensor]:
    """The weights of one of our checkpoints: mmengine's ``state_dict``, or a bare state dict.

    mmengine's files hold averaged weights (EMA) there, if there are any.

    Args:
        checkpoint: what :func:`read_checkpoint` returned.
        name: its name, for errors.

    Returns:
        Our key -> tensor.

    Raises:
        ConversionError: there are none.
    """
    return _state_dict(checkpoint.get('state_dict', checkpoint.get('model', checkpoint)), name)


def stored_mapping(checkpoint: Mapping, *keys: str) -> dict:
    """A dictionary inside a checkpoint, such as ``meta``; an empty one if there is none.

    Args:
        checkpoint: what was read.
        *keys: the way to it.
    """
    found: Any = checkpoint
    for key in keys:
        found = found.get(key) if isinstance(found, Mapping) else None
    return dict(found) if isinstance(found, Mapping) else {}


def stored_answers(checkpoint: Mapping, name: str) -> list[str]:
    """The list of answers in a checkpoint of a VQA model; empty if there is none.

    Args:
        checkpoint: what was read.
        name: its name, for errors.

    Raises:
        ConversionError: there is something else in its place.
    """
    answers = stored_mapping(checkpoint, 'meta', 'dataset_meta').get('answers') or []
    if not isinstance(answers, (list, tuple)) or not all(isinstance(x, str) for x in answers):
        raise ConversionError(f'{name}: meta.dataset_meta.answers is no list of texts')
    return list(answers)


def _state_dict(weights: Mapping, file: str | None) -> dict[str, Tensor]:
    prefix = '' if file is None else f'{file}: '
    if not isinstance(weights, Mapping) or not weights:
        raise ConversionError(f'{prefix}not a checkpoint: there are no weights in it')
    others = [
        name
        for name, value in weights.items()
        if not (isinstance(name, str) and isinstance(value, Tensor))
    ]
    if others:
        raise ConversionError(
            f'{prefix}not a state dict: {_names(others)} are not tensors under a name. A '
            'checkpoint has its weights under `model` or `state_dict`, or contains nothing else'
        )
    if all(key.startswith('module.') for key in weights):
        return {key[len('module.') :]: value for key, value in weights.items()}
    return dict(weights)


def _names(keys, limit: int = 8) -> str:
    names = [repr(key) for key in keys]
    rest = f' and {len(names) - limit} more' if len(names) > limit else ''
    return (', '.join(names[:limit]) or 'nothing') + rest


def compact(tensor: Tensor) -> Tensor:
    """The tensor with a storage of its own size: saving a view saves all that it was cut from.

    Args:
        tensor: (…) any.

    Returns:
        (…) the same tensor, or a copy if it is a part of a larger storage.
    """
    tensor = tensor.detach()
    if tensor.untyped_storage().nbytes() > tensor.numel() * tensor.element_size():
        return tensor.clone(memory_format=torch.contiguous_format)
    return tensor
