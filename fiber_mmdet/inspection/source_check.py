"""Checking one dataset: what all kinds have in common."""

import logging
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Optional

import numpy as np
from mmdet.registry import DATASETS
from mmengine.dataset import BaseDataset, Compose
from mmengine.logging import MMLogger

from fiber_mmdet.datasets.dataset_tree import type_name
from fiber_mmdet.datasets.detection.checked import NoSamplesError
from fiber_mmdet.datasets.file_arguments import published_counts
from fiber_mmdet.text import PromptTokenizer

from .data_sources import DataSource

GUIDE = 'docs/data_preparation.md'
LOAD_IMAGE = dict(
    type='LoadImageFromFile', imdecode_backend='pillow', color_type='color_ignore_orientation'
)
# settings of a dataset that use a part of its file only
SUBSETS = ('indices', 'shots', 'metainfo', 'splits', 'one_per', 'exclude_ids')
SHOWN = 3  # examples of one fault that are printed


@dataclass
class SourceReport:
    """The findings about one dataset.

    Attributes:
        source: the dataset.
        kind: of its samples: 'boxes' or 'texts'.
        counts: such as ``samples`` and ``images``; empty if it could not be read.
        looked_at: number of samples whose images were decoded.
        metainfo: of the dataset, such as its ``classes``; None if it could not be read.
        problems: what has to be corrected.
        notes: what is worth knowing.
        details: figures that belong to every dataset.
        images: paths of the images.
        image_ids: of the images, as far as they have ids.
        boxes_of: boxes of each category, without crowds; empty for datasets of captions.
        records: image sizes and boxes; None for large datasets.
    """

    source: DataSource
    kind: str = 'boxes'
    counts: dict[str, int] = field(default_factory=dict)
    looked_at: int = 0
    metainfo: dict | None = None
    problems: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    details: list[str] = field(default_factory=list)
    images: list[str] = field(default_factory=list)
    image_ids: set[Any] = field(default_factory=set)
    boxes_of: dict[str, int] = field(default_factory=dict)
    records: list[dict] | None = None


class SourceChecker:
    """Checks one dataset; subclasses know what its samples must contain.

    Args:
        source: the dataset.
        tokenizer: of the model; None: tokens are not counted.
    """

    kind = 'boxes'
    log_level = logging.WARNING  # messages from this level on become notes

    def __init__(self, source: DataSource, tokenizer: PromptTokenizer | None) -> None:
        self.source = source
        self.tokenizer = tokenizer
        self.report = SourceReport(source, self.kind)

    def check(self, sample: int, seed: int) -> SourceReport:
        """Read the dataset, count its records, and look at some samples.

        Args:
            sample: number of samples to look at.
            seed: of their choice.
        """
        self._check_config()
        lacking = [path for path in self.source.paths() if path.missing()]
        if any(not path.folder for path in lacking):
            return self.report  # check_data lists them
        dataset = self._open()
        if dataset is None:
            return self.report
        self.report.metainfo = dataset.metainfo
        faults = Faults()
        self._count(dataset, faults)
        self._compare_with_published()
        self.report.problems += faults.lines(len(dataset))
        chosen = sorted(np.random.default_rng(seed).permutation(len(dataset))[:sample].tolist())
        faults = Faults()
        for index, record in self._records(dataset, chosen):
            self._check_record(record, faults)
            if not lacking:
                self.report.looked_at += 1
                self._check_images(dataset, index, record, faults)
        self.report.problems += faults.lines(len(chosen))
        return self.report

    def _records(
        self, dataset: Any, indices: Iterable[int], faults: Optional['Faults'] = None
    ) -> Iterator[tuple[int, dict]]:
        """Records with their indices; unreadable ones are counted and left out."""
        for index in indices:
            try:
                yield index, self._record(dataset, index)
            except (KeyError, TypeError, ValueError, OSError) as error:
                if faults is not None:
                    faults.add('cannot be read', describe(error))

    def _open(self) -> Any:
        """The dataset with all its records; None if it cannot be built."""
        cfg = dict(self.source.cfg, pipeline=self._steps())
        if issubclass(self.source.kind, BaseDataset):
            cfg['filter_cfg'] = None
        with collected_log(self.log_level) as messages:
            try:
                Compose(self.source.cfg.get('pipeline', []))
                dataset = DATASETS.build(cfg)
                if isinstance(dataset, BaseDataset):
                    dataset.full_init()
            except Exception as error:  # any error of a dataset is a finding
                # of mmengine, and of the detector's datasets
                empty = (
                    'need at least one array' in str(error)
                    or isinstance(error, NoSamplesError)
                    and 'it has no samples' in str(error)
                )
                problem = 'it has no samples' if empty else describe(error)
                # a step of the pipeline may have been named already
                if not any(problem in known for known in self.report.problems):
                    self.report.problems.append(problem)
                return None
            finally:
                self.report.notes += self._notes(messages)
        if isinstance(dataset, BaseDataset) and not len(dataset):
            self.report.problems.append('it has no samples')
        return dataset

    def _compare_with_published(self) -> None:
        """Note where the file differs from the published one of the same name."""
        files = self.source.annotations
        if len(files) != 1 or any(key in self.source.cfg for key in SUBSETS):
            return
        differing = [
            f'{self.report.counts[what]} {what} instead of {number}'
            for what, number in published_counts(files[0]).items()
            if self.report.counts.get(what, number) != number
        ]
        if differing:
            self.report.notes.append(f'not the published file: {", ".join(differing)}')

    def _record(self, dataset: Any, index: int) -> dict:
        return dataset.get_data_info(index)

    def _notes(self, messages: Sequence[str]) -> list[str]:
        """The messages of a dataset that become notes."""
        return list(messages)

    def _check_config(self) -> None:
        """Check what needs no data."""

    def _steps(self) -> list[dict]:
        """The pipeline for looking at samples."""
        return []

    def _count(self, dataset: Any, faults: 'Faults') -> None:
        """Go through all records and set ``report.counts``."""
        raise NotImplementedError

    def _check_record(self, record: dict, faults: 'Faults') -> None:
        """Check one record."""

    def _check_images(self, dataset: Any, index: int, record: dict, faults: 'Faults') -> None:
        """Decode the images of one record."""
        raise NotImplementedError


def loading_step(pipeline: Sequence[Mapping[str, Any]]) -> dict:
    """The step of a pipeline that reads the image, or an equivalent one."""
    for step in pipeline:
        if type_name(step).startswith('LoadImage'):
            return dict(step)
    return dict(LOAD_IMAGE)


class Faults:
    """Faults of samples, grouped by kind."""

    def __init__(self) -> None:
        self._of_kind: dict[str, list[str]] = {}

    def add(self, kind: str, example: str = '') -> None:
        """Count a fault."""
        self._of_kind.setdefault(kind, []).append(example)

    def __len__(self) -> int:
        return sum(map(len, self._of_kind.values()))

    def lines(self, looked_at: int) -> list[str]:
        """One line per kind, with the first examples."""
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
def collected_log(level: int = logging.WARNING) -> Iterator[list[str]]:
    """Collect messages of mmengine's log and ours, from a level on, instead of printing them."""
    loggers, messages = [MMLogger.get_current_instance(), logging.getLogger('fiber_mmdet')], []

    class Collector(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            messages.append(record.getMessage())

    before = [(logger.handlers, logger.level, logger.propagate) for logger in loggers]
    for logger in loggers:
        logger.handlers, logger.propagate = [Collector(level)], False
        logger.setLevel(level)
    try:
        yield messages
    finally:
        for logger, (handlers, threshold, propagate) in zip(loggers, before):
            logger.handlers, logger.propagate = handlers, propagate
            logger.setLevel(threshold)


def describe(error: Exception) -> str:
    """An error in one line, with its type if the message alone says little."""
    message = ' '.join(str(error).split())
    if isinstance(error, (ValueError, OSError)) and message:
        return message
    return f'{type(error).__name__}: {message}'
