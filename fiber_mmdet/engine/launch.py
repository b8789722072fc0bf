"""Execution of mmdet's own command-line tools for this plugin."""

import argparse
import errno
import gc
import importlib
import os
import runpy
import sys
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from mmdet.evaluation import DumpDetResults
from mmengine.config import Config
from mmengine.fileio import dump
from mmengine.logging import print_log

from fiber_mmdet.datasets.dataset_tree import files_of
from fiber_mmdet.datasets.shards.streams import BrokenDataError
from fiber_mmdet.host import MissingExtra
from fiber_mmdet.inspection.config_options import (
    IdleSettingError,
    refuse_idle_assignments,
    refuse_idle_options,
    refuse_other_counting,
)
from fiber_mmdet.outputs import output_path, refuse_inputs, writing
from fiber_mmdet.weights.catalogue import UnknownWeights
from fiber_mmdet.weights.configs import NoConfig, config_file

from .checkpoint_loaders import load_local_checkpoint, read_checkpoints_safely
from .data_workers import without_workers
from .restarts import RestartError, patience, refuse_useless_restarts
from .runner import BriefRunner
from .start import AUTO, NotResumable, checkpoint_folder, choose_start, problem_of, say
from .test_time_augmentation import AugmentationError, augmented_test
from .work_dir_lock import WorkDirInUseError, training_in

__all__ = [
    'load_local_checkpoint',
    'processes_without_gpus',
    'read_checkpoints_safely',
    'run_mmdet_tool',
    'settle_arguments',
]


@contextmanager
def processes_without_gpus(arguments: list[str]) -> Iterator[list[str]]:
    """Connect the processes that torchrun started on a machine without GPUs.

    mmengine's initialisation ends in ``torch.cuda.set_device``, and its model wrapper
    requires a GPU as well. Therefore the process group (gloo) is initialised here, and options
    tell the wrapper that there is no GPU. On a machine with GPUs, or without
    ``--launcher pytorch``, nothing is done.

    The group's threads end before Python does. A thread of gloo that releases a finished operation
    while the interpreter shuts down aborts the process, and torchrun then reports a failure of work
    that is done. They end as soon as nothing refers to the group.

    Args:
        arguments: the command line, beginning with the program's name.

    Yields:
        The arguments for mmdet's tool.
    """
    launched = any(
        argument == '--launcher=pytorch' or pair == ('--launcher', 'pytorch')
        for argument, pair in zip(arguments, zip(arguments, arguments[1:] + ['']))
    )
    if not launched or 'RANK' not in os.environ or torch.cuda.is_available():
        yield arguments
        return
    # Imported later, it would keep the group alive, in the defaults of its functions.
    importlib.import_module('torch.distributed.nn.functional')
    dist.init_process_group('gloo')
    try:
        yield [
            *arguments,
            '--cfg-options',
            'model_wrapper_cfg.device_ids=None',
            'model_wrapper_cfg.broadcast_buffers=False',
        ]
    finally:
        gc.collect()  # the runner, whose wrapped model refers to the group
        dist.destroy_process_group()


REFUSALS = {  # of a disk
    getattr(errno, name)
    for name in ('ENOSPC', 'EDQUOT', 'EROFS', 'EACCES', 'EPERM', 'EFBIG', 'EIO')
    if hasattr(errno, name)
}


@contextmanager
def refusals_in_one_line(work_dir: str) -> Iterator[None]:
    """End the program with one line where the cause lies outside of it, such as a full disk.

    Args:
        work_dir: where a tool writes if the error does not say where.

    Raises:
        SystemExit: with a line that names the place, for errors of the disk, other trainings,
            configs that are not there, extras that are not installed, and broken shards.
    """
    try:
        yield
    except (
        BrokenDataError,
        MissingExtra,
        NoConfig,
        RestartError,
        UnknownWeights,
        WorkDirInUseError,
    ) as error:
        raise SystemExit(f'error: {error}') from error
    except OSError as error:
        if error.errno not in REFUSALS:
            raise
        said = ' '.join(str(error).split())
        where = '' if error.filename or '/' in said else f' (work directory: {work_dir})'
        raise SystemExit(f'error: {said}{where}') from error


def settle_arguments(arguments: argparse.Namespace) -> argparse.Namespace:
    """Arguments of mmdet's train.py that name the file with which the training starts.

    mmdet's tool forgets ``load_from`` when it is told to resume, so that a work directory without a
    checkpoint would mean a start from nothing.

    Args:
        arguments: what its parser found; changed in place.

    Returns:
        The same.

    Raises:
        RestartError: torchrun may restart a training that does not resume.
        NotResumable: ``--resume FILE``, and the file has weights alone.
        OSError, UnpicklingError, ValueError: ``--resume FILE``, and the file cannot be read.
    """
    config = Config.fromfile(arguments.config)
    config.merge_from_dict(arguments.cfg_options or {})
    named = arguments.resume not in (None, AUTO)
    resume = arguments.resume or config.get('resume')
    refuse_useless_restarts(resume, config.get('load_from'))
    if named:
        problem = problem_of(arguments.resume)
        if isinstance(problem, NotResumable):
            raise NotResumable(
                f'{arguments.resume} {problem}: start from it with load_from, without --resume'
            )
        if problem is not None:
            raise problem
        return arguments
    if not resume:
        return arguments
    if arguments.launcher != 'none' and settles_later(config):
        # one process decides for all: on other machines, the disk may look older
        arguments.resume = None
        arguments.cfg_options = {**(arguments.cfg_options or {}), 'resume': resume}
        return arguments
    work_dir = work_dir_of(arguments, config)
    start = choose_start(
        resume, config.get('load_from'), work_dir, checkpoint_folder(config, work_dir)
    )
    say(start.remarks)
    arguments.resume = start.load_from if start.resume else None
    # the config's own wish has been fulfilled
    arguments.cfg_options = {**(arguments.cfg_options or {}), 'resume': False}
    return arguments


def settles_later(config: Config) -> bool:
    """Whether the run of a config decides where it starts, see :func:`settle_start`.

    Args:
        config: of the training.
    """
    hooks = [*(config.get('default_hooks') or {}).values(), *(config.get('custom_hooks') or ())]
    kinds = [hook.get('type') for hook in hooks if isinstance(hook, dict)]
    return 'CheckpointCheckHook' in kinds or config.get('runner_type') == 'ResumableFlexibleRunner'


def settle_precision(arguments: argparse.Namespace, config: Config) -> None:
    """``--amp`` on any device: mmdet's tool sets ``AmpOptimWrapper``, which needs a GPU.

    Args:
        arguments: of mmdet's train.py, changed in place.
        config: of the training, whose wrapper may have another precision already.
    """
    if arguments.amp:
        arguments.amp = False
        wrapper = config.optim_wrapper.get('type', 'OptimWrapper')
        if wrapper in ('OptimWrapper', 'AmpOptimWrapper'):
            arguments.cfg_options = {
                **(arguments.cfg_options or {}),
                'optim_wrapper.type': 'MixedPrecisionOptimWrapper',
            }


def work_dir_of(arguments: argparse.Namespace, config: Config) -> str:
    """The work directory that mmdet's tools will choose.

    Args:
        arguments: the command line.
        config: the config that it names.
    """
    by_name = Path('work_dirs') / Path(arguments.config).stem
    return str(arguments.work_dir or config.get('work_dir') or by_name)


def run_mmdet_tool(name: str) -> None:
    """Run ``mmdet/.mim/tools/NAME`` with the current command line.

    The tool is unchanged, but a config may be given by its name (:func:`config_file`), checkpoints
    are read with ``weights_only=True`` throughout, a training that is resumed starts where
    :func:`choose_start` says, predictions are written whole, loaders may have no workers, ``--tta``
    does what :func:`augmented_test` says, ``--amp`` and ``torchrun … --launcher pytorch`` work
    without GPUs. One training at a time works in a directory, and what a disk refuses is said in
    one line.

    Args:
        name: 'train.py' or 'test.py'.

    Raises:
        NotResumable: see :func:`settle_arguments`.
        OutputError: the predictions would overwrite what is read.
        SystemExit: the disk is full, or the like; another training is in the work directory; a
            setting changes nothing (:mod:`fiber_mmdet.inspection.config_options`).
    """
    read_checkpoints_safely()
    import mmdet

    path = str(Path(mmdet.__file__).parent / '.mim' / 'tools' / name)
    with processes_without_gpus(sys.argv) as sys.argv, ExitStack() as undo:
        tool = runpy.run_path(path, run_name=f'mmdet_{Path(name).stem}')
        arguments = tool['parse_args']()
        with refusals_in_one_line('.'):
            arguments.config = str(config_file(arguments.config))
        config = Config.fromfile(arguments.config)
        try:
            refuse_idle_options(config, arguments.cfg_options)
            refuse_idle_assignments(arguments.config)
            config.merge_from_dict(arguments.cfg_options or {})
            refuse_other_counting(config)
        except IdleSettingError as error:
            raise SystemExit(f'error: {error}') from error
        tool['main'].__globals__['Runner'] = BriefRunner
        work_dir = work_dir_of(arguments, config)
        undo.enter_context(refusals_in_one_line(work_dir))
        if name == 'train.py':
            # before anything is written there; with other launchers, WholeCheckpointHook does it
            if arguments.launcher in ('none', 'pytorch') and os.environ.get('RANK', '0') == '0':
                undo.enter_context(training_in([work_dir], patience()))
            settle_arguments(arguments)
            settle_precision(arguments, config)
        if name == 'test.py' and arguments.out is not None:
            inputs = [arguments.config, arguments.checkpoint, *map(str, files_of(config))]
            refuse_inputs([output_path(arguments.out)], inputs)
            tool['main'].__globals__['DumpDetResults'] = partial(WholePredictions, inputs=inputs)
        if name == 'test.py' and arguments.tta:
            try:
                changes = augmented_test(config)
            except AugmentationError as error:
                raise SystemExit(f'error: {error}') from error
            given = arguments.cfg_options or {}  # merged into the model that is wrapped
            kept = {key: value for key, value in given.items() if not key.startswith('model.')}
            arguments.cfg_options = {**kept, **changes}
            arguments.tta = False
        arguments.cfg_options = {**(arguments.cfg_options or {}), **without_workers(config)}
        tool['main'].__globals__['parse_args'] = lambda: arguments
        tool['main']()


class WholePredictions(DumpDetResults):
    """mmdet's file of predictions, written whole or not at all, and not onto an input.

    Args:
        out_file_path: the file, ``.pkl`` or ``.pickle``.
        inputs: files that must not be overwritten.
        **kwargs: those of mmdet's.
    """

    def __init__(self, out_file_path: str, inputs: Sequence[str] = (), **kwargs: Any) -> None:
        super().__init__(out_file_path, **kwargs)
        self.inputs = inputs

    def compute_metrics(self, results: list) -> dict:
        """Write the predictions.

        Raises:
            OutputError, OSError: they cannot be written; what was there before is unchanged.
        """
        with writing(self.out_file_path, self.inputs) as part:
            dump(results, str(part), file_format='pkl')
        print_log(f'predictions are in {self.out_file_path}', logger='current')
        return {}
