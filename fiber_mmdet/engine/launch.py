"""Running mmdet's own command-line tools for this plugin."""
import os
import runpy
from pathlib import Path

import torch


def run_mmdet_tool(name: str) -> None:
    """Run ``mmdet/.mim/tools/NAME`` with the current command line.

    What is added around the unchanged tool:

    - checkpoints are read with ``weights_only=True`` throughout (mmengine falls
      back to running their pickles otherwise);
    - under ``torchrun`` without a GPU the process group is made with gloo, since
      mmengine's launcher insists on CUDA.

    Args:
        name: 'train.py' or 'test.py'.
    """
    os.environ.setdefault('TORCH_FORCE_WEIGHTS_ONLY_LOAD', '1')
    from fiber_mmdet.host import allow_mmengine_checkpoints
    allow_mmengine_checkpoints()
    if 'RANK' in os.environ and not torch.cuda.is_available():
        torch.distributed.init_process_group('gloo')
    import mmdet
    tool = Path(mmdet.__file__).parent / '.mim' / 'tools' / name
    runpy.run_path(str(tool), run_name='__main__')
