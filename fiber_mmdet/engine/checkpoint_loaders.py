"""mmengine's ways to fetch a checkpoint, none of which runs what it fetches."""

import tempfile
from pathlib import Path
from typing import Any

from mmengine.fileio import get_file_backend
from mmengine.runner import CheckpointLoader
from mmengine.runner import checkpoint as mmengine_loaders

from fiber_mmdet.checkpoints.account import ConversionError
from fiber_mmdet.checkpoints.downloads import local_file
from fiber_mmdet.checkpoints.reading import read_training_checkpoint
from fiber_mmdet.weights.addresses import local_weights


def load_from_local(filename: str, map_location: Any = None) -> dict:
    """Read a checkpoint file of mmengine: see :func:`read_training_checkpoint`.

    Args:
        filename: path of a file written by ``torch.save``.
        map_location: as for ``torch.load``.

    Raises:
        FileNotFoundError: the file does not exist.
        UnknownWeights: a name without ``fiber://``.
        UnpicklingError: reading the file would execute code.
        ValueError: the file is not a checkpoint, or it is damaged, or its weights are not finite.
    """
    return read_training_checkpoint(local_weights(filename), map_location)


load_local_checkpoint = load_from_local


def load_from_web(filename: str, map_location: Any = None) -> dict:
    """Fetch a checkpoint once per machine, into torch's cache, and read it as a local one.

    Args:
        filename: http(s) URL.
        map_location: as for ``torch.load``.

    Raises:
        ConversionError: it cannot be fetched.
        UnpicklingError, ValueError: see :func:`read_training_checkpoint`.
    """
    return read_training_checkpoint(local_file(filename), map_location)


def load_from_name(filename: str, map_location: Any = None) -> dict:
    """Read known weights by name, ``fiber://desco-fiber-b``, or a file of the Hugging Face hub.

    Args:
        filename: ``fiber://NAME``, or ``hf://OWNER/REPOSITORY/FILE``.
        map_location: as for ``torch.load``.

    Raises:
        UnknownWeights, FetchError, StoreError, ConversionError: no such weights, or they cannot be
            had, see :func:`~fiber_mmdet.weights.addresses.local_weights`.
        UnpicklingError, ValueError: see :func:`read_training_checkpoint`.
    """
    return read_training_checkpoint(local_weights(filename), map_location)


def load_from_store(filename: str, map_location: Any = None) -> dict:
    """Read a checkpoint of an object store (s3, petrel) as a local one.

    Args:
        filename: its address.
        map_location: as for ``torch.load``.

    Raises:
        ImportError: mmengine's client for it is not installed.
        UnpicklingError, ValueError: see :func:`read_training_checkpoint`.
    """
    content = get_file_backend(filename, backend_args={'backend': 'petrel'}).get(filename)
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder) / Path(filename).name
        copy.write_bytes(content)
        return read_training_checkpoint(copy, map_location)


def load_from_torchvision(filename: str, map_location: Any = None) -> dict:
    """Read weights of torchvision by their name, ``torchvision://resnet50``.

    Raises:
        ConversionError: no such name, or it cannot be fetched.
    """
    models = mmengine_loaders.get_torchvision_models()
    return load_from_web(_address(models, filename), map_location)


def load_from_openmmlab(filename: str, map_location: Any = None) -> dict:
    """Read weights of OpenMMLab's list by their name, ``open-mmlab://…``.

    Raises:
        ConversionError: no such name, or it cannot be fetched.
    """
    address = _address(mmengine_loaders.get_external_models(), filename)
    if address.startswith(('http://', 'https://')):
        return load_from_web(address, map_location)
    home = Path(mmengine_loaders._get_mmengine_home())
    return read_training_checkpoint(home / address, map_location)


def load_from_mmcls(filename: str, map_location: Any = None) -> dict:
    """Read a backbone of mmcls by its name, ``mmcls://…``.

    Raises:
        ConversionError: no such name, or it cannot be fetched.
    """
    models = mmengine_loaders.get_mmcls_models()
    checkpoint = load_from_web(_address(models, filename), map_location)
    return mmengine_loaders._process_mmcls_checkpoint(checkpoint)


def refuse_pavi(filename: str, map_location: Any = None) -> dict:
    """Refuse what can only be read by unpickling.

    Raises:
        ConversionError: always.
    """
    raise ConversionError(
        f'{filename}: pavi:// is not read here, because it cannot be read safely: download the '
        'file and give its path'
    )


LOADERS = {
    '': load_from_local,
    'http://': load_from_web,
    'https://': load_from_web,
    'fiber://': load_from_name,
    'hf://': load_from_name,
    r'(\S+\:)?s3://': load_from_store,
    r'(\S+\:)?petrel://': load_from_store,
    'modelzoo://': load_from_torchvision,
    'torchvision://': load_from_torchvision,
    'open-mmlab://': load_from_openmmlab,
    'openmmlab://': load_from_openmmlab,
    'mmcls://': load_from_mmcls,
    'pavi://': refuse_pavi,
}


def read_checkpoints_safely() -> None:
    """Let mmengine read checkpoints, whatever their address, through the loaders of this module.

    Its own fall back to running their pickles, and hand over the config in a checkpoint, which its
    Runner runs as Python on resume.
    """
    for prefix, loader in LOADERS.items():
        CheckpointLoader.register_scheme(prefixes=prefix, loader=loader, force=True)


def _address(models: dict, filename: str) -> str:
    name = filename.partition('://')[2]
    if name not in models:
        raise ConversionError(f'{filename}: mmengine knows no weights of that name')
    return models[name]
