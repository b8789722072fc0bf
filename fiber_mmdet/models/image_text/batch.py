"""A batch of image-text pairs on its way through the model, each part computed once."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from fiber_mmdet.structures import need_field

from ..backbone import ImagePrefix, TextPrefix
from .readouts import PairFeatures

if TYPE_CHECKING:
    from .model import FIBERForVL


@dataclass
class HardNegatives:
    """For each pair of a batch, another text and another image that nearly fit.

    Attributes:
        images: prefix of the images to choose from, those of the batch first.
        image_rows: (n,) int64, row of ``images`` for each text.
        image_valid: (n,) bool, False where there was nothing to choose from.
        texts: prefix of the texts to choose from, those of the batch first.
        text_rows: (n,) int64, row of ``texts`` for each image.
        text_valid: (n,) bool.
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

    Args:
        model: the model.
        inputs: view -> (B, 3, S, S) normalised images.
        samples: one per pair, with ``text`` and what the objectives need.
    """

    def __init__(self, model: 'FIBERForVL', inputs: dict[str, Tensor], samples: Sequence) -> None:
        self.model = model
        self.inputs = inputs
        self.samples = list(samples)
        self.hard_negatives: HardNegatives | None = None
        self._images: dict[str, ImagePrefix] = {}

    def __len__(self) -> int:
        return len(self.samples)

    @property
    def device(self) -> torch.device:
        """Where the images are."""
        return next(iter(self.inputs.values())).device

    def field(self, name: str) -> list:
        """One field of all samples.

        Raises:
            KeyError: names the field if a sample lacks it.
        """
        return [need_field(sample, name) for sample in self.samples]

    @cached_property
    def texts(self) -> list[str]:
        """The texts."""
        return self.field('text')

    @cached_property
    def tokens(self) -> tuple[Tensor, Tensor]:
        """(B, L) int64 ids and (B, L) bool mask, True at real tokens."""
        ids, mask = self.model.tokenize(self.texts)
        return ids.to(self.device), mask.to(self.device)

    @cached_property
    def image_ids(self) -> Tensor:
        """(B,) int64, equal where images of a data set are the same.

        Numbers of two data sets can agree by chance, as COCO's and Visual Genome's:
        a contrast then lacks one negative.
        """
        ids = [image_number(name) for name in self.field('image_id')]
        return torch.tensor(ids, device=self.device)

    def pictures(self, view: str = 'image') -> Tensor:
        """(B, 3, S, S) normalised images of a view.

        Raises:
            KeyError: the data have no such view.
        """
        if view not in self.inputs:
            raise KeyError(
                f'no view {view!r} among the inputs ({", ".join(self.inputs)}): '
                'the data set has to provide it (plain ITM: false_image=True)'
            )
        return self.inputs[view]

    def image(self, view: str = 'image') -> ImagePrefix:
        """Image prefix of a view.

        Raises:
            KeyError: the data have no such view.
        """
        if view not in self._images:
            self._images[view] = self.model.encode_image(self.pictures(view))
        return self._images[view]

    @cached_property
    def text(self) -> TextPrefix:
        """Text prefix."""
        return self.model.backbone.encode_text(*self.tokens)

    @cached_property
    def fused(self) -> PairFeatures:
        """The pairs, fused."""
        return self.model.fuse(self.image(), self.text)

    @cached_property
    def image_features(self) -> Tensor:
        """(B, dim) of the images alone, of length 1."""
        return self.model.image_features(self.image())

    @cached_property
    def text_features(self) -> Tensor:
        """(B, dim) of the texts alone, of length 1."""
        return self.model.text_features(self.text)


def image_number(name: int | str) -> int:
    """An image id as a number: itself, or 62 bits of a hash of its name."""
    if isinstance(name, int):
        return name
    digest = hashlib.blake2b(str(name).encode(), digest_size=8).digest()
    return int.from_bytes(digest, 'big') >> 2
