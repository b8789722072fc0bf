"""Checking a dataset of the image-text tasks: images of all views, texts, answers."""

import logging
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import islice
from typing import Any

from mmcv.transforms import BaseTransform
from mmdet.registry import TRANSFORMS

from fiber_mmdet.datasets.dataset_tree import type_name
from fiber_mmdet.text import PromptTokenizer

from .data_sources import DataSource
from .source_check import GUIDE, Faults, SourceChecker, SourceReport, loading_step

BATCH = 1000  # texts that are tokenized together


class ImageTextChecker(SourceChecker):
    """Checks images of all views, texts and answers.

    ``counts`` are ``samples``, ``images`` (distinct), ``texts`` (all of each image) and how many of
    them are ``cut``; for questions also ``questions``, ``answered`` ones and ``answers`` to choose
    from; for statements ``statements`` and ``true`` ones.

    Args:
        source: the dataset.
        tokenizer: of the model; None: tokens are not counted.
        num_answers: classes of the model's answer classifier; None if it has none.
    """

    kind = 'texts'
    log_level = logging.INFO

    def __init__(
        self, source: DataSource, tokenizer: PromptTokenizer | None, num_answers: int | None = None
    ) -> None:
        super().__init__(source, tokenizer)
        self.num_answers = num_answers
        self._load: BaseTransform | None = None
        self._replaced = Faults()

    def check(self, sample: int, seed: int) -> SourceReport:
        """Read the dataset, count its records, and look at some samples."""
        super().check(sample, seed)
        # training skips unreadable images, but needs some that are readable
        lines = [
            f'{line} (others take their place: ignore_empty)'
            for line in self._replaced.lines(self.report.looked_at)
        ]
        few = len(self._replaced) < self.report.looked_at
        (self.report.notes if few else self.report.problems).extend(lines)
        return self.report

    def _record(self, dataset: Any, index: int) -> dict:
        return dataset.item(index)  # without a false image, which belongs to another sample

    def _notes(self, messages: Sequence[str]) -> list[str]:
        """What the dataset logs about samples that it leaves out."""
        return [text.partition(': ')[2] or text for text in messages if 'left out' in text]

    def _count(self, dataset: Any, faults: Faults) -> None:
        self._images: dict[str, None] = {}
        self._kinds: Counter[str] = Counter()
        texts = cut = 0
        for batch in batches(self._texts(dataset, faults)):
            texts += len(batch)
            cut += sum(self._too_long(batch))
        kinds = self._kinds
        self.report.images = list(self._images)
        self.report.counts = dict(
            samples=len(dataset), images=len(self._images), texts=texts, cut=cut, **kinds
        )
        if cut and self.tokenizer is not None:
            self.report.notes.append(
                f'{cut} of {texts} texts have more than '
                f'{self.tokenizer.max_tokens} tokens: they are cut'
            )
        answers = dataset.metainfo.get('answers')
        if answers is not None:
            self.report.counts['answers'] = len(answers)
            if self.num_answers not in (None, len(answers)):
                self.report.problems.append(
                    f'its list has {len(answers)} answers, the model {self.num_answers} classes: '
                    'set model.heads.vqa.num_answers, or give the list that it was trained with'
                )
            if not kinds['answered'] and not self.source.test:
                self.report.problems.append('no question has a known answer: give annotation_files')

    def _texts(self, dataset: Any, faults: Faults) -> Iterator[str]:
        """The texts of all records; counts images, questions and statements on the way."""
        by_image = getattr(dataset, 'one_per', None) == 'image'
        for _, record in self._records(dataset, range(len(dataset)), faults):
            self._images.update((view['img_path'], None) for view in record['views'].values())
            for fields in record.get('texts', [record]):
                if 'question_id' in fields:
                    self._kinds.update(questions=1, answered=int(bool(fields.get('answer_labels'))))
                if 'label' in fields:
                    self._kinds.update(statements=1, true=int(fields['label']))
                for text in fields['captions'] if by_image else [fields['text']]:
                    if not isinstance(text, str):
                        faults.add(
                            'have a text that is not a string', f'{self._name(fields)}: {text!r}'
                        )
                    elif not text.strip():
                        faults.add('have an empty text', self._name(fields))
                    else:
                        yield text

    @staticmethod
    def _name(record: dict) -> str:
        """How faults name a record."""
        for key in ('question_id', 'identifier'):
            if key in record:
                return f'{key} {record[key]}'
        return f'image_id {record["image_id"]}'

    def _too_long(self, texts: Sequence[str]) -> list[bool]:
        """Whether texts have more tokens than the model reads."""
        if self.tokenizer is None:
            return []
        limit = self.tokenizer.max_tokens
        # a token has at least one byte
        perhaps = [text for text in texts if len(text.encode()) > limit - 2]
        if not perhaps:
            return []
        ids = self.tokenizer.tokenizer(perhaps, verbose=False)['input_ids']
        return [len(tokens) > limit for tokens in ids]

    # ------------------------------------------------------------ one sample
    def _check_images(self, dataset: Any, index: int, record: dict, faults: Faults) -> None:
        step = self._loading_step()
        if step.pop('ignore_empty', False) and not self.source.test:
            faults = self._replaced
        if self._load is None:
            self._load = TRANSFORMS.build(step)
        for view in record['views'].values():
            path = view['img_path']
            try:
                self._load(dict(view))
            except FileNotFoundError:
                faults.add(f'have no image (see {GUIDE})', path)
            except Exception as error:  # decoders raise many kinds
                faults.add('have an image that cannot be read', f'{path} ({error})')

    def _loading_step(self) -> dict:
        """The step of the pipeline that reads an image."""
        each: Mapping[str, Any] = next(
            (step for step in self.source.cfg.get('pipeline', []) if type_name(step) == 'EachView'),
            {},
        )
        return loading_step(each.get('transforms', []))


def batches(texts: Iterable[str]) -> Iterator[list[str]]:
    """Lists of up to ``BATCH`` texts."""
    texts = iter(texts)
    while batch := list(islice(texts, BATCH)):
        yield batch
