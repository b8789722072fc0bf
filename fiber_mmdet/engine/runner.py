"""mmengine's runner with a console for people: the whole of what it logs goes into the file."""

import logging
from typing import Any

from mmengine.config import Config
from mmengine.hooks import Hook
from mmengine.logging import MMLogger
from mmengine.registry import RUNNERS
from mmengine.runner import BaseLoop, Runner
from torch.utils.data import DataLoader

from .streamed_data import (
    add_position_hook,
    is_streamed,
    refuse_evaluation,
    refuse_other_loops,
    stream_loader,
)

# how messages begin that fill pages: they go into the log file alone
PAGES = (
    'System environment:',
    'Config:\n',
    'Hooks will be executed',
    'paramwise_options -- ',
    'Distributed training is not used',
)
# mmengine's remarks on its own source
ASIDES = ('"FileClient" will be deprecated', '"HardDiskBackend" is the alias')
# hooks that mmengine has by default, and leaves out if a config says None
MMENGINE_HOOKS = (
    'runtime_info',
    'timer',
    'sampler_seed',
    'logger',
    'param_scheduler',
    'checkpoint',
)


class WithoutPages(logging.Filter):
    """Filter of a console: leaves out messages that only a file has room for."""

    def filter(self, record: logging.LogRecord) -> bool:
        """Whether a message is shown."""
        text = record.getMessage().lstrip('\n-')
        return not text.startswith(PAGES if record.levelno <= logging.INFO else ASIDES)


class LaidOutOnce(Config):
    """A config whose text is laid out anew only after a change.

    Differs from mmengine's ``Config``, which lays it out four times at the start of a run and once
    for each checkpoint, for seconds if it is a large one.

    Args:
        config: is not copied.
    """

    def __init__(self, config: Config) -> None:
        self.__setstate__(config.__getstate__())

    @property
    def pretty_text(self) -> str:
        """The config as Python, see mmengine's."""
        content = repr(self._cfg_dict)
        known = self.__dict__.get('_laid_out')
        if known is None or known[0] != content:
            known = (content, super().pretty_text)
            object.__setattr__(self, '_laid_out', known)  # Config's own would set an option
        return known[1]


# of what it is mixed into, mmengine has two, which share no base
AnyRunner: Any = object


class BriefConsole(AnyRunner):
    """What a runner of ours does before it has hooks: mixed into mmengine's runners.

    Differs from mmengine's runners: with ``log_level='INFO'``, the environment, the config, the
    hooks and the settings of single parameters are in the log file, and not on the console, where
    :class:`RunSummaryHook` says the essential. The config is :class:`LaidOutOnce`. And
    ``default_hooks=dict(NAME=None)`` leaves out any hook; mmengine stops with a bare
    ``AssertionError`` at those that it does not have itself.

    A training may read a stream (:class:`~fiber_mmdet.datasets.shards.streams.StreamedDataset`),
    by a loader whose config has no ``sampler``; mmengine builds one always, which torch refuses
    beside a stream.
    """

    def __init__(self, *args: Any, cfg: Any = None, **kwargs: Any) -> None:
        super().__init__(*args, cfg=LaidOutOnce(cfg) if isinstance(cfg, Config) else cfg, **kwargs)

    def build_logger(self, *args: Any, **kwargs: Any) -> MMLogger:
        """The logger of the run; see mmengine's."""
        logger = super().build_logger(*args, **kwargs)
        for handler in logger.handlers:
            if type(handler) is logging.StreamHandler and handler.level >= logging.INFO:
                handler.addFilter(WithoutPages())
        return logger

    def register_default_hooks(self, hooks: dict[str, Hook | dict | None] | None = None) -> None:
        """Register ``default_hooks`` of a config.

        Args:
            hooks: by name; None leaves one out.
        """
        kept = {
            name: hook
            for name, hook in (hooks or {}).items()
            if hook is not None or name in MMENGINE_HOOKS
        }
        super().register_default_hooks(kept)

    @classmethod
    def build_dataloader(
        cls, dataloader: DataLoader | dict, seed: int | None = None, diff_rank_seed: bool = False
    ) -> DataLoader:
        """A data loader; see mmengine's.

        Raises:
            ValueError: a loader of shards that says in which order samples are read.
        """
        build = super().build_dataloader
        if isinstance(dataloader, DataLoader) or not is_streamed(dataloader['dataset']):
            return build(dataloader, seed, diff_rank_seed)
        return stream_loader(build, dataloader, seed, diff_rank_seed)

    def build_train_loop(self, loop: BaseLoop | dict) -> BaseLoop:
        """The loop of a training; see mmengine's.

        Raises:
            ValueError: it counts epochs, and its data are a stream.
        """
        built = super().build_train_loop(loop)
        refuse_other_loops(built)
        add_position_hook(self, built)
        return built

    def build_val_loop(self, loop: BaseLoop | dict) -> BaseLoop:
        """The loop of a validation; see mmengine's.

        Raises:
            ValueError: its data are a stream.
        """
        refuse_evaluation(self._val_dataloader, 'val')
        return super().build_val_loop(loop)

    def build_test_loop(self, loop: BaseLoop | dict) -> BaseLoop:
        """The loop of a test; see mmengine's.

        Raises:
            ValueError: its data are a stream.
        """
        refuse_evaluation(self._test_dataloader, 'test')
        return super().build_test_loop(loop)


@RUNNERS.register_module()
class BriefRunner(BriefConsole, Runner):
    """mmengine's Runner with a :class:`BriefConsole`; ``tools/train.py`` and ``test.py`` use it."""
