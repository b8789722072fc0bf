#!/usr/bin/env python3
"""Test a model: mmdet's tools/test.py with this plugin registered (same command line)."""

from command_line import check_mmdet_arguments

if __name__ == '__main__':
    check_mmdet_arguments('test.py')
    from fiber_mmdet.engine.launch import run_mmdet_tool

    run_mmdet_tool('test.py')
