"""What the model sees of a sample: picture, boxes, and prompt with its tokens."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from mmcv.transforms import LoadAnnotations
from mmengine.dataset import BaseDataset

from fiber_mmdet.datasets.dataset_tree import leaves, locate
from fiber_mmdet.text import PromptTokenizer, label_tokens, parse_prompt, prompt_passes
from fiber_mmdet.text.prompts import Span


@dataclass(frozen=True)
class SeenPrompt:
    """One caption as the model reads it.

    Attributes:
        caption: the text.
        labels: the labels its phrases stand for.
        phrases: the words of each label.
        spans: per label, the character spans of the phrase.
        tokens: per label, the indices of its tokens (``<s>`` is 0); none where
            the phrase was cut off.
        pieces: character span of every token that is read, without specials;
            empty where a token stands for a blank alone.
        length: tokens of the whole caption, specials included.
        limit: tokens the model reads.
    """

    caption: str
    labels: tuple[int, ...]
    phrases: tuple[str, ...]
    spans: tuple[tuple[Span, ...], ...]
    tokens: tuple[tuple[int, ...], ...]
    pieces: tuple[Span, ...]
    length: int
    limit: int


@dataclass(frozen=True)
class SeenSample:
    """A sample after its pipeline.

    Attributes:
        index: its number in the data set.
        photo: where the photo comes from.
        image: (H, W, 3) uint8 RGB, as resized and flipped.
        original_size: width and height of the photo in pixels.
        flipped: whether it is mirrored.
        boxes: (N, 4) float, xyxy in pixels of ``image``.
        labels: label of each box.
        prompts: what is asked; several where the categories come in chunks.
    """

    index: int
    photo: str
    image: np.ndarray
    original_size: tuple[int, int]
    flipped: bool
    boxes: np.ndarray
    labels: tuple[int, ...]
    prompts: tuple[SeenPrompt, ...]


class _ScaleOfBoxes:
    """A step behind ``LoadAnnotations``: how far the photo is resized when the boxes come in."""

    def __init__(self) -> None:
        self.value = (1.0, 1.0)

    def __call__(self, results: dict) -> dict:
        self.value = results.get('scale_factor') or (1.0, 1.0)
        return results


class SampleBrowser:
    """Runs the samples of a data set through its pipeline and reads their prompts.

    Boxes that a test pipeline loads after the resize, as metrics want them, are
    brought to the size of the picture.

    Args:
        dataset: a data set of mmdet, or a concatenation or repetition of some. Its
            pipelines are watched from now on.
        tokenizer: that of the model.
        test: read prompts as in testing: categories in chunks, captions without
            spans by their noun phrases.
        chunked_size: categories per prompt in testing; all in one if not positive.
    """

    def __init__(
        self, dataset: Any, tokenizer: PromptTokenizer, test: bool = False, chunked_size: int = -1
    ) -> None:
        self.dataset = dataset
        self.tokenizer = tokenizer
        self.test = test
        self.chunked_size = chunked_size
        self._scales: dict[int, _ScaleOfBoxes] = {}
        for leaf in leaves(dataset):
            watch = self._scales[id(leaf)] = _ScaleOfBoxes()
            steps = leaf.pipeline.transforms
            for i, step in enumerate(steps):
                if isinstance(step, LoadAnnotations):
                    steps.insert(i + 1, watch)
                    break

    def __len__(self) -> int:
        return len(self.dataset)

    def look(self, index: int, seed: int = 0) -> SeenSample | None:
        """The sample of this number; None if its pipeline drops it.

        Args:
            index: from 0.
            seed: of what its pipeline draws, together with ``index``.

        Raises:
            PromptError: the prompt cannot be read.
            OSError: the photo cannot be read.
        """
        leaf, inner = locate(self.dataset, index)
        np.random.seed((seed * 1_000_003 + index) % 2**32)
        item = leaf.prepare_data(inner)
        if item is None:
            return None
        sample = item['data_samples']
        gt = sample.get('gt_instances')
        boxes, labels = np.zeros((0, 4)), ()
        if gt is not None and 'bboxes' in gt:
            bboxes = getattr(gt.bboxes, 'tensor', gt.bboxes)
            boxes = np.asarray(bboxes, dtype=float) * np.tile(self._scales[id(leaf)].value, 2)
            labels = tuple(gt.labels.tolist())
        pixels = item['inputs'].clamp(0, 255).byte().permute(1, 2, 0).numpy()
        height, width = sample.get('ori_shape', pixels.shape)[:2]
        return SeenSample(
            index=index,
            photo=str(sample.get('img_path', '')),
            original_size=(width, height),
            image=np.ascontiguousarray(pixels[..., ::-1]),
            flipped=bool(sample.get('flip', False)),
            boxes=boxes,
            labels=labels,
            prompts=tuple(self._prompts(sample, leaf, labels)),
        )

    def _prompts(
        self, sample: Any, leaf: BaseDataset, labels: Sequence[int]
    ) -> Iterator[SeenPrompt]:
        """The prompts of a sample, read as the detector reads them."""
        text, spans = sample.get('text'), sample.get('tokens_positive')
        words = sample.get('caption_prompt')
        if text is None:
            text = leaf.metainfo.get('classes')
        if isinstance(text, str) and not self.test and not spans and not labels:
            yield self._seen(text, (), (), ())  # a caption without phrases
            return
        if self.test:
            passes = prompt_passes(
                text, bool(sample.get('custom_entities', False)), spans, words, self.chunked_size
            )
        else:
            passes = [parse_prompt(text, spans is None, spans, words)]
        numbers = iter(
            sorted(spans)
            if isinstance(spans, Mapping)
            else range(sum(len(prompt.phrases) for prompt in passes))
        )
        for prompt in passes:
            yield self._seen(
                prompt.caption,
                [next(numbers) for _ in prompt.phrases],
                prompt.phrases,
                prompt.spans,
            )

    def _seen(
        self, caption: str, labels: Sequence[int], phrases: Sequence[str], spans: Sequence
    ) -> SeenPrompt:
        return read_prompt(self.tokenizer, caption, labels, phrases, spans)


def read_prompt(
    tokenizer: PromptTokenizer,
    caption: str,
    labels: Sequence[int] = (),
    phrases: Sequence[str] = (),
    spans: Sequence = (),
) -> SeenPrompt:
    """A caption as a model with this tokenizer reads it, cut where it is too long."""
    batch = tokenizer([caption], truncate=True)
    encoding = batch.encodings[0]
    pieces = [
        span for span, special in zip(encoding.offsets, encoding.special_tokens_mask) if not special
    ]
    length = len(pieces) + 2
    if length == tokenizer.max_tokens:  # perhaps cut
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
