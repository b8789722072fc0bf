"""Telling when a training is judged by what it learns from, or chosen by its test."""

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
    """Say in the log when splits overlap that readers take for separate.

    The paper trains image-level tasks on training and validation data, and chooses
    weights by the test split. Options of the configs do so, too; figures found that
    way are comparable with the paper's, and too good otherwise.
    """

    def before_train(self, runner: Runner) -> None:
        """Compare the data sets of the config."""
        for line in overlaps(runner.cfg):
            print_log(line, 'current', logging.WARNING)


def overlaps(cfg: Mapping[str, Any]) -> list[str]:
    """What the splits of a config share, a line each.

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
            f'validation is on data of the training ({_names(both)}): its figures are '
            'too good, and do not tell when to stop'
        )
    best = cfg.get('default_hooks', {}).get('checkpoint', {}).get('save_best')
    if best and parts['test'] and parts['test'] <= parts['val']:
        lines.append(
            f'weights are chosen by {best} on what is tested ({_names(parts["test"])}): '
            'figures of the test are those of the best of many'
        )
    return lines


def _names(parts: set[tuple[str, str]]) -> str:
    return ', '.join(' '.join(filter(None, part)) for part in sorted(parts))
