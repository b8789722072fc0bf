"""What an image-level model sees of a sample: its pictures, its text, and what is true of them."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from fiber_mmdet.datasets.dataset_tree import leaves, locate
from fiber_mmdet.datasets.image_text.base import ImageTextDataset
from fiber_mmdet.datasets.transforms.pack_image_text import PackImageText
from fiber_mmdet.text import PromptTokenizer

from .browsing import SeenPrompt, read_prompt

MAX_OTHERS = 5  # captions of the same image that are written


@dataclass(frozen=True)
class SeenView:
    """One picture after its transforms.

    Attributes:
        name: of the view.
        photo: where it comes from.
        image: (H, W, 3) uint8 RGB.
        original_size: width and height of the photo in pixels.
        flipped: whether it is mirrored.
    """

    name: str
    photo: str
    image: np.ndarray
    original_size: tuple[int, int]
    flipped: bool


@dataclass(frozen=True)
class SeenPair:
    """A text and the pictures that it is about, after their pipeline.

    Attributes:
        index: its number in the data set.
        views: the pictures, ``image`` first.
        text: the caption, question or statement.
        facts: lines on what is known of it: answers with scores, a label, other
            captions of the image.
    """

    index: int
    views: tuple[SeenView, ...]
    text: SeenPrompt
    facts: tuple[str, ...]

    @property
    def photo(self) -> str:
        """Where the first picture comes from."""
        return self.views[0].photo


class _ViewsBeforePacking:
    """A step before ``PackImageText``: keeps what that leaves out."""

    def __init__(self) -> None:
        self.views: dict[str, dict] = {}

    def __call__(self, results: dict) -> dict:
        self.views = {
            name: {key: value for key, value in view.items() if key != 'img'}
            for name, view in results['views'].items()
        }
        return results


class PairBrowser:
    """Runs samples of image-level tasks through their pipeline.

    Args:
        dataset: data sets of images and texts, perhaps inside wrappers. Their
            pipelines are watched from now on.
        tokenizer: that of the model.

    Raises:
        ValueError: a pipeline without ``PackImageText``.
    """

    def __init__(self, dataset: Any, tokenizer: PromptTokenizer) -> None:
        self.dataset = dataset
        self.tokenizer = tokenizer
        self._watches: dict[int, _ViewsBeforePacking] = {}
        for leaf in leaves(dataset):
            watch = self._watches[id(leaf)] = _ViewsBeforePacking()
            steps = leaf.pipeline.transforms
            packing = [i for i, step in enumerate(steps) if isinstance(step, PackImageText)]
            if not packing:
                raise ValueError(
                    f'the pipeline of {type(leaf).__name__} has no PackImageText: '
                    'pictures and text cannot be told'
                )
            steps.insert(packing[0], watch)

    def __len__(self) -> int:
        return len(self.dataset)

    def look(self, index: int, seed: int = 0) -> SeenPair | None:
        """The sample of this number; None if its pipeline drops it.

        Args:
            index: from 0.
            seed: of what its pipeline draws, together with ``index``.

        Raises:
            OSError: a picture cannot be read.
            KeyError: the pipeline does not keep the text.
        """
        leaf, inner = locate(self.dataset, index)
        np.random.seed((seed * 1_000_003 + index) % 2**32)
        item = leaf.prepare_data(inner)
        if item is None:
            return None
        sample = item['data_samples']
        if 'text' not in sample:
            raise KeyError('the sample has no text: add it to the meta_keys of PackImageText')
        known = self._watches[id(leaf)].views
        views = tuple(
            _seen_view(name, pixels, known[name]) for name, pixels in item['inputs'].items()
        )
        return SeenPair(
            index,
            views,
            read_prompt(self.tokenizer, sample.text),
            tuple(facts_of(sample, leaf.metainfo.get('answers'))),
        )


def is_image_text(dataset: Any) -> bool:
    """Whether a data set, perhaps inside wrappers, is of an image-level task."""
    return all(isinstance(leaf, ImageTextDataset) for leaf in leaves(dataset))


def _seen_view(name: str, pixels: Any, known: dict) -> SeenView:
    image = pixels.clamp(0, 255).byte().permute(1, 2, 0).numpy()[..., ::-1]
    height, width = known.get('ori_shape', image.shape)[:2]
    return SeenView(
        name,
        str(known.get('img_path', '')),
        np.ascontiguousarray(image),
        (width, height),
        bool(known.get('flip', False)),
    )


def facts_of(sample: Any, answers: tuple[str, ...] | None = None) -> Iterator[str]:
    """Lines on what is known of a sample.

    Args:
        sample: an :class:`ImageTextSample`.
        answers: names of the classes of answers.
    """
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
