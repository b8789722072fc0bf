#!/usr/bin/env python3
"""Test a checkpoint with the test split and the metrics of a config:

    python tools/test.py CONFIG CHECKPOINT
    python tools/test.py CONFIG fiber://desco-fiber-b --out predictions.pkl
    torchrun --nproc_per_node 8 tools/test.py CONFIG CHECKPOINT --launcher pytorch

It is mmdet's own tool with this plugin registered, and has the same command line.
docs/evaluation.md says more.
"""

from command_line import run_tool
from tool_parser import check_mmdet_arguments


def main() -> None:
    """Run mmdet's tool."""
    check_mmdet_arguments('test.py', __doc__)
    from fiber_mmdet.engine.launch import run_mmdet_tool

    run_mmdet_tool('test.py')


if __name__ == '__main__':
    run_tool(main)
