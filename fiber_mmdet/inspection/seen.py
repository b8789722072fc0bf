"""Samples as a model sees them: images after their transforms, texts cut into tokens."""

from dataclasses import dataclass

import numpy as np

from fiber_mmdet.text.prompts import Span


@dataclass(frozen=True)
class SeenPrompt:
    """A text as the model reads it.

    Attributes:
        caption: the text.
        labels: the labels that its phrases stand for.
        phrases: the words of each label.
        spans: character spans of the phrase, per label.
        tokens: indices of its tokens (``<s>`` is 0), per label; none if the phrase was cut off.
        pieces: character span of every token that is read, without special tokens; empty for a
            token that is a blank only.
        length: tokens of the whole text, with special tokens.
        limit: tokens that the model reads.
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
    """A sample of the detector.

    Attributes:
        index: of the sample in the dataset.
        path: of the image file.
        image: (H, W, 3) uint8 RGB, as resized and flipped.
        original_size: width and height of the image file in pixels.
        flipped: whether the image is mirrored.
        boxes: (N, 4) float, xyxy in pixels of ``image``.
        labels: label of each box.
        prompts: several if the categories are split into chunks.
    """

    index: int
    path: str
    image: np.ndarray
    original_size: tuple[int, int]
    flipped: bool
    boxes: np.ndarray
    labels: tuple[int, ...]
    prompts: tuple[SeenPrompt, ...]


@dataclass(frozen=True)
class SeenView:
    """One image of an image-text sample.

    Attributes:
        name: of the view.
        path: of the image file.
        image: (H, W, 3) uint8 RGB.
        original_size: width and height of the image file in pixels.
        flipped: whether the image is mirrored.
    """

    name: str
    path: str
    image: np.ndarray
    original_size: tuple[int, int]
    flipped: bool


@dataclass(frozen=True)
class SeenPair:
    """A text and the images that it is about.

    Attributes:
        index: of the sample in the dataset.
        views: the images, ``image`` first.
        text: the caption, question or statement.
        facts: lines with the known answers and their scores, the label, or other captions of the
            image.
    """

    index: int
    views: tuple[SeenView, ...]
    text: SeenPrompt
    facts: tuple[str, ...]

    @property
    def path(self) -> str:
        """Path of the first image."""
        return self.views[0].path
