#!/usr/bin/env python3
"""Train the model of a config:

    python tools/train.py CONFIG
    python tools/train.py CONFIG --work-dir work_dirs/a --resume      # go on after an interruption
    python tools/train.py CONFIG --cfg-options load_from=fiber://desco-fiber-b \\
        train_dataloader.batch_size=2
    torchrun --nproc_per_node 8 tools/train.py CONFIG --launcher pytorch

It is mmdet's own tool with this plugin registered, and has the same command line. docs/training.md
says more.
"""

from command_line import run_tool
from tool_parser import check_mmdet_arguments


def main() -> None:
    """Run mmdet's tool."""
    check_mmdet_arguments('train.py', __doc__)
    from fiber_mmdet.engine.launch import run_mmdet_tool

    run_mmdet_tool('train.py')


if __name__ == '__main__':
    run_tool(main)
