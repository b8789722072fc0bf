"""Where a training starts: at a checkpoint of its own, at other weights, or afresh."""

import os
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from mmengine.dist import broadcast_object_list
from mmengine.registry import RUNNERS
from mmengine.runner import BaseLoop, FlexibleRunner

from fiber_mmdet.checkpoints.reading import holds_official, read_training_checkpoint
from fiber_mmdet.weights.addresses import is_address, local_weights

from .checkpoint_loaders import read_checkpoints_safely
from .runner import BriefConsole

AUTO = 'auto'
POINTER = 'last_checkpoint'  # mmengine's file with the path of the last checkpoint


@dataclass
class Start:
    """Where a training starts.

    Attributes:
        resume: go on with the training that wrote ``load_from``, not start from its weights.
        load_from: the checkpoint; None starts with the weights that the model is built with.
        remarks: what the user did not say, one sentence each.
    """

    resume: bool
    load_from: str | None
    remarks: list[str] = field(default_factory=list)


def choose_start(
    resume: bool | str,
    load_from: str | None,
    work_dir: str | Path,
    out_dir: str | Path | None = None,
) -> Start:
    """Where a training starts that may have been interrupted, at any time.

    Differs from mmengine's Runner: a work directory without a whole checkpoint makes a training
    start from ``load_from``, not afresh; the newest whole checkpoint is taken, not whatever
    ``last_checkpoint`` names; and weights alone, which cannot be resumed from, are started from.

    Args:
        resume: whether to resume; 'auto' never resumes from ``load_from``, True does if that is a
            checkpoint of a training (as mmengine).
        load_from: a checkpoint.
        work_dir: folder of the training.
        out_dir: folder of its checkpoints, if it is another one.

    Returns:
        The start. It resumes only from a file that has been read.

    Raises:
        ValueError: ``resume`` names weights alone.
    """
    if not resume:
        return Start(False, load_from)
    remarks = []
    if isinstance(resume, str) and resume != AUTO:  # FlexibleRunner
        problem = problem_of(resume)
        if isinstance(problem, NotResumable):
            raise ValueError(f'{resume} {problem}: start from it with load_from, without resume')
        return Start(True, resume)
    if resume != AUTO and load_from is not None:
        problem = problem_of(load_from)
        if problem is None or not isinstance(problem, NotResumable):
            return Start(True, load_from)  # a damaged one: reading it again will say so
        remarks.append(f'{load_from} {problem}, so that it cannot be resumed')
    newest, skipped = newest_whole(work_dir, out_dir)
    if newest is not None:
        if skipped:
            remarks.append(f'{"; ".join(skipped)}. Resuming from {newest} instead')
        return Start(True, str(newest), remarks)
    found = f'{"; ".join(skipped)}: nothing' if skipped else f'no checkpoint in {work_dir}'
    source = f'the weights of {load_from} (load_from)' if load_from else 'new weights'
    remarks.append(f'{found} to resume from. Training starts at the beginning, from {source}')
    return Start(False, load_from, remarks)


class NotResumable(ValueError):
    """Why a sound file is not the checkpoint of a training."""


def problem_of(path: str | Path) -> Exception | None:
    """Why a training cannot be resumed from a checkpoint; None if it can.

    Args:
        path: a file, a folder of files of all processes, or an address; that of a file of the hub
            or the web is fetched, that of an object store is not read.
    """
    if str(path).startswith('fiber://'):
        return NotResumable('stands for weights alone, without a state to go on from')
    if '://' in str(path) and not is_address(path):
        return None
    try:
        path = local_weights(path).expanduser()
        for file in sorted(path.glob('*.pth')) if path.is_dir() else [path]:
            key = (str(file), file.stat().st_mtime_ns, file.stat().st_size)
            if key not in _sound:
                require_training(read_training_checkpoint(file, 'cpu'))
                _sound.add(key)
    except Exception as error:  # any error of a file is the answer
        return error
    return None


_sound: set[tuple[str, int, int]] = set()  # files that need not be read again to judge them


def require_training(checkpoint: Mapping) -> None:
    """Refuse what does not hold all that mmengine resumes from.

    Args:
        checkpoint: what was read.

    Raises:
        NotResumable: naming what is missing.
    """
    if holds_official(checkpoint):
        raise NotResumable('is an official FIBER checkpoint, without a state to go on from')
    meta, hub = checkpoint.get('meta'), checkpoint.get('message_hub')
    lacking = [
        f'meta.{key}'
        for key in ('epoch', 'iter')
        if not isinstance(meta, Mapping) or not is_count(meta.get(key))
    ]
    tables = ('log_scalars', 'runtime_info', 'resumed_keys')
    if not isinstance(hub, Mapping) or not all(isinstance(hub.get(x), Mapping) for x in tables):
        lacking.append('message_hub')
    if not isinstance(checkpoint.get('state_dict'), Mapping):
        lacking.append('state_dict')
    if lacking:
        raise NotResumable(f'holds no state of a training ({", ".join(lacking)} missing)')


def is_count(value: Any) -> bool:
    """Whether a value is a number of epochs, steps or the like."""
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0


def newest_whole(
    work_dir: str | Path, out_dir: str | Path | None = None
) -> tuple[Path | str | None, list[str]]:
    """The newest checkpoint of a training that can be read to its end.

    ``last_checkpoint`` comes first, unless a later checkpoint was written after it (a training
    was killed between the two); then all others, the newest first. The best weights so far, which
    have no optimizer, are not among them.

    Args:
        work_dir: folder of the training.
        out_dir: folder of its checkpoints, if it is another one.

    Returns:
        The checkpoint, None if there is none, and why newer ones are skipped.
    """
    pointer = Path(work_dir) / POINTER
    named, skipped = _named_in(pointer)
    if isinstance(named, str):  # remote
        return named, skipped
    folders = [Path(folder) for folder in (work_dir, out_dir) if folder is not None]
    if named is not None:
        folders.append(named.parent)
    files = _by_age(folders)
    if named in files:
        files.remove(named)
        pointed = pointer.stat().st_mtime_ns
        later = [
            file
            for file in files
            if file.stat().st_mtime_ns > pointed and _number(file) > _number(named)
        ]
        files = [*later, named, *(file for file in files if file not in later)]
    for file in files:
        problem = problem_of(file)
        if problem is None:
            return file, skipped
        why = ' '.join(str(problem).split())
        skipped.append(why if why.startswith(str(file)) else f'{file} {why}')
    return None, skipped


def _named_in(pointer: Path) -> tuple[Path | str | None, list[str]]:
    """What ``last_checkpoint`` names, if it is there, and what is wrong with it."""
    if not pointer.is_file():
        return None, []
    try:
        name = pointer.read_text(encoding='utf-8').strip('\0 \n\r\t')
    except (OSError, ValueError) as error:
        return None, [f'{pointer} cannot be read ({error})']
    if not name:
        return None, [f'{pointer} is empty']
    if '://' in name:
        return name, []
    # as written, or beside it: the folder may have been moved
    for file in (Path(name), pointer.parent / Path(name).name):
        if file.exists() and not file.is_dir() or any(file.glob('*.pth')):
            return file, []
    return None, [f'{pointer} names {name}, which is not there']


def _by_age(folders: Iterable[Path]) -> list[Path]:
    """Checkpoints of a training in folders, the newest first."""
    found: dict[Path, Path] = {}
    for folder in folders:
        for file in folder.glob('*.pth') if folder.is_dir() else ():
            if _number(file) >= 0 and not file.name.startswith(('best_', '.')):
                found.setdefault(file.resolve(), file)
    return sorted(
        found.values(), key=lambda file: (file.stat().st_mtime_ns, _number(file)), reverse=True
    )


def _number(file: Path) -> int:
    """The last number in a name, which mmengine gives to epochs and iterations; -1 without one."""
    numbers = re.findall(r'\d+', file.stem)
    return int(numbers[-1]) if numbers else -1


# ---------------------------------------------------------------- in a run
_said: list[str] = []


def say(remarks: Sequence[str]) -> None:
    """Print remarks now, in one process, and keep them for the log of the training."""
    for remark in remarks if os.environ.get('RANK', '0') == '0' else ():
        print(remark, flush=True)
    _said.extend(remarks)


def settle_start(runner: Any) -> None:
    """Decide where a runner starts, before it loads anything; all processes start alike.

    A test loads weights and resumes nothing, whatever the config says.

    Args:
        runner: mmengine's Runner or FlexibleRunner, changed in place.
    """
    read_checkpoints_safely()
    if not runner._has_loaded and runner._resume:
        if isinstance(runner._train_loop, BaseLoop):  # a config until training builds it
            out_dir = checkpoint_folder(runner.cfg, runner.work_dir)
            chosen = [choose_start(runner._resume, runner._load_from, runner.work_dir, out_dir)]
            broadcast_object_list(chosen)  # the first process's view of the disk
            runner._resume, runner._load_from = chosen[0].resume, chosen[0].load_from
            _said.extend(chosen[0].remarks)
        else:
            runner._resume = False
    while _said:
        runner.logger.warning(_said.pop(0))


def checkpoint_folder(cfg: Mapping[str, Any], work_dir: str | Path) -> Path | None:
    """Where a config writes checkpoints, if not into the work directory or to a remote place."""
    hook = (cfg.get('default_hooks') or {}).get('checkpoint') or {}
    return folder_of(hook.get('out_dir'), work_dir)


def folder_of(out_dir: Any, work_dir: str | Path) -> Path | None:
    """Where mmengine's hook writes checkpoints, if not into the work directory or remotely.

    Args:
        out_dir: the argument of the hook.
        work_dir: of the run.
    """
    if not out_dir or '://' in str(out_dir):
        return None
    return Path(out_dir) / Path(str(work_dir).rstrip('/')).name


@RUNNERS.register_module()
class ResumableFlexibleRunner(BriefConsole, FlexibleRunner):
    """mmengine's FlexibleRunner, which starts where :func:`choose_start` says.

    Differs from mmengine's, which loads weights before any hook could intervene; a strategy may
    bring hooks of its own, as ``strategy.hooks``; and see :class:`BriefConsole`.
    """

    def __init__(self, *args, resume: bool | str = False, **kwargs) -> None:
        # mmengine's takes a text for a path, which excludes load_from
        super().__init__(*args, resume=True if resume == AUTO else resume, **kwargs)
        self._resume = resume
        for hook in getattr(self.strategy, 'hooks', ()):
            self.register_hook(hook)

    def load_or_resume(self) -> None:
        """Load or resume a checkpoint."""
        settle_start(self)
        super().load_or_resume()
