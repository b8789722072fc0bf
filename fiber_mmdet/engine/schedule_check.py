"""Schedules that are not as long as the training, and validations that never come."""

from collections.abc import Iterator
from typing import Any

from mmengine.runner import IterBasedTrainLoop

from .schedules import ENDLESS

WARM_UPS = ('LinearLR', 'ConstantLR', 'LinearParamScheduler', 'ConstantParamScheduler')
SLACK = 1  # an `end` may be one more: mmengine's factor reaches 1 one step before it


def schedule_remarks(runner: Any) -> Iterator[str]:
    """What does not fit the length of a training, a sentence each.

    mmengine's schedules have their own numbers, and do not follow ``train_cfg``.

    Args:
        runner: with its loop and its schedulers built.
    """
    loop = runner.train_loop
    by_iter = isinstance(loop, IterBasedTrainLoop)
    key = 'max_iters' if by_iter else 'max_epochs'
    longest = getattr(loop, key)
    begin = getattr(loop, 'val_begin', 1)
    if runner._val_loop is not None and begin > longest:
        yield (
            f'train_cfg.val_begin={begin}, but train_cfg.{key}={longest}: this training is never '
            f'validated. Set train_cfg.val_begin to {longest} or less'
        )
    for place, scheduler in _placed(runner.param_schedulers):
        if not scheduler.by_epoch:
            yield from _remarks(place, scheduler, 'iterations', loop.max_iters)
        elif not by_iter:
            yield from _remarks(place, scheduler, 'epochs', longest)
        elif not getattr(scheduler, 'need_val_args', False):  # those step after validations
            yield (
                f'{_name(place, scheduler)} counts epochs, of which a loop of iterations has one: '
                'it changes nothing before the end. Set its by_epoch to False, and its numbers in '
                'iterations'
            )


def _remarks(place: str, scheduler: Any, unit: str, total: int) -> Iterator[str]:
    kind, begin, end = type(scheduler).__name__, scheduler.begin, scheduler.end
    name = _name(place, scheduler)
    drops = sorted(getattr(scheduler, 'milestones', ()))
    if begin >= total > 0:
        yield f'{name} begins after {begin} {unit}, when the training of {total} has ended'
    elif drops:
        late = [drop for drop in drops if drop >= total]
        if late:
            yield (
                f'{name} has steps after {", ".join(map(str, late))} {unit}, which a training of '
                f'{total} does not reach: set its milestones'
            )
    elif kind in WARM_UPS and total + SLACK < end < ENDLESS:
        yield (
            f'{name} goes on for {end} {unit}, longer than the training of {total}, which never '
            'has its full learning rate: set its end'
        )
    elif total + SLACK < end < ENDLESS:
        yield (
            f'{name} ends after {end} {unit}, but the training ends after {total}, before its last '
            'values: set its end'
        )
    elif kind not in WARM_UPS and end < total - SLACK and end < ENDLESS:
        yield (
            f'{name} ends after {end} {unit}, but the training goes on to {total}, at the last '
            'value: set its end'
        )


def _name(place: str, scheduler: Any) -> str:
    return f'{place} ({type(scheduler).__name__} of {scheduler.param_name})'


def _placed(schedulers: Any) -> Iterator[tuple[str, Any]]:
    """Schedulers of one optimizer, or of several by name, each with its place in the config."""
    if isinstance(schedulers, dict):
        for name, of_one in schedulers.items():
            for i, scheduler in enumerate(of_one):
                yield f'param_scheduler.{name}.{i}', scheduler
        return
    for i, scheduler in enumerate(schedulers or ()):
        yield f'param_scheduler.{i}', scheduler
