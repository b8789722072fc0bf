"""A batch of image-text pairs, encoded once for all objectives."""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from fiber_mmdet.structures import ImageTextSample, need_field, samples_of_images
from fiber_mmdet.text import PromptTokenizer

from ..backbone import FIBERBackbone, ImagePrefix, TextPrefix
from .joint_space import PairFeatures


class PairEncoder(Protocol):
    """What a batch and its objectives use of the model, :class:`FIBERForVL`.

    Attributes:
        backbone: both towers.
        words: the :class:`LMHead`, if an objective ``uses_words``.
        fused: projections and poolers of fused pairs, a :class:`JointProjection`.
        heads: name -> objective.
        data_preprocessor: normalises images.
    """

    backbone: FIBERBackbone
    words: Any
    fused: Any
    heads: Any
    data_preprocessor: nn.Module

    @property
    def tokenizer(self) -> PromptTokenizer:
        """The tokenizer, loaded at first use."""

    @property
    def max_tokens(self) -> int:
        """Longest text in tokens, ``<s>`` and ``</s>`` included."""

    def tokenize(self, texts: Sequence[str]) -> tuple[Tensor, Tensor]:
        """(B, L) int64 ids and (B, L) bool mask, True at real tokens."""

    def encode_image(self, images: Tensor) -> ImagePrefix:
        """(B, 3, S, S) normalised images to their prefix."""

    def encode_text(self, texts: Sequence[str]) -> TextPrefix:
        """Texts to their prefix."""

    def fuse(self, image: ImagePrefix, text: TextPrefix) -> PairFeatures:
        """Pairs in the joint space; text i belongs to image i."""

    def fuse_text(self, image: ImagePrefix, text: TextPrefix) -> Tensor:
        """(B, L, dim) tokens of pairs, as :meth:`fuse` gives them."""

    def image_features(self, image: ImagePrefix) -> Tensor:
        """(B, dim) features of the images alone, of length 1."""

    def features_of_map(self, last: Tensor) -> Tensor:
        """The same from the (B, H, W, C) output of the last image block."""

    def text_features(self, text: TextPrefix) -> Tensor:
        """(B, dim) features of the texts alone, of length 1."""


@dataclass
class HardNegatives:
    """For each pair of a batch, another text and another image that nearly fit.

    Attributes:
        images: prefix of the candidate images, those of the batch (each once) first.
        image_rows: (n,) int64, row of ``images`` chosen for each text.
        image_valid: (n,) bool, False where there was no candidate.
        texts: prefix of the candidate texts, those of the batch first.
        text_rows: (n,) int64, row of ``texts`` chosen for each image.
        text_valid: (n,) bool, False where there was no candidate.
    """

    images: ImagePrefix
    image_rows: Tensor
    image_valid: Tensor
    texts: TextPrefix
    text_rows: Tensor
    text_valid: Tensor


class EncodedBatch:
    """What objectives read; whatever several of them need is computed once.

    MLM, ITC and ITM share one image prefix, ITC and ITM one text prefix. (The
    reference runs the towers anew for each objective; without dropout the
    losses and gradients are the same.)

    An image with several texts is one image of the batch and several pairs of it. Up to the first
    fused block, and in its tail without text, it is encoded once for all of them.

    Args:
        model: the model.
        inputs: view -> (B, 3, S, S) normalised images.
        samples: for each image a sample, or a group of them, with ``text`` and the fields that the
            objectives need.
        encoded: view -> prefix of the B images, where they are encoded already.

    Attributes:
        samples: of the n pairs; pairs of an image are consecutive.
        texts_of_image: numbers of pairs of the B images.
    """

    def __init__(
        self,
        model: PairEncoder,
        inputs: dict[str, Tensor],
        samples: Sequence,
        encoded: Mapping[str, ImagePrefix] | None = None,
    ) -> None:
        self.model = model
        self.inputs = inputs
        groups = samples_of_images(samples)
        self.samples = [sample for group in groups for sample in group]
        self.texts_of_image = [len(group) for group in groups]
        self.hard_negatives: HardNegatives | None = None
        self._images: dict[str, ImagePrefix] = dict(encoded or {})
        self._finished: dict[str, Tensor] = {}
        self._repeated: dict[str, ImagePrefix] = {}

    @classmethod
    def from_prefixes(
        cls, model: PairEncoder, images: Mapping[str, ImagePrefix], text: TextPrefix | None = None
    ) -> 'EncodedBatch':
        """A batch of pairs that are already encoded, for the ``predict`` of heads.

        Args:
            model: the model.
            images: view -> prefix of B images.
            text: prefix of B texts; None for heads that read no text.
        """
        count = len(next(iter(images.values())))
        batch = cls(model, {}, [ImageTextSample() for _ in range(count)], images)
        if text is not None:
            batch.text = text
        return batch

    def __len__(self) -> int:
        return len(self.samples)

    @property
    def device(self) -> torch.device:
        """Device of the images."""
        if self.inputs:
            return next(iter(self.inputs.values())).device
        return next(iter(self._images.values())).tokens.device

    def field(self, name: str) -> list:
        """One field of all samples.

        Raises:
            KeyError: a sample lacks the field.
        """
        return [need_field(sample, name) for sample in self.samples]

    @cached_property
    def image_rows(self) -> Tensor:
        """(n,) int64, the image of each pair."""
        counts = torch.tensor(self.texts_of_image, device=self.device)
        return torch.arange(len(counts), device=self.device).repeat_interleave(counts)

    @property
    def shares_images(self) -> bool:
        """Whether an image has several texts."""
        return any(count != 1 for count in self.texts_of_image)

    @cached_property
    def texts(self) -> list[str]:
        """The texts."""
        return self.field('text')

    @cached_property
    def tokens(self) -> tuple[Tensor, Tensor]:
        """(n, L) int64 ids and (n, L) bool mask, True at real tokens."""
        ids, mask = self.model.tokenize(self.texts)
        return ids.to(self.device), mask.to(self.device)

    @cached_property
    def image_ids(self) -> Tensor:
        """(n,) int64, equal for pairs with the same image of a dataset.

        Images of two datasets may share a number by chance, for example those of COCO
        and Visual Genome: a contrast then has one negative less.
        """
        ids = [image_number(name) for name in self.field('image_id')]
        return torch.tensor(ids, device=self.device)

    def pixels(self, view: str = 'image') -> Tensor:
        """(B, 3, S, S) normalised images of a view.

        Raises:
            KeyError: the inputs have no such view.
        """
        if view in self._images and not self.inputs:
            raise KeyError(
                f'the pixels of view {view!r} are not here: its prefix is cached. Objectives that '
                'keep pixels (pixel_queue of ITCHead) need a training without cached prefixes'
            )
        if view not in self.inputs:
            raise KeyError(
                f'no view {view!r} among the inputs ({", ".join(self.inputs)}): '
                'the dataset has to provide it (plain ITM: false_image=True)'
            )
        return self.inputs[view]

    def pair_pixels(self, view: str = 'image') -> Tensor:
        """(n, 3, S, S) normalised images of the pairs, of a view.

        Raises:
            KeyError: the inputs have no such view.
        """
        pixels = self.pixels(view)
        return pixels[self.image_rows] if self.shares_images else pixels

    def images(self, view: str = 'image') -> ImagePrefix:
        """Prefix of the B images of a view.

        Raises:
            KeyError: the inputs have no such view.
        """
        if view not in self._images:
            self._images[view] = self.model.encode_image(self.pixels(view))
        return self._images[view]

    def finished(self, view: str = 'image') -> Tensor:
        """(B, H, W, C) un-normalised output of the last block for the B images, without text.

        Raises:
            KeyError: the inputs have no such view.
        """
        if view not in self._finished:
            self._finished[view] = self.model.backbone.finish_image(self.images(view))[1]
        return self._finished[view]

    def chosen_images(self, views: Sequence[str], rows: Tensor) -> ImagePrefix:
        """Prefix of some images of several views; only those are encoded.

        Args:
            views: their names.
            rows: (n,) int64 in the images of the first view, the B of the next, …

        Raises:
            KeyError: the inputs have no such view.
        """
        if not self.inputs:
            return ImagePrefix.cat([self.images(view) for view in views]).select(rows)
        pixels = torch.cat([self.pixels(view) for view in views])
        used, places = rows.unique(return_inverse=True)
        return self.model.encode_image(pixels[used]).select(places)

    def image(self, view: str = 'image') -> ImagePrefix:
        """Prefix of the images of the n pairs.

        Raises:
            KeyError: the inputs have no such view.
        """
        if not self.shares_images:
            return self.images(view)
        if view not in self._repeated:
            self._repeated[view] = self.images(view).select(self.image_rows)
        return self._repeated[view]

    @cached_property
    def text(self) -> TextPrefix:
        """Text prefix."""
        return self.model.backbone.encode_text(*self.tokens)

    @cached_property
    def fused(self) -> PairFeatures:
        """Features of the fused pairs."""
        return self.model.fuse(self.image(), self.text)

    @cached_property
    def image_features(self) -> Tensor:
        """(n, dim) features of the images of the pairs alone, of length 1."""
        features = self.model.features_of_map(self.finished())
        return features[self.image_rows] if self.shares_images else features

    @cached_property
    def text_features(self) -> Tensor:
        """(n, dim) features of the texts alone, of length 1."""
        return self.model.text_features(self.text)


def image_number(name: int | str) -> int:
    """An image id as a number: itself, or 62 bits of a hash of its name."""
    if isinstance(name, int):
        return name
    digest = hashlib.blake2b(str(name).encode(), digest_size=8).digest()
    return int.from_bytes(digest, 'big') >> 2
