"""Weights in safetensors files, which hold nothing but tensors; ours with a checksum of each."""

import json
import zlib
from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor

from .archive import DamagedFile, safetensors_header

NOTES = 'fiber_mmdet'  # entry of the header with what a checkpoint has beside its weights


def write_tensors(path: str | Path, state: Mapping[str, Tensor], meta: Mapping) -> None:
    """Write weights to a safetensors file.

    Args:
        path: the file, written in place.
        state: name -> tensor.
        meta: what can be written as json.

    Raises:
        OSError: the file cannot be written.
    """
    from safetensors import SafetensorError
    from safetensors.torch import save_file

    tensors, places = {}, set()
    for key, value in state.items():
        value = value.detach().contiguous()
        if value.untyped_storage().data_ptr() in places:  # the format has no shared values
            value = value.clone()
        places.add(value.untyped_storage().data_ptr())
        tensors[key] = value
    notes = dict(meta=dict(meta), crc32={key: _checksum(value) for key, value in tensors.items()})
    path = Path(path)
    path.touch()
    permissions = path.stat().st_mode  # those of other files: the library gives fewer
    try:
        save_file(tensors, path, metadata={NOTES: json.dumps(notes)})
        path.chmod(permissions)
    except SafetensorError as error:  # in which the system's own is text
        raise OSError(str(error)) from error


def read_tensors(path: Path) -> dict:
    """Read a safetensors file, mapped; ours are compared with their checksums.

    Args:
        path: a file whose header :func:`safetensors_header` can read.

    Returns:
        ``state_dict``, and the ``meta`` that ours have.

    Raises:
        DamagedFile: naming the tensor that is damaged.
    """
    from safetensors import SafetensorError, safe_open

    safetensors_header(path)
    state = {}
    try:
        with safe_open(path, framework='pt') as file:
            notes = _notes(file.metadata() or {})
            for key in file.keys():  # noqa: SIM118
                state[key] = file.get_tensor(key)
    except SafetensorError as error:
        raise DamagedFile(str(error)) from error
    for key, checksum in notes.get('crc32', {}).items():
        if key not in state or _checksum(state[key]) != checksum:
            raise DamagedFile(f'the tensor {key!r} is damaged: its checksum is another one')
    return dict(state_dict=state, meta=dict(notes.get('meta', {})))


def _notes(metadata: Mapping[str, str]) -> dict:
    """What was written beside the tensors; nothing for files of others."""
    try:
        notes = json.loads(metadata.get(NOTES, '{}'))
        return {key: dict(notes[key]) for key in ('meta', 'crc32') if key in notes}
    except (ValueError, TypeError, RecursionError) as error:
        raise DamagedFile(f'what it says of itself cannot be read ({error})') from error


def _checksum(value: Tensor) -> int:
    """CRC-32 of the bytes of a tensor (…)."""
    return zlib.crc32(value.contiguous().reshape(-1).view(torch.uint8).numpy().data)
