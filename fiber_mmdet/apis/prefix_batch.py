"""Pairs whose prefixes are known, as heads expect a batch."""

from collections.abc import Mapping
from typing import TYPE_CHECKING

import torch

from fiber_mmdet.models.backbone import ImagePrefix, TextPrefix
from fiber_mmdet.models.image_text import EncodedBatch
from fiber_mmdet.structures import ImageTextSample

if TYPE_CHECKING:
    from fiber_mmdet.models import FIBERForVL


class PrefixBatch(EncodedBatch):
    """A batch that begins with prefixes instead of pixels and words.

    Args:
        model: the model.
        images: view -> prefix of B images.
        text: prefix of B texts; None for heads that read none.
    """

    def __init__(
        self, model: 'FIBERForVL', images: Mapping[str, ImagePrefix], text: TextPrefix | None = None
    ) -> None:
        count = len(next(iter(images.values())))
        super().__init__(model, {}, [ImageTextSample() for _ in range(count)])
        self._images.update(images)
        if text is not None:
            self.text = text

    @property
    def device(self) -> torch.device:
        """Where the images are."""
        return next(iter(self._images.values())).tokens.device
