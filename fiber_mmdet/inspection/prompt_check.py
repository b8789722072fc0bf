"""Checking a dataset of the detector: images, boxes, prompts."""

import math
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from mmdet.registry import TRANSFORMS
from mmengine.dataset import Compose

from fiber_mmdet.datasets.dataset_tree import type_name
from fiber_mmdet.datasets.detection.shared_images import records_of_texts
from fiber_mmdet.datasets.transforms.mirrored_words import unmirrored_words
from fiber_mmdet.formats.coco_file import MOST_CORNERS
from fiber_mmdet.text import (
    DescribedNames,
    PromptError,
    PromptTokenizer,
    label_tokens,
    names_that_read_alike,
    parse_prompt,
    prompt_options,
    prompt_passes,
    tokenizer_class,
)
from fiber_mmdet.text.phrases import split_phrases

from .data_sources import DataSource
from .names import lines_per_name, names_alike
from .source_check import GUIDE, Faults, SourceChecker, collected_log, loading_step

MOST_KEPT = 20_000  # records, beyond which no further ones are kept
PROMPT_KEYS = ('text', 'tokens_positive', 'phrases', 'caption_prompt')


class PromptChecker(SourceChecker):
    """Checks images, boxes, labels and prompts.

    ``counts`` are ``samples``, ``images``, ``captions``, ``with boxes``, ``boxes``, ``categories``
    and, of OmniLabel, ``descriptions``.

    Args:
        source: the dataset.
        tokenizer: of the model; None: tokens are not counted.
        chunked_size: categories per prompt in testing.
        format_only: whether a test set is only predicted, without true boxes.
    """

    def __init__(
        self,
        source: DataSource,
        tokenizer: PromptTokenizer | None,
        chunked_size: int = -1,
        format_only: bool = False,
    ) -> None:
        super().__init__(source, tokenizer)
        self.format_only = format_only
        self.chunked_size = chunked_size
        self._vocabularies: set = set()
        self._lost: set[str] = set()

    def _steps(self) -> list[dict]:
        return [loading_step(self.source.cfg.get('pipeline', []))]

    def _count(self, dataset: Any, faults: Faults) -> None:
        images: dict[str, None] = {}
        captions, annotated, boxes, crowds, long = 0, 0, 0, 0, 0
        of_label: Counter[int] = Counter()
        kept: list[dict] = []
        descriptions: set = set()
        limit = self.tokenizer.max_tokens if self.tokenizer else math.inf
        for _, record in self._records(dataset, range(len(dataset)), faults):
            images[record['img_path']] = None
            self.report.image_ids.add(record.get('img_id'))
            if len(kept) < MOST_KEPT and 'height' in record:
                kept.append({key: record[key] for key in ('width', 'height', 'instances')})
            annotated += bool(record['instances'])
            boxes += len(record['instances'])
            of_label.update(
                box['bbox_label'] for box in record['instances'] if not box.get('ignore_flag', 0)
            )
            crowds += sum(bool(box.get('ignore_flag', 0)) for box in record['instances'])
            descriptions.update(record.get('description_ids', ()))
            for fields in record.get('texts', [record]):
                text = fields.get('text')
                if isinstance(text, str):
                    captions += 1
                    # a token has at least one byte
                    long += len(text.encode()) > limit - 2 and self._length(text) > limit
        self.report.counts = dict(
            samples=len(dataset),
            images=len(images),
            captions=captions,
            boxes=boxes,
            categories=len(dataset.metainfo.get('classes') or ()) if captions < len(dataset) else 0,
        )
        self.report.counts['with boxes'] = annotated
        self.report.images = list(images)
        self.report.records = kept if len(kept) == len(dataset) else None
        if self.report.counts['categories'] and not descriptions:
            self._count_names(dataset.metainfo['classes'], of_label)
        if descriptions:
            self.report.counts['descriptions'] = len(descriptions)
        if crowds:
            self.report.notes.append(
                f'{crowds} of {boxes} boxes are crowds (iscrowd): they are left out'
            )
        steps = Compose(self.source.cfg.get('pipeline', [])).transforms
        fault = None if self.source.test else unmirrored_words(steps, dataset)
        if fault:
            self.report.problems.append(fault)
        if boxes == crowds and not self._may_lack_boxes(dataset):
            said = f'({len(images)} images, {annotated} with boxes, {crowds} of these crowds)'
            self.report.problems.append(
                f'it has no box to find {said}: AP would be -1'
                if self.source.test
                else f'it has no box to learn from {said}: check annotations and classes'
            )
        if long:
            said = f'{long} of {captions} captions have more than {limit} tokens'
            if self.source.test:
                self.report.problems.append(f'{said}, which the detector rejects: shorten them')
            else:
                self.report.notes.append(f'{said}: they are cut')

    def _count_names(self, names: Sequence[str], of_label: Mapping[int, int]) -> None:
        """Say how many boxes each name has, and which names are hardly two."""
        self.report.boxes_of = {name: of_label.get(i, 0) for i, name in enumerate(names)}
        self.report.details.append(lines_per_name(self.report.boxes_of))
        for alike in names_alike(names)[:3]:
            said = f'the names {" and ".join(map(repr, alike))} differ only by case or blanks'
            if getattr(self.source.kind, 'names_may_read_alike', False):
                self.report.notes.append(said)
            else:
                self.report.problems.append(f'{said}: if they mean one thing, make them one')

    def _may_lack_boxes(self, dataset: Any) -> bool:
        """Whether it is a test set whose annotations are not public, or has no sample at all."""
        return not len(dataset) or bool(self.source.test and self.format_only)

    def _notes(self, messages: Sequence[str]) -> list[str]:
        """What is no problem: names that read alike, and a file of other boxes, are."""
        self.report.problems += [text for text in messages if text.endswith(MOST_CORNERS)]
        problems = ('all reach the model as', MOST_CORNERS)
        return [text for text in messages if not any(one in text for one in problems)]

    def _length(self, caption: str) -> int:
        assert self.tokenizer is not None
        return len(self.tokenizer.tokenizer(caption, verbose=False)['input_ids'])

    # ------------------------------------------------------------ one sample
    def _check_images(self, dataset: Any, index: int, record: dict, faults: Faults) -> None:
        try:
            image = dataset.prepare_data(index)['img']
        except Exception as error:  # decoders raise many kinds
            missing = isinstance(error.__cause__ or error, FileNotFoundError)
            faults.add(
                f'have no image (see {GUIDE})' if missing else 'have an image that cannot be read',
                record['img_path'],
            )
            return
        height, width = image.shape[:2]
        if 'height' not in record:
            return  # a file without sizes
        if (height, width) != (record['height'], record['width']):
            faults.add(
                'have an image of another size than annotated (if width and height are exchanged, '
                'because of its EXIF orientation: see color_type of LoadImageFromFile)',
                f'{record["img_path"]} is {width}×{height}, not '
                f'{record["width"]}×{record["height"]}',
            )

    def _check_record(self, record: dict, faults: Faults) -> None:
        for one in records_of_texts(record):
            self._check_packing(one)
            self._check_prompt(one, faults)
            self._check_boxes(one, faults)

    def _check_packing(self, record: dict) -> None:
        """Check that the pipeline hands on what the record says about its prompt."""
        for step in self._pipeline():
            if type_name(step) == 'PackDetInputs':
                kept = step.get('meta_keys', ())
                given = [key for key in PROMPT_KEYS if record.get(key) is not None]
                text = record.get('text')
                classes = (self.report.metainfo or {}).get('classes') or ()
                same = not isinstance(text, str) and tuple(text or ()) == tuple(classes)
                if same and 'text' in given and not self._sampler():
                    given.remove('text')  # without it, the detector takes the classes
                lost = [key for key in given if key not in kept and key not in self._lost]
                self._lost.update(lost)
                self.report.problems += [
                    f'samples have {key}, which the pipeline drops: add it to '
                    'PackDetInputs.meta_keys'
                    for key in lost
                ]

    def _check_boxes(self, record: dict, faults: Faults) -> None:
        text, spans = record.get('text'), record.get('tokens_positive')
        phrases = record.get('phrases')
        if isinstance(phrases, str):
            phrases = split_phrases(phrases)
        if isinstance(text, str):
            labels = (
                {0}
                if isinstance(spans, int)
                else set(spans)
                if isinstance(spans, Mapping)
                else set(range(len(spans or phrases or ())))
            )
        else:
            labels = set(range(len(text or ())))
        for instance in record['instances']:
            box = instance['bbox']
            if not (np.isfinite(box).all() and box[2] > box[0] and box[3] > box[1]):
                faults.add('have an empty box', f'{record["img_path"]}: {box}')
            if labels and instance['bbox_label'] not in labels:
                faults.add(
                    'have a label without a phrase',
                    f'{record["img_path"]}: label {instance["bbox_label"]} of {len(labels)}',
                )

    def _check_prompt(self, record: dict, faults: Faults) -> None:
        text = record.get('text')
        if not text:
            return
        try:
            if isinstance(text, str):
                self._check_caption(record, text, faults)
            elif tuple(text) not in self._vocabularies:
                self._vocabularies.add(tuple(text))
                words, sizes = record.get('caption_prompt'), record.get('chunk_sizes')
                self._check_names(tuple(text), words, faults, sizes)
        except PromptError as error:
            faults.add('have a prompt that cannot be read', f'{record["img_path"]}: {error}')

    def _check_caption(self, record: dict, text: str, faults: Faults) -> None:
        options = prompt_options(record, training=not self.source.test)
        if self.source.test:
            (prompt,) = prompt_passes(text, **options)
        elif options['tokens_positive'] or options['phrases'] or record['instances']:
            prompt = parse_prompt(text, **options)
        else:
            return  # a caption without phrases
        if self.tokenizer is None:
            return
        tokens = label_tokens(self.tokenizer([prompt], truncate=True), 0, prompt, strict=False)
        for phrase, found in zip(prompt.phrases, tokens):
            if not found:
                faults.add(
                    'have a phrase without tokens (blank, or cut off)',
                    f'{record["img_path"]}: {phrase!r} in {text!r}',
                )

    def _check_names(
        self, names: tuple[str, ...], words: Any, faults: Faults, sizes: Sequence[int] | None
    ) -> None:
        """Check that the names of a vocabulary differ and fit into prompts."""
        alike = names_that_read_alike(names, words)
        for read, those in list(alike.items())[:3]:
            said = f'{" and ".join(map(repr, those))} all reach the model as {read!r}'
            if getattr(self.source.kind, 'names_may_read_alike', False):
                self.report.notes.append(said)
            else:
                self.report.problems.append(f'{said}: rename them, or word them by caption_prompt')
        self._check_described(names)
        chunk = (sizes or self.chunked_size) if self.source.test else -1
        prompts = prompt_passes(names, True, None, words, chunk)
        if self.tokenizer is None:
            return
        longest, limit = max(self._length(p.caption) for p in prompts), self.tokenizer.max_tokens
        if longest <= limit:
            return
        if isinstance(words, DescribedNames):
            faults.add(
                f'a description prompt takes {longest} tokens, the detector reads {limit}: give '
                'the dataset the tokenizer, so that it is shortened'
            )
            return
        long = max(
            prompt_passes(names, True, None, words, 1), key=lambda p: self._length(p.caption)
        )
        if self._length(long.caption) > limit:
            remedy = '' if sizes else ', or give its "name" in caption_prompt'
            faults.add(
                f'{"the text" if sizes else "the category"} {long.phrases[0][:40]!r} alone takes '
                f'{self._length(long.caption)} tokens, the detector reads {limit}: shorten it'
                f'{remedy}'
            )
            return
        said = f'a prompt of its {len(names)} names takes {longest} tokens'
        sampler = self._sampler()
        if sizes:
            faults.add(f'{said}, the detector reads {limit}: lower chunk_size of the dataset')
        elif self.source.test:
            faults.add(f'{said}, the detector reads {limit}: set model.test_cfg.chunked_size')
        elif sampler is None:
            faults.add(f'{said}, of which {limit} are read: add SampleCategories to the pipeline')
        elif not sampler.get('tokenizer'):
            self.report.notes.append(
                f'{said}, of which {limit} are read: give SampleCategories the '
                'tokenizer, so that it respects this limit'
            )

    def _sampler(self) -> Mapping[str, Any] | None:
        """The step of the pipeline that chooses categories."""
        return next(
            (
                step
                for step in self._pipeline()
                if type_name(step) in ('SampleCategories', 'DescribeCategories')
            ),
            None,
        )

    def _writers(self) -> list[Mapping[str, Any]]:
        """The steps of the pipeline that write prompts and count their tokens."""
        kinds = ('SampleCategories', 'DescribeCategories', 'DescribeCaptions')
        return [step for step in self._pipeline() if type_name(step) in kinds]

    def _pipeline(self) -> Iterator[Mapping[str, Any]]:
        """The steps of the pipeline, those inside ``EachText`` in its place."""
        for step in self.source.cfg.get('pipeline', []):
            yield from step['transforms'] if type_name(step) == 'EachText' else (step,)

    def _check_described(self, names: tuple[str, ...]) -> None:
        """Check that the pipeline's descriptions are of these categories."""
        for step in self._writers():
            if type_name(step) == 'DescribeCategories':
                with collected_log() as messages:
                    try:
                        TRANSFORMS.build(step).descriptions_of(names)
                    except ValueError as error:
                        self.report.problems.append(f'DescribeCategories: {error}')
                self.report.notes += messages

    def _check_config(self) -> None:
        """Check files of prompts, and that these are measured with the model's own tokenizer."""
        steps = [(type_name(step), step) for step in self._writers()]
        for name, step in steps:
            if name != 'SampleCategories':
                try:
                    TRANSFORMS.build(step)
                except Exception as error:
                    self.report.problems.append(f'{name}: {error}')
        for name, step in [*steps, ('the dataset', self.source.cfg)]:
            other = step.get('tokenizer')
            if not other or self.tokenizer is None:
                continue
            kind = tokenizer_class(other.get('type', PromptTokenizer))
            theirs = other['name_or_path'], other.get('max_tokens', 256), kind
            ours = self.tokenizer.name_or_path, self.tokenizer.max_tokens, type(self.tokenizer)
            if theirs != ours:
                self.report.problems.append(
                    f'{name} counts the tokens of {theirs[0]!r} up to {theirs[1]} '
                    f'({kind.__name__}), the model reads {ours[1]} of {ours[0]!r} '
                    f'({ours[2].__name__}): give both the same tokenizer'
                )
