"""Running mmdet's own command-line tools for this plugin."""

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
    """Read a checkpoint of mmengine without running what it contains.

    Args:
        filename: path of a file written by ``torch.save``.
        map_location: as for ``torch.load``.

    Raises:
        FileNotFoundError: no such file.
        UnpicklingError: the file asks for code to be run.
        ValueError: the file is no checkpoint, or a damaged one.
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
            f'{path} is no readable checkpoint ({error}): fetch or write it again'
        ) from error


@contextmanager
def processes_without_gpus(arguments: list[str]) -> Iterator[list[str]]:
    """Let the processes that torchrun started work together on a machine without GPUs.

    mmengine's own start ends in ``torch.cuda.set_device``, and its model wrapper
    asks for a GPU too. So the processes meet here, through gloo, and the
    wrapper is told that there is none. Nothing is done on a machine with GPUs, or
    without ``--launcher pytorch``.

    Args:
        arguments: of the command line, the program's name first.

    Yields:
        The arguments that mmdet's tool should see.
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
    """Let mmengine read local checkpoints through :func:`load_local_checkpoint`.

    By itself it falls back to running their pickles.
    """
    CheckpointLoader.register_scheme(prefixes='', loader=load_local_checkpoint, force=True)


def run_mmdet_tool(name: str) -> None:
    """Run ``mmdet/.mim/tools/NAME`` with the current command line.

    The tool is unchanged, but local checkpoints are read with
    ``weights_only=True`` throughout, and ``torchrun … --launcher pytorch`` works
    without GPUs.

    Args:
        name: 'train.py' or 'test.py'.
    """
    read_checkpoints_safely()
    import mmdet

    tool = Path(mmdet.__file__).parent / '.mim' / 'tools' / name
    with processes_without_gpus(sys.argv) as sys.argv:
        runpy.run_path(str(tool), run_name='__main__')
