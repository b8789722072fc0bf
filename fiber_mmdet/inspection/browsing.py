"""Running samples through the pipeline of a config, to see what a model sees of them."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from mmcv.transforms import LoadAnnotations
from mmengine.dataset import BaseDataset
from torch import Tensor

from fiber_mmdet.datasets.dataset_tree import leaves, locate
from fiber_mmdet.datasets.image_text.base import ImageTextDataset
from fiber_mmdet.datasets.shards.streams import StreamedDataset
from fiber_mmdet.datasets.shards.web_image_text import WebImageTextDataset
from fiber_mmdet.datasets.transforms.pack_image_text import PackImageText
from fiber_mmdet.structures import samples_of_images
from fiber_mmdet.text import (
    PromptTokenizer,
    label_tokens,
    parse_prompt,
    prompt_options,
    prompt_passes,
)

from .seen import SeenPair, SeenPrompt, SeenSample, SeenView

MAX_OTHERS = 5  # captions of the same image that are listed


class DatasetBrowser:
    """Runs samples of a dataset through its pipeline; subclasses read the results.

    Args:
        dataset: one, possibly inside wrappers. A step that keeps what the pipeline discards is
            inserted into its pipelines.
        tokenizer: of the model.
    """

    def __init__(self, dataset: Any, tokenizer: PromptTokenizer) -> None:
        self.dataset = dataset
        self.tokenizer = tokenizer
        self._kept = {id(leaf): self._insert(leaf) for leaf in leaves(dataset)}
        self._streamed = isinstance(dataset, StreamedDataset)
        if self._streamed:  # has no index of its own: as many as its parts have, in their order
            sizes = [images_in(leaf) for leaf in leaves(dataset)]
            self._ends = np.cumsum(sizes)

    def __len__(self) -> int:
        return int(self._ends[-1]) if self._streamed else len(self.dataset)

    def _locate(self, index: int) -> tuple[Any, int]:
        if not self._streamed:
            return locate(self.dataset, index)
        part = int(np.searchsorted(self._ends, index, side='right'))
        before = int(self._ends[part - 1]) if part else 0
        return list(leaves(self.dataset))[part], index - before

    def look(self, index: int, seed: int = 0) -> Any:
        """The sample of this index; None if its pipeline drops it.

        Args:
            index: from 0.
            seed: of the pipeline's random numbers, together with ``index``.

        Raises:
            PromptError: the prompt cannot be read.
            OSError: an image cannot be read.
            KeyError: the pipeline does not keep the text.
        """
        leaf, inner = self._locate(index)
        np.random.seed((seed * 1_000_003 + index) % 2**32)
        item = leaf.prepare_data(inner)
        return None if item is None else self._seen(index, leaf, item)

    def _insert(self, leaf: BaseDataset) -> Any:
        """Insert a step into a pipeline and return it."""
        raise NotImplementedError

    def _seen(self, index: int, leaf: BaseDataset, item: dict) -> Any:
        """Read the result of a pipeline."""
        raise NotImplementedError


class _BoxScale:
    """A step after ``LoadAnnotations``: keeps how far the image is resized at that point."""

    def __init__(self) -> None:
        self.value = (1.0, 1.0)

    def __call__(self, results: dict) -> dict:
        self.value = results.get('scale_factor') or (1.0, 1.0)
        return results


class SampleBrowser(DatasetBrowser):
    """Runs samples of the detector through their pipeline and reads their prompts.

    Boxes that a test pipeline loads after the resize, as metrics require, are scaled to the size of
    the image.

    Args:
        dataset: see :class:`DatasetBrowser`.
        tokenizer: of the model.
        test: read prompts as in testing: categories in chunks, captions without spans by their
            noun phrases.
        chunked_size: categories per prompt in testing; all in one if not positive.
    """

    def __init__(
        self, dataset: Any, tokenizer: PromptTokenizer, test: bool = False, chunked_size: int = -1
    ) -> None:
        super().__init__(dataset, tokenizer)
        self.test = test
        self.chunked_size = chunked_size

    def _insert(self, leaf: BaseDataset) -> _BoxScale:
        scale = _BoxScale()
        steps = leaf.pipeline.transforms
        for i, step in enumerate(steps):
            if isinstance(step, LoadAnnotations):
                steps.insert(i + 1, scale)
                break
        return scale

    def _seen(self, index: int, leaf: BaseDataset, item: dict) -> SeenSample:
        (samples,) = samples_of_images([item['data_samples']])
        boxes = [np.zeros((0, 4))]
        labels: list[int] = []
        prompts: list[SeenPrompt] = []
        first = 0  # labels of several texts are counted through
        for sample in samples:
            own: Sequence[int] = ()
            gt = sample.get('gt_instances')
            if gt is not None and 'bboxes' in gt:
                bboxes = getattr(gt.bboxes, 'tensor', gt.bboxes)
                scale = np.tile(self._kept[id(leaf)].value, 2)
                boxes.append(np.asarray(bboxes, dtype=float).reshape(-1, 4) * scale)
                own = gt.labels.tolist()
            for prompt in self._prompts(sample, leaf, own):
                counted = tuple(first + label for label in prompt.labels)
                prompts.append(replace(prompt, labels=counted))
            labels += [first + label for label in own]
            first = max([first - 1, *labels, *(n for seen in prompts for n in seen.labels)]) + 1
        sample = samples[0]
        image = _rgb(item['inputs'])
        height, width = sample.get('ori_shape', image.shape)[:2]
        return SeenSample(
            index=index,
            path=str(sample.get('img_path', '')),
            original_size=(width, height),
            image=image,
            flipped=bool(sample.get('flip', False)),
            boxes=np.concatenate(boxes),
            labels=tuple(labels),
            prompts=tuple(prompts),
        )

    def _prompts(
        self, sample: Any, leaf: BaseDataset, labels: Sequence[int]
    ) -> Iterator[SeenPrompt]:
        """The prompts of a sample, read as the detector reads them."""
        text, spans = sample.get('text'), sample.get('tokens_positive')
        options = prompt_options(sample, training=not self.test)
        if text is None:
            text = leaf.metainfo.get('classes')
        unmarked = not spans and not options['phrases']
        if isinstance(text, str) and not self.test and unmarked and not labels:
            yield read_prompt(self.tokenizer, text)  # a caption without phrases
            return
        if self.test:
            size = sample.get('chunk_sizes', self.chunked_size)
            passes = prompt_passes(text, chunked_size=size, **options)
        else:
            passes = [parse_prompt(text, **options)]
        numbers = iter(
            sorted(spans)
            if isinstance(spans, Mapping)
            else range(sum(len(prompt.phrases) for prompt in passes))
        )
        for prompt in passes:
            yield read_prompt(
                self.tokenizer,
                prompt.caption,
                [next(numbers) for _ in prompt.phrases],
                prompt.phrases,
                prompt.spans,
            )


class _ViewFields:
    """A step before ``PackImageText``: keeps the fields of views, which packing discards."""

    def __init__(self) -> None:
        self.views: dict[str, dict] = {}

    def __call__(self, results: dict) -> dict:
        self.views = {
            name: {key: value for key, value in view.items() if key != 'img'}
            for name, view in results['views'].items()
        }
        return results


class PairBrowser(DatasetBrowser):
    """Runs samples of the image-text tasks through their pipeline.

    Args:
        dataset: see :class:`DatasetBrowser`.
        tokenizer: of the model.

    Raises:
        ValueError: a pipeline without ``PackImageText``.
    """

    def _insert(self, leaf: BaseDataset) -> _ViewFields:
        fields = _ViewFields()
        steps = leaf.pipeline.transforms
        packing = [i for i, step in enumerate(steps) if isinstance(step, PackImageText)]
        if not packing:
            raise ValueError(
                f'the pipeline of {type(leaf).__name__} has no PackImageText: its images and texts '
                'cannot be shown'
            )
        steps.insert(packing[0], fields)
        return fields

    def _seen(self, index: int, leaf: BaseDataset, item: dict) -> SeenPair:
        (samples,) = samples_of_images([item['data_samples']])
        sample, others = samples[0], samples[1:]
        if 'text' not in sample:
            raise KeyError('the sample has no text: add it to the meta_keys of PackImageText')
        known, views = self._kept[id(leaf)].views, []
        for name, pixels in item['inputs'].items():
            image, fields = _rgb(pixels), known[name]
            height, width = fields.get('ori_shape', image.shape)[:2]
            path, flipped = str(fields.get('img_path', '')), bool(fields.get('flip', False))
            views.append(SeenView(name, path, image, (width, height), flipped))
        return SeenPair(
            index,
            tuple(views),
            read_prompt(self.tokenizer, sample.text),
            tuple(self._facts(sample, others, leaf.metainfo.get('answers'))),
        )

    @staticmethod
    def _facts(
        sample: Any, others: Sequence[Any], answers: tuple[str, ...] | None
    ) -> Iterator[str]:
        """Lines on a sample, and on the other texts of its image."""
        yield from facts_of(sample, answers)
        for other in others:
            known = [fact for fact in facts_of(other, answers) if not fact.startswith('other')]
            yield ' | '.join([f'also: {other.text}', *known])


def images_in(dataset: Any) -> int:
    """Samples of a dataset, images of shards; these are counted by their headers if need be.

    Raises:
        OSError: a shard cannot be read to its end, and no index says what it has.
    """
    if isinstance(dataset, WebImageTextDataset):
        return sum(dataset.counts())
    return len(dataset)


def is_image_text(dataset: Any) -> bool:
    """Whether a dataset, possibly inside wrappers, belongs to an image-text task."""
    kinds = (ImageTextDataset, WebImageTextDataset)
    return all(isinstance(leaf, kinds) for leaf in leaves(dataset))


def read_prompt(
    tokenizer: PromptTokenizer,
    caption: str,
    labels: Sequence[int] = (),
    phrases: Sequence[str] = (),
    spans: Sequence = (),
) -> SeenPrompt:
    """A text as a model with this tokenizer reads it, cut if it is too long."""
    batch = tokenizer([caption], truncate=True)
    encoding = batch.encodings[0]
    pieces = [
        span for span, special in zip(encoding.offsets, encoding.special_tokens_mask) if not special
    ]
    length = len(pieces) + 2
    if length == tokenizer.max_tokens:  # possibly cut
        length = len(tokenizer.tokenizer(caption, verbose=False)['input_ids'])
    tokens = label_tokens(batch, 0, spans, strict=False) if spans else []
    return SeenPrompt(
        caption,
        tuple(labels),
        tuple(phrases),
        tuple(spans),
        tuple(map(tuple, tokens)),
        tuple(map(tuple, pieces)),
        length,
        tokenizer.max_tokens,
    )


def facts_of(sample: Any, answers: tuple[str, ...] | None = None) -> Iterator[str]:
    """Lines on what is known about a sample.

    Args:
        sample: an :class:`ImageTextSample`.
        answers: names of the answer classes.
    """
    if 'task' in sample:
        yield f'task: {sample.task}'
    if 'answer_labels' in sample:
        pairs = sorted(zip(sample.answer_scores, sample.answer_labels), key=lambda pair: -pair[0])
        named = [
            f'{answers[label] if answers else f"class {label}"} {score:g}' for score, label in pairs
        ]
        kind = f' ({sample.answer_type})' if 'answer_type' in sample else ''
        yield f'answers{kind}: {", ".join(named) or "none in the list"}'
    elif 'question_id' in sample:
        yield 'answers: not known'
    if 'label' in sample:
        yield f'label: {"true" if sample.label else "false"}'
    others = [text for text in sample.get('captions', ()) if text != sample.text]
    if others:
        shown, more = others[:MAX_OTHERS], len(others) - MAX_OTHERS
        shown += [f'{more} more'] * (more > 0)
        yield f'other captions: {" | ".join(shown)}'


def _rgb(pixels: Tensor) -> np.ndarray:
    """(H, W, 3) uint8 RGB of a (3, H, W) BGR tensor with values from 0 to 255."""
    image = pixels.clamp(0, 255).byte().permute(1, 2, 0).numpy()
    return np.ascontiguousarray(image[..., ::-1])
