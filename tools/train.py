#!/usr/bin/env python3
"""Train a model: mmdet's tools/train.py with this plugin registered (same command line)."""

from command_line import check_mmdet_arguments

if __name__ == '__main__':
    check_mmdet_arguments('train.py')
    from fiber_mmdet.engine.launch import run_mmdet_tool

    run_mmdet_tool('train.py')
