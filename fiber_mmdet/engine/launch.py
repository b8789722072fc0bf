"""Execution of mmdet's own command-line tools for this plugin."""

import os
import runpy
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from pickle import UnpicklingError

import torch
import torch.distributed as dist
from mmengine.runner import CheckpointLoader

from fiber_mmdet.checkpoints.reading import mmengine_globals


def load_local_checkpoint(filename: str, map_location=None) -> dict:
    """A checkpoint of mmengine, read without executing code that it may contain.

    Args:
        filename: path of a file written by ``torch.save``.
        map_location: as for ``torch.load``.

    Raises:
        FileNotFoundError: the file does not exist.
        UnpicklingError: reading the file would execute code.
        ValueError: the file is not a checkpoint, or it is damaged.
    """
    path = Path(filename).expanduser()
    if not path.is_file():
        raise FileNotFoundError(f'no checkpoint {path}')
    try:
        with torch.serialization.safe_globals(mmengine_globals()):
            return torch.load(path, map_location=map_location, weights_only=True)
    except UnpicklingError as error:
        raise UnpicklingError(
            f'{path} is refused: reading it may run code (only tensors and the records of mmengine '
            f'are read, weights_only=True). {error}'
        ) from error
    except (RuntimeError, KeyError, EOFError, ValueError) as error:
        raise ValueError(
            f'{path} is not a readable checkpoint ({error}): download or write it again'
        ) from error


@contextmanager
def processes_without_gpus(arguments: list[str]) -> Iterator[list[str]]:
    """Connect the processes that torchrun started on a machine without GPUs.

    mmengine's initialisation ends in ``torch.cuda.set_device``, and its model wrapper
    requires a GPU as well. Therefore the process group (gloo) is initialised here, and options
    tell the wrapper that there is no GPU. On a machine with GPUs, or
    without ``--launcher pytorch``, nothing is done.

    Args:
        arguments: the command line, beginning with the program's name.

    Yields:
        The arguments for mmdet's tool.
    """
    launched = any(
        argument == '--launcher=pytorch' or pair == ('--launcher', 'pytorch')
        for argument, pair in zip(arguments, zip(arguments, arguments[1:] + ['']))
    )
    if not launched or 'RANK' not in os.environ or torch.cuda.is_available():
        yield arguments
        return
    dist.init_process_group('gloo')
    try:
        yield [
            *arguments,
            '--cfg-options',
            'model_wrapper_cfg.device_ids=None',
            'model_wrapper_cfg.broadcast_buffers=False',
        ]
    finally:
        dist.destroy_process_group()


def read_checkpoints_safely() -> None:
    """Make mmengine read local checkpoints with :func:`load_local_checkpoint`.

    Its own reader falls back to unpickling them, which may execute code.
    """
    CheckpointLoader.register_scheme(prefixes='', loader=load_local_checkpoint, force=True)


def run_mmdet_tool(name: str) -> None:
    """Run ``mmdet/.mim/tools/NAME`` with the current command line.

    The tool itself is unchanged, but all local checkpoints are read with
    ``weights_only=True``, and ``torchrun … --launcher pytorch`` works
    without GPUs.

    Args:
        name: 'train.py' or 'test.py'.
    """
    read_checkpoints_safely()
    import mmdet

    tool = Path(mmdet.__file__).parent / '.mim' / 'tools' / name
    with processes_without_gpus(sys.argv) as sys.argv:
        runpy.run_path(str(tool), run_name='__main__')
