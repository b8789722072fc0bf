"""Trainings that are ended at any time, and go on."""

import os
import random
import signal
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from fiber_mmdet.engine.start import newest_whole

from .jobs import Job, Workshop, descendants, differences, ended, logged, send, train
from .results import Result

LEAST = 12  # batches of an epoch
ALIKE = 1e-6  # relative difference of losses that are computed in the same order


def finish_and_compare(
    result: Result,
    shop: Workshop,
    config: Path,
    work_dir: Path,
    processes: int = 1,
    extra: int = 3,
    once: bool = False,
) -> None:
    """Let a training end, and compare all losses that it logged with an uninterrupted one.

    Args:
        result: what is found is a try of its own.
        shop: the workshop.
        config: of the training.
        work_dir: of the training.
        processes: of the training.
        extra: iterations that are left to do.
        once: no iteration may have been trained twice.
    """
    last = max(step for step, _ in logged(work_dir)) + extra
    by_epoch = config == shop.epochs
    whole = work_dir.with_name(f'{work_dir.name}-uninterrupted')
    if by_epoch:
        options = [f'train_cfg.max_epochs={last // LEAST + 1}']
    else:
        options = [f'train_cfg.max_iters={last}']
    problems = []
    for folder, resume in ((work_dir, True), (whole, False)):
        with ended(train(config, folder, *options, resume=resume, processes=processes)) as job:
            code = job.wait()
            if code != 0:
                problems.append(f'{folder.name} ends with {code}: {job.last_line()}')
    found = logged(work_dir)
    problems += differences(found, logged(whole), ALIKE)
    again = len(found) - len(dict(found))
    if once and again:
        problems.append(f'{again} iterations were trained twice')
    result.judge(problems)
    result.notes.append(
        f'{len(dict(found))} iterations, {again} of them again; all losses as in one go: '
        f'{"no" if problems else "yes"}'
    )


def newest(work_dir: Path) -> tuple[int, list[str]]:
    """Iteration of the newest whole checkpoint, -1 without one, and files that are damaged."""
    from fiber_mmdet.checkpoints.reading import read_training_checkpoint

    path, skipped = newest_whole(work_dir)
    if path is None:
        return -1, skipped
    try:
        return int(read_training_checkpoint(path, 'cpu')['meta']['iter']), skipped
    except FileNotFoundError:  # the job that runs has written others, and removed this one
        return newest(work_dir)


def kill(shop: Workshop, tries: int, seed: int) -> Result:
    """kill -9 at random moments, half of them while a checkpoint is written."""
    result = Result('kill', '`kill -9` at a random moment, every second one during a write')
    draw, work_dir = random.Random(seed), shop.folder / 'kill'
    best, writes = -1, 0
    while result.tries < tries:
        with ended(train(shop.config, work_dir)) as job:
            before = len(logged(work_dir))
            if not job.until(lambda before=before: len(logged(work_dir)) > before):
                result.judge([f'does not start: {job.last_line()}'])
                return result
            if result.tries % 2:
                time.sleep(draw.uniform(0, 0.5))
                job.until(lambda: any(work_dir.glob('.*.part')), 30, 0.002)
                time.sleep(draw.uniform(0, 0.03))
            else:
                time.sleep(draw.uniform(0, 3))
        writes += any(work_dir.glob('.*.part'))
        found, damaged = newest(work_dir)
        problems = [f'damaged: {text}' for text in damaged]
        if found < best:
            problems.append(f'the newest checkpoint is of iteration {found}, it was {best}')
        result.judge(problems)
        best = max(best, found)
    result.notes.append(f'{writes} left a part of a file')
    finish_and_compare(result, shop, shop.config, work_dir)
    return result


def kill_one(shop: Workshop, tries: int, seed: int) -> Result:
    """kill -9 of one of two processes."""
    result = Result(
        'kill-one', '`kill -9` of one of two processes (torchrun, gloo): the job ends, and resumes'
    )
    draw, work_dir = random.Random(seed), shop.folder / 'kill-one'
    slowest = 0.0
    for number in range(tries):
        with ended(train(shop.config, work_dir, processes=2)) as job:
            before = len(logged(work_dir))
            if not job.until(lambda before=before: len(logged(work_dir)) > before):
                result.judge([f'does not start: {job.last_line()}'])
                return result
            time.sleep(draw.uniform(0, 1.5))
            written = newest(work_dir)[0]
            os.kill(job.children()[number % 2], signal.SIGKILL)
            start = time.monotonic()
            code = job.wait(120)
            slowest = max(slowest, time.monotonic() - start)
        problems = []
        if code in (0, None):
            problems.append('hangs' if code is None else 'ends with exit code 0')
        if newest(work_dir)[0] < written:
            problems.append(f'the checkpoint of iteration {written} is gone')
        result.judge(problems)
    result.notes.append(f'ended after at most {slowest:.0f} s')
    finish_and_compare(result, shop, shop.config, work_dir, processes=2)
    return result


def restart(shop: Workshop, tries: int, seed: int) -> Result:
    """kill -9 of one of two processes, which torchrun starts again."""
    result = Result(
        'restart',
        '`kill -9` of one of two processes at a random moment under `torchrun --max-restarts`, '
        'sharded (FSDP) too: the job comes back by itself and goes on from its last checkpoint',
    )
    draw = random.Random(seed)
    for config, kills in ((shop.config, tries - tries // 2), (shop.sharded, tries // 2)):
        if kills:
            _restart(result, shop, config, kills, draw)
    return result


def _restart(result: Result, shop: Workshop, config: Path, kills: int, draw: random.Random) -> None:
    """Kill processes of one job, which comes back each time."""
    work_dir = shop.folder / f'restart-{config.stem}'
    slowest = 0.0
    with ended(train(config, work_dir, processes=2, restarts=kills)) as job:
        for number in range(kills + 1):
            before, start = logged(work_dir), time.monotonic()
            if not job.until(lambda before=before: len(logged(work_dir)) > len(before)):
                result.judge([f'is not there after {number} kills: {job.last_line()}'])
                return
            if number:
                slowest = max(slowest, time.monotonic() - start)
                # of each iteration a checkpoint is written: the last one may not be finished
                lost = before[-1][0] - logged(work_dir)[len(before)][0]
                result.judge([f'{lost} iterations are lost'] if lost > 1 else [])
            if number < kills:
                time.sleep(draw.uniform(0, 1.5))
                old = job.children()
                os.kill(old[draw.randrange(2)], signal.SIGKILL)
                job.until(lambda old=old: not {*old.values()} & {*job.children().values()})
    result.notes.append(f'trained again after at most {slowest:.0f} s')
    finish_and_compare(result, shop, config, work_dir, processes=2)


def to_process(job: Job, number: int) -> None:
    """Send a signal to the process alone."""
    os.kill(job.process.pid, number)


def to_all(job: Job, number: int) -> None:
    """Send a signal to all processes of the job, data workers too, as SLURM does."""
    for process in [*descendants(job.process.pid), job.process.pid]:
        send(process, number)


def to_workers(job: Job, number: int) -> None:
    """Send a signal to each process that torchrun started, but not to it."""
    for process in job.children().values():
        os.kill(process, number)


Send = Callable[[Job, int], None]


def stop(shop: Workshop, tries: int, seed: int) -> Result:
    """SIGTERM and SIGUSR1, in loops of iterations and of epochs."""
    result = Result(
        'stop',
        'SIGTERM or SIGUSR1, to one process or to all of the job, within epochs too: exit code '
        '143 or 138, nothing trained twice',
    )
    kinds: list[tuple[int, Send]] = [
        (signal.SIGTERM, to_process),
        (signal.SIGTERM, to_all),
        (signal.SIGUSR1, to_all),
    ]
    for config in (shop.config, shop.epochs):
        chosen = [kinds[number % len(kinds)] for number in range(max(tries // 2, 1))]
        _stop(result, shop, config, chosen, seed, processes=1)
    return result


def stop_two(shop: Workshop, tries: int, seed: int) -> Result:
    """SIGTERM to torchrun, or to its processes."""
    result = Result(
        'stop-two',
        'SIGTERM to torchrun, to its two processes, or to all of the job, sharded (FSDP) too: both '
        'stop at the same iteration, nothing trained twice',
    )
    kinds: list[tuple[int, Send]] = [
        (signal.SIGTERM, to_process),
        (signal.SIGTERM, to_workers),
        (signal.SIGTERM, to_all),
    ]
    chosen = [kinds[number % len(kinds)] for number in range(tries)]
    _stop(result, shop, shop.config, chosen, seed, processes=2)
    _stop(result, shop, shop.sharded, chosen[: tries // 2], seed, processes=2)
    return result


def _stop(
    result: Result,
    shop: Workshop,
    config: Path,
    kinds: Sequence[tuple[int, Send]],
    seed: int,
    processes: int,
) -> None:
    """Stop a training again and again, in one work directory."""
    if not kinds:
        return
    draw = random.Random(seed)
    work_dir = shop.folder / f'{result.name}-{config.stem}'
    # checkpoints of the interval alone would lose many iterations
    options = ['default_hooks.checkpoint.interval=1000', 'train_dataloader.num_workers=2']
    slowest = 0.0
    for number, send_to in kinds:
        with ended(train(config, work_dir, *options, processes=processes)) as job:
            before = len(logged(work_dir))
            if not job.until(lambda before=before: len(logged(work_dir)) > before):
                result.judge([f'does not start: {job.last_line()}'])
                return
            time.sleep(draw.uniform(0, 1.5))
            start = time.monotonic()
            send_to(job, number)
            code = job.wait(120)
            slowest = max(slowest, time.monotonic() - start)
        expected = 128 + number if processes == 1 else 1
        problems = []
        if code != expected:
            problems.append(f'exit code {code} instead of {expected}: {job.last_line()}')
        done = max(step for step, _ in logged(work_dir))
        kept, damaged = newest(work_dir)
        if kept != done or damaged:
            problems.append(f'checkpoint of iteration {kept}, {done} were done {damaged}')
        if f'stopped after iteration {done}' not in job.output:
            problems.append('it does not say so')
        result.judge(problems)
    result.notes.append(f'ended after at most {slowest:.0f} s')
    finish_and_compare(result, shop, config, work_dir, processes, once=True)
