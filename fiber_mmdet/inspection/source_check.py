"""Checking one data set: what is common to all kinds."""

import logging
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Optional

import numpy as np
from mmdet.registry import DATASETS
from mmengine.dataset import Compose
from mmengine.logging import MMLogger

from fiber_mmdet.datasets.dataset_tree import type_name
from fiber_mmdet.text import PromptTokenizer

from .data_sources import DataSource

GUIDE = 'docs/data_preparation.md'
LOAD_PHOTO = dict(
    type='LoadImageFromFile', imdecode_backend='pillow', color_type='color_ignore_orientation'
)
SHOWN = 3  # faults of one kind that are spelled out


@dataclass
class SourceReport:
    """What was found out about one data set.

    Attributes:
        source: the data set.
        kind: of its samples: 'boxes' or 'texts'.
        counts: what there is of what, such as ``samples`` and ``photos``; empty if it
            could not be read.
        looked_at: photos that were decoded.
        problems: what has to be mended.
        notes: what is worth knowing.
    """

    source: DataSource
    kind: str = 'boxes'
    counts: dict[str, int] = field(default_factory=dict)
    looked_at: int = 0
    problems: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


class SourceChecker:
    """Checks one data set; subclasses know what its samples have to be.

    Args:
        source: the data set.
        tokenizer: that of the model; None: tokens are not counted.
    """

    kind = 'boxes'
    heard_level = logging.WARNING  # of messages that become notes

    def __init__(self, source: DataSource, tokenizer: PromptTokenizer | None) -> None:
        self.source = source
        self.tokenizer = tokenizer
        self.report = SourceReport(source, self.kind)

    def check(self, sample: int, seed: int) -> SourceReport:
        """Read the data set, count, look at some samples."""
        self._check_config()
        lacking = [path for path in self.source.paths() if path.missing()]
        if any(not path.folder for path in lacking):
            return self.report  # said by check_data already
        dataset = self._open()
        if dataset is None:
            return self.report
        faults = Faults()
        self._count(dataset, faults)
        self.report.problems += faults.lines(len(dataset))
        chosen = sorted(np.random.default_rng(seed).permutation(len(dataset))[:sample].tolist())
        faults = Faults()
        for index, record in self._records(dataset, chosen):
            self._check_record(record, faults)
            if not lacking:
                self.report.looked_at += 1
                self._check_photos(dataset, index, record, faults)
        self.report.problems += faults.lines(len(chosen))
        return self.report

    def _records(
        self, dataset: Any, indices: Iterable[int], faults: Optional['Faults'] = None
    ) -> Iterator[tuple[int, dict]]:
        """Records with their numbers; those that cannot be read are counted and left out."""
        for index in indices:
            try:
                yield index, self._record(dataset, index)
            except (KeyError, TypeError, ValueError, OSError) as error:
                if faults is not None:
                    faults.add('cannot be read', describe(error))

    def _open(self) -> Any:
        """The data set with all its records; None if it cannot be built."""
        cfg = dict(self.source.cfg, filter_cfg=None, pipeline=self._steps())
        with listening(self.heard_level) as heard:
            try:
                Compose(self.source.cfg.get('pipeline', []))
                dataset = DATASETS.build(cfg)
                dataset.full_init()
            except Exception as error:  # whatever a data set raises is a finding, not the end
                # so mmengine says that there is nothing
                empty = 'need at least one array' in str(error)
                self.report.problems.append('it has no samples' if empty else describe(error))
                return None
            finally:
                self.report.notes += self._notes(heard)
        if not len(dataset):
            self.report.problems.append('it has no samples')
        return dataset

    def _record(self, dataset: Any, index: int) -> dict:
        return dataset.get_data_info(index)

    def _notes(self, heard: Sequence[str]) -> list[str]:
        """What to keep of the messages of a data set."""
        return list(heard)

    def _check_config(self) -> None:
        """Check what needs no data."""

    def _steps(self) -> list[dict]:
        """The pipeline to look at samples with."""
        return []

    def _count(self, dataset: Any, faults: 'Faults') -> None:
        """Go through all records, set ``report.counts``."""
        raise NotImplementedError

    def _check_record(self, record: dict, faults: 'Faults') -> None:
        """Check one record."""

    def _check_photos(self, dataset: Any, index: int, record: dict, faults: 'Faults') -> None:
        """Decode the photos of one record."""
        raise NotImplementedError


def loading_step(pipeline: Sequence[Mapping[str, Any]]) -> dict:
    """The step of a pipeline that reads the photo, or one that is as good."""
    for step in pipeline:
        if type_name(step).startswith('LoadImage'):
            return dict(step)
    return dict(LOAD_PHOTO)


class Faults:
    """Faults of samples, the like of them together."""

    def __init__(self) -> None:
        self._of_kind: dict[str, list[str]] = {}

    def add(self, kind: str, example: str = '') -> None:
        """Count a fault."""
        self._of_kind.setdefault(kind, []).append(example)

    def __len__(self) -> int:
        return sum(map(len, self._of_kind.values()))

    def lines(self, looked_at: int) -> list[str]:
        """One line a kind, with the first examples."""
        lines = []
        for kind, examples in self._of_kind.items():
            named = [example for example in examples if example]
            if not named:
                lines.append(kind)
                continue
            shown = '; '.join(named[:SHOWN]) + '; …' * (len(named) > SHOWN)
            lines.append(f'of {looked_at} samples {len(named)} {kind}: {shown}')
        return lines


@contextmanager
def listening(level: int = logging.WARNING) -> Iterator[list[str]]:
    """Collect messages of the log, from a level on, instead of printing them."""
    logger, heard = MMLogger.get_current_instance(), []

    class Listener(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            heard.append(record.getMessage())

    handlers, logger.handlers = logger.handlers, [Listener(level)]
    threshold = logger.level
    logger.setLevel(level)
    try:
        yield heard
    finally:
        logger.handlers = handlers
        logger.setLevel(threshold)


def describe(error: Exception) -> str:
    """An error in one line, with its type where the message alone says little."""
    message = ' '.join(str(error).split())
    if isinstance(error, (ValueError, OSError)) and message:
        return message
    return f'{type(error).__name__}: {message}'
