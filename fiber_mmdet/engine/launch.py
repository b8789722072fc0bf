"""Running mmdet's own command-line tools for this plugin."""
import runpy
from pathlib import Path
from pickle import UnpicklingError

import torch
from mmengine.runner import CheckpointLoader

from fiber_mmdet.host import mmengine_globals


def load_local_checkpoint(filename: str, map_location=None) -> dict:
    """Read a checkpoint of mmengine without running what it contains.

    Args:
        filename: path of a file written by ``torch.save``.
        map_location: as for ``torch.load``.

    Raises:
        FileNotFoundError: no such file.
        UnpicklingError: the file asks for code to be run.
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
            f'are read, weights_only=True). {error}') from error


def run_mmdet_tool(name: str) -> None:
    """Run ``mmdet/.mim/tools/NAME`` with the current command line.

    The tool is unchanged, but local checkpoints are read with
    ``weights_only=True`` throughout (mmengine falls back to running their pickles
    otherwise).

    Args:
        name: 'train.py' or 'test.py'.
    """
    CheckpointLoader.register_scheme(prefixes='', loader=load_local_checkpoint, force=True)
    import mmdet
    tool = Path(mmdet.__file__).parent / '.mim' / 'tools' / name
    runpy.run_path(str(tool), run_name='__main__')
