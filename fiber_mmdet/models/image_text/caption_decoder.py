"""Captioning: the text tower reads its own past and the finished image."""

from typing import NamedTuple

import torch
from torch import Tensor, nn

from ..backbone import FIBERBackbone, ImagePrefix
from ..backbone.text_tower import LayerCache
from .readouts import LMHead


class ImageMemory(NamedTuple):
    """What text layers read of B images.

    Attributes:
        tokens: (B, N, C) un-normalised output of the last image block.
        layers: per text layer its (B, N, image_dim) input, or None for an unfused one.
    """

    tokens: Tensor
    layers: list[Tensor | None]


class CaptionDecoder(NamedTuple):
    """The parts of the model that write captions.

    The image is finished without text. Every text layer keeps its last LayerNorm;
    the fused ones read the image through their gate. A layer that was trained on
    a narrower stage reads the last one through its adapter.

    Attributes:
        backbone: both towers.
        text_proj: projection of text states to the joint space.
        words: the word decoder.
        adapters: text layer (as a string) -> linear map from the last image
            stage's channels to those that the layer reads.
    """

    backbone: FIBERBackbone
    text_proj: nn.Linear
    words: LMHead
    adapters: nn.ModuleDict

    def look(self, image: ImagePrefix) -> ImageMemory:
        """Finish B images, once for all of their captions."""
        tokens = self.backbone.finish_image(image)[1].flatten(1, 2)
        layers: list[Tensor | None] = []
        for i, dim in enumerate(self.backbone.fusion.image_dims):
            adapt = self.adapters[str(i)] if str(i) in self.adapters else nn.Identity()
            layers.append(None if dim is None else adapt(tokens))
        return ImageMemory(tokens, layers)

    def features(self, memory: ImageMemory, ids: Tensor, mask: Tensor | None = None) -> Tensor:
        """Captions in the joint space, each token after those before it.

        Args:
            memory: of B images.
            ids: (K * B, L) int64, K consecutive captions an image.
            mask: (K * B, L) bool, True at real tokens; None if padding need not be
                hidden: no token before it sees it anyway.

        Returns:
            (K * B, L, dim).
        """
        length = ids.shape[1]
        seen = torch.ones(length, length, dtype=torch.bool, device=ids.device).tril()
        if mask is not None:
            seen = seen & mask[:, None, None]
        x = self.backbone.text.embed(ids)
        for layer, image in zip(self.backbone.text.layers, memory.layers):
            x = self.backbone.run(layer, x, seen, image)
        return self.text_proj(x)

    def logits(self, memory: ImageMemory, ids: Tensor, mask: Tensor | None = None) -> Tensor:
        """As :meth:`features`, then (K * B, L, vocabulary) float32 logits of the next tokens."""
        return self.words(self.features(memory, ids, mask)).float()


class IncrementalDecoder:
    """Captions token by token; keys and values of the past, and of the image, are kept.

    Args:
        parts: what writes captions.
        memory: of B images.
    """

    def __init__(self, parts: CaptionDecoder, memory: ImageMemory) -> None:
        self.parts = parts
        self.memory = memory
        self.caches = [LayerCache() for _ in memory.layers]
        self.length = 0

    def __call__(self, tokens: Tensor, rows: Tensor | None = None) -> Tensor:
        """Append a token to each caption.

        Args:
            tokens: (K * B,) int64, K consecutive captions an image.
            rows: (K * B,) int64, which caption of the call before each continues, of
                the same image; None for the one in its place.

        Returns:
            (K * B, vocabulary) float32 logits of what comes next.
        """
        text = self.parts.backbone.text
        x = text.embed(tokens[:, None], start=self.length)
        for layer, image, cache in zip(text.layers, self.memory.layers, self.caches):
            if rows is not None:
                cache.select(rows)
            x = layer(x, None, image=image, cache=cache)
        self.length += 1
        return self.parts.words(self.parts.text_proj(x[:, 0])).float()
