"""Warnings if a model is validated on its training data, or selected on the test split."""

import logging
from collections.abc import Mapping
from typing import Any

from mmdet.registry import HOOKS
from mmengine.hooks import Hook
from mmengine.logging import print_log
from mmengine.runner import Runner

from fiber_mmdet.inspection.data_sources import find_sources


@HOOKS.register_module()
class SplitCheckHook(Hook):
    """Log a warning if splits overlap that are usually separate.

    The paper trains image-text tasks on training and validation data and selects weights on the
    test split. Some options of the configs do the same: the resulting figures are comparable with
    the paper's, but otherwise too good.
    """

    def before_train(self, runner: Runner) -> None:
        """Compare the datasets of the config."""
        for line in overlaps(runner.cfg):
            print_log(line, 'current', logging.WARNING)


def overlaps(cfg: Mapping[str, Any]) -> list[str]:
    """What the splits of a config share, one line each.

    Args:
        cfg: a whole config.
    """
    parts = {
        split: {part for source in find_sources(cfg, [split]) for part in source.parts()}
        for split in ('train', 'val', 'test')
    }
    lines = []
    both = parts['train'] & parts['val']
    if both:
        lines.append(
            f'validation uses training data ({_names(both)}): its figures are too good, and do '
            'not show when to stop'
        )
    best = cfg.get('default_hooks', {}).get('checkpoint', {}).get('save_best')
    if best and parts['test'] and parts['test'] <= parts['val']:
        lines.append(
            f'weights are selected by {best} on the test data ({_names(parts["test"])}): test '
            'figures are those of the best of many'
        )
    return lines


def _names(parts: set[tuple[str, str]]) -> str:
    return ', '.join(' '.join(filter(None, part)) for part in sorted(parts))
