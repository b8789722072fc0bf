"""Looking over the data of a config before anything is trained or tested on them."""
import logging
import math
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Iterable, Iterator, Mapping, Optional, Sequence

import numpy as np
from mmdet.registry import DATASETS
from mmengine.dataset import Compose
from mmengine.logging import MMLogger

from fiber_mmdet.text import (PromptError, PromptTokenizer, label_tokens, parse_prompt,
                              prompt_passes)

from .data_sources import SPLITS, DataSource, evaluator_paths, find_sources
from .known_sizes import unlike_published

GUIDE = 'docs/data_preparation.md'
LOAD_PHOTO = dict(type='LoadImageFromFile', imdecode_backend='pillow',
                  color_type='color_ignore_orientation')
SHOWN = 3  # faults of one kind that are spelled out


@dataclass
class SourceReport:
    """What was found out about one data set.

    Attributes:
        source: the data set.
        counts: ``samples``, ``photos``, ``captions``, ``with boxes``, ``boxes``,
            ``categories``; empty if it could not be read.
        looked_at: photos that were decoded.
        problems: what has to be mended.
        notes: what is worth knowing.
    """
    source: DataSource
    counts: dict[str, int] = field(default_factory=dict)
    looked_at: int = 0
    problems: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


@dataclass
class DataReport:
    """What was found out about the data of a config.

    Attributes:
        sources: one report a data set.
        missing: files and folders that are not there.
        problems: what belongs to no data set.
    """
    sources: list[SourceReport]
    missing: list[str]
    problems: list[str]

    @property
    def faults(self) -> list[str]:
        """Everything that has to be mended."""
        return [*self.missing, *self.problems, *(
            f'{report.source.places[0]}: {problem}'
            for report in self.sources for problem in report.problems)]


def check_data(cfg: Mapping[str, Any], splits: Sequence[str] = SPLITS, sample: int = 100,
               seed: int = 0) -> DataReport:
    """Check that the data of a config are there, can be read and make sense.

    Every data set is read as in training, with all checks of its class. Of each,
    some samples are looked at closely: their photo is decoded and compared with
    the annotated size, their boxes, labels and prompts are checked.

    Args:
        cfg: a whole config; its default scope must be in effect.
        splits: which loaders and evaluators.
        sample: samples looked at of each data set.
        seed: of their choice.

    Returns:
        The report. Nothing is raised for faults of the data.
    """
    tokenizer, problems = None, []
    model = cfg.get('model') or {}
    if 'tokenizer' in model:
        try:
            tokenizer = PromptTokenizer(**model['tokenizer'])
        except PromptError as error:
            problems.append(f'model.tokenizer: {error}')
    else:
        problems.append('the config has no model.tokenizer: tokens cannot be counted')
    sources = find_sources(cfg, splits)
    named = [path for source in sources for path in source.paths()] + evaluator_paths(cfg, splits)
    wanted: dict[tuple[str, bool], list[str]] = {}
    for path in named:
        if path.missing():
            wanted.setdefault((path.path, path.folder), []).append(path.where)
    missing = [f'no {"folder" if folder else "file"} {path} ({", ".join(dict.fromkeys(where))}): '
               f'see {GUIDE}' for (path, folder), where in wanted.items()]
    chunked_size = (model.get('test_cfg') or {}).get('chunked_size', -1)
    reports = [SourceChecker(source, tokenizer, chunked_size).check(sample, seed)
               for source in sources]
    if not sources:
        problems.append(f'the config has no data for {", ".join(splits)}')
    return DataReport(reports, missing, problems)


class SourceChecker:
    """Checks one data set.

    Args:
        source: the data set.
        tokenizer: that of the model; None: tokens are not counted.
        chunked_size: categories per prompt in testing.
    """

    def __init__(self, source: DataSource, tokenizer: Optional[PromptTokenizer],
                 chunked_size: int = -1) -> None:
        self.source = source
        self.tokenizer = tokenizer
        self.chunked_size = chunked_size
        self.report = SourceReport(source)
        self._vocabularies: set = set()

    def check(self, sample: int, seed: int) -> SourceReport:
        """Read the data set, count, look at some samples."""
        self._check_sampler()
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
            self._check_prompt(record, faults)
            self._check_boxes(record, faults)
            if not lacking:
                self.report.looked_at += 1
                self._check_photo(dataset, index, record, faults)
        self.report.problems += faults.lines(len(chosen))
        return self.report

    @staticmethod
    def _records(dataset: Any, indices: Iterable[int],
                 faults: Optional['Faults'] = None) -> Iterator[tuple[int, dict]]:
        """Records with their numbers; those that cannot be read are counted and left out."""
        for index in indices:
            try:
                yield index, dataset.get_data_info(index)
            except (KeyError, TypeError, ValueError, OSError) as error:
                if faults is not None:
                    faults.add('cannot be read', describe(error))

    def _open(self) -> Any:
        """The data set with all its records, photos as the only step; None if it cannot be built."""
        cfg = dict(self.source.cfg, filter_cfg=None, pipeline=[self._loading_step()])
        with listening() as heard:
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
                self.report.notes += heard
        if not len(dataset):
            self.report.problems.append('it has no samples')
        return dataset

    def _loading_step(self) -> dict:
        """The step of the pipeline that reads the photo."""
        for step in self.source.cfg.get('pipeline', []):
            if step['type'].startswith('LoadImage'):
                return dict(step)
        return LOAD_PHOTO

    def _count(self, dataset: Any, faults: 'Faults') -> None:
        photos, captions, annotated, boxes, long = set(), 0, 0, 0, 0
        limit = self.tokenizer.max_tokens if self.tokenizer else math.inf
        for _, record in self._records(dataset, range(len(dataset)), faults):
            photos.add(record['img_path'])
            annotated += bool(record['instances'])
            boxes += len(record['instances'])
            text = record.get('text')
            if isinstance(text, str):
                captions += 1
                # a token has at least one byte
                long += len(text.encode()) > limit - 2 and self._length(text) > limit
        self.report.counts = dict(
            samples=len(dataset), photos=len(photos), captions=captions, boxes=boxes,
            categories=len(dataset.metainfo.get('classes') or ()) if captions < len(dataset) else 0)
        self.report.counts['with boxes'] = annotated
        if long:
            said = f'{long} of {captions} captions have more than {limit} tokens'
            if self.source.test:
                self.report.problems.append(f'{said}, which the detector refuses: shorten them')
            else:
                self.report.notes.append(f'{said}: they are cut')
        if not any(key in self.source.cfg for key in ('indices', 'shots', 'metainfo')):
            differs = unlike_published(self.source.ann_file, self.report.counts)
            self.report.notes += [differs] if differs else []

    def _length(self, caption: str) -> int:
        return len(self.tokenizer.tokenizer(caption, verbose=False)['input_ids'])

    # ------------------------------------------------------------ one sample
    def _check_photo(self, dataset: Any, index: int, record: dict, faults: 'Faults') -> None:
        try:
            image = dataset.prepare_data(index)['img']
        except Exception as error:  # decoders raise many kinds
            missing = isinstance(error.__cause__ or error, FileNotFoundError)
            faults.add(f'have no photo (see {GUIDE})' if missing else
                       'have a photo that cannot be read', record['img_path'])
            return
        height, width = image.shape[:2]
        if (height, width) != (record['height'], record['width']):
            faults.add('have a photo of another size than annotated (with width and height exchanged, '
                       'it is the EXIF orientation: see color_type of LoadImageFromFile)',
                       f'{record["img_path"]} is {width}×{height}, not '
                       f'{record["width"]}×{record["height"]}')

    def _check_boxes(self, record: dict, faults: 'Faults') -> None:
        text, spans = record.get('text'), record.get('tokens_positive')
        if isinstance(text, str):
            labels = {0} if isinstance(spans, int) else set(spans) if isinstance(
                spans, Mapping) else set(range(len(spans or ())))
        else:
            labels = set(range(len(text or ())))
        for instance in record['instances']:
            box = instance['bbox']
            if not (np.isfinite(box).all() and box[2] > box[0] and box[3] > box[1]):
                faults.add('have a box that is none', f'{record["img_path"]}: {box}')
            if labels and instance['bbox_label'] not in labels:
                faults.add('have a label without a phrase',
                           f'{record["img_path"]}: label {instance["bbox_label"]} of {len(labels)}')

    def _check_prompt(self, record: dict, faults: 'Faults') -> None:
        text, spans = record.get('text'), record.get('tokens_positive')
        words = record.get('caption_prompt')
        if not text:
            return
        try:
            if isinstance(text, str):
                self._check_caption(record, text, spans, words, faults)
            elif tuple(text) not in self._vocabularies:
                self._vocabularies.add(tuple(text))
                self._check_names(tuple(text), words, faults)
        except PromptError as error:
            faults.add('have a prompt that cannot be read', f'{record["img_path"]}: {error}')

    def _check_caption(self, record: dict, text: str, spans: Any, words: Any,
                       faults: 'Faults') -> None:
        if self.source.test:
            prompt, = prompt_passes(text, bool(record.get('custom_entities', False)), spans, words)
        elif spans or record['instances']:
            prompt = parse_prompt(text, spans is None, spans, words)
        else:
            return  # a caption without phrases
        if self.tokenizer is None:
            return
        tokens = label_tokens(self.tokenizer([prompt], truncate=True), 0, prompt, strict=False)
        for phrase, found in zip(prompt.phrases, tokens):
            if not found:
                faults.add('have a phrase without tokens (blank, or cut off)',
                           f'{record["img_path"]}: {phrase!r} in {text!r}')

    def _check_names(self, names: tuple[str, ...], words: Any, faults: 'Faults') -> None:
        """Whether a vocabulary fits into prompts."""
        chunk = self.chunked_size if self.source.test else -1
        prompts = prompt_passes(names, True, None, words, chunk)
        if self.tokenizer is None:
            return
        longest, limit = max(self._length(p.caption) for p in prompts), self.tokenizer.max_tokens
        if longest <= limit:
            return
        said = f'a prompt of its {len(names)} names takes {longest} tokens'
        sampler = self._sampler()
        if self.source.test:
            faults.add(f'{said}, the detector reads {limit}: set model.test_cfg.chunked_size')
        elif sampler is None:
            faults.add(f'{said}, of which {limit} are read: add SampleCategories to the pipeline')
        elif not sampler.get('tokenizer'):
            self.report.notes.append(f'{said}, of which {limit} are read: give SampleCategories the '
                                     'tokenizer, so that it keeps to them')

    def _sampler(self) -> Optional[Mapping[str, Any]]:
        """The step of the pipeline that chooses categories."""
        return next((step for step in self.source.cfg.get('pipeline', [])
                     if step['type'] == 'SampleCategories'), None)

    def _check_sampler(self) -> None:
        """Whether prompts are measured by the model's own tokenizer."""
        other = (self._sampler() or {}).get('tokenizer')
        if other and self.tokenizer is not None:
            theirs = other['name_or_path'], other.get('max_tokens', 256)
            ours = self.tokenizer.name_or_path, self.tokenizer.max_tokens
            if theirs != ours:
                self.report.problems.append(
                    f'SampleCategories counts the tokens of {theirs[0]!r} up to {theirs[1]}, the '
                    f'model reads {ours[1]} of {ours[0]!r}: give both the same tokenizer')


class Faults:
    """Faults of samples, the like of them together."""

    def __init__(self) -> None:
        self._of_kind: dict[str, list[str]] = {}

    def add(self, kind: str, example: str = '') -> None:
        """Count a fault."""
        self._of_kind.setdefault(kind, []).append(example)

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
def listening() -> Iterator[list[str]]:
    """Collect the warnings of the log instead of printing them."""
    logger, heard = MMLogger.get_current_instance(), []

    class Listener(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            heard.append(record.getMessage())

    handlers, logger.handlers = logger.handlers, [Listener(logging.WARNING)]
    try:
        yield heard
    finally:
        logger.handlers = handlers


def describe(error: Exception) -> str:
    """An error in one line, with its type where the message alone says little."""
    message = ' '.join(str(error).split())
    if isinstance(error, (ValueError, OSError)) and message:
        return message
    return f'{type(error).__name__}: {message}'
