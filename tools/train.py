#!/usr/bin/env python3
"""Train a model: mmdet's tools/train.py with this plugin registered (same command line)."""

from fiber_mmdet.engine.launch import run_mmdet_tool

if __name__ == '__main__':
    run_mmdet_tool('train.py')
