"""The text tower as a causal decoder of captions, over finished image states."""

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..backbone import FIBERBackbone, ImagePrefix
from ..backbone.text_layers import LayerCache
from .joint_space import LMHead


class EncoderStates(NamedTuple):
    """What the decoder's cross-attention reads of B images.

    Attributes:
        tokens: (B, N, C) un-normalised output of the last image block.
        layers: for each text layer its (B, N, image_dim) input, None for an unfused layer.
    """

    tokens: Tensor
    layers: list[Tensor | None]

    def select(self, rows: Tensor) -> 'EncoderStates':
        """States of the images ``rows``, (R,) int64, with repetition."""
        once: dict[int, Tensor] = {}  # layers without adapter read the tokens themselves
        for state in (self.tokens, *self.layers):
            if state is not None and id(state) not in once:
                once[id(state)] = state[rows]
        layers = [None if state is None else once[id(state)] for state in self.layers]
        return EncoderStates(once[id(self.tokens)], layers)


class NextTokens(NamedTuple):
    """How well the next tokens of R captions are predicted.

    Attributes:
        losses: (R, L) float32, at each position the cross entropy of the token after it,
            0 where that is padding.
        mask: (R, L) bool, False where the token after a position is padding.
        hits: (M,) bool for the M positions of ``mask``: whether the most likely token is
            the right one.
    """

    losses: Tensor
    mask: Tensor
    hits: Tensor

    def mean(self) -> Tensor:
        """Mean cross entropy over the tokens of the batch, 0 if there are none."""
        return self.losses.sum() / self.mask.sum().clamp(min=1)

    def accuracy(self) -> Tensor:
        """Share of tokens that are the most likely ones, 0 if there are none."""
        return self.hits.float().sum() / max(len(self.hits), 1)


class CaptionDecoder(NamedTuple):
    """The parts of the model that decode captions.

    The image is encoded without text. Every text layer keeps its last LayerNorm;
    the fused ones read the image through their gate. A layer that was trained on
    a narrower stage reads the last one through its adapter.

    Attributes:
        backbone: both towers.
        text_proj: projection of text states to the joint space.
        words: the LM head.
        adapters: number of a text layer, as a string -> linear map from the channels of
            the last image stage to those that the layer reads.
    """

    backbone: FIBERBackbone
    text_proj: nn.Linear
    words: LMHead
    adapters: nn.ModuleDict

    def encode(self, image: ImagePrefix) -> EncoderStates:
        """States of B images, used by all of their captions."""
        return self.states(self.backbone.finish_image(image)[1])

    def states(self, last: Tensor) -> EncoderStates:
        """States of B images.

        Args:
            last: (B, H, W, C) un-normalised output of the last image block, without text.
        """
        tokens = last.flatten(1, 2)
        layers: list[Tensor | None] = []
        for i, dim in enumerate(self.backbone.fusion.image_dims):
            adapt = self.adapters[str(i)] if str(i) in self.adapters else nn.Identity()
            layers.append(None if dim is None else adapt(tokens))
        return EncoderStates(tokens, layers)

    def features(self, states: EncoderStates, ids: Tensor, mask: Tensor | None = None) -> Tensor:
        """Captions in the joint space; each token sees itself and the tokens before it.

        Args:
            states: of B images.
            ids: (K * B, L) int64, K consecutive captions per image.
            mask: (K * B, L) bool, True at real tokens; None if padding need not be
                hidden, since no token before it sees it anyway.

        Returns:
            (K * B, L, dim).
        """
        length = ids.shape[1]
        seen = torch.ones(length, length, dtype=torch.bool, device=ids.device).tril()
        if mask is not None:
            seen = seen & mask[:, None, None]
        x = self.backbone.text.embed(ids)
        for layer, image in zip(self.backbone.text.layers, states.layers):
            x = self.backbone.run(layer, x, seen, image)
        return self.text_proj(x)

    def logits(self, states: EncoderStates, ids: Tensor, mask: Tensor | None = None) -> Tensor:
        """(K * B, L, vocabulary) float32 logits of the next tokens.

        Args:
            states: of B images.
            ids: (K * B, L) int64, see :meth:`features`.
            mask: (K * B, L) bool or None, see :meth:`features`.
        """
        return self.words(self.features(states, ids, mask)).float()

    def score(self, states: EncoderStates, ids: Tensor, mask: Tensor) -> NextTokens:
        """Teacher forcing: each token of given captions is predicted from those before it.

        Args:
            states: of B images.
            ids: (K * B, L) int64 with ``<s>``, K consecutive captions per image.
            mask: (K * B, L) bool, True at real tokens.
        """
        # the token after the last column is padding
        wanted = torch.cat([mask[:, 1:], torch.zeros_like(mask[:, :1])], 1)
        targets = ids.roll(-1, 1)[wanted]
        logits = self.words(self.features(states, ids, mask)[wanted]).float()
        losses = logits.new_zeros(wanted.shape).masked_scatter(
            wanted, F.cross_entropy(logits, targets, reduction='none')
        )
        return NextTokens(losses, wanted, logits.argmax(-1) == targets)


class IncrementalDecoder:
    """Captions token by token, with cached keys and values of the past and of the image.

    Args:
        decoder: the parts that decode.
        states: of B images.
    """

    def __init__(self, decoder: CaptionDecoder, states: EncoderStates) -> None:
        self.decoder = decoder
        self.states = states
        self.caches = [LayerCache() for _ in states.layers]
        self.length = 0

    def __call__(self, tokens: Tensor, rows: Tensor | None = None) -> Tensor:
        """Append a token to each caption.

        Args:
            tokens: (K * B,) int64, K consecutive captions per image.
            rows: (K * B,) int64, which caption of the previous call, of the same image, each
                one continues; None for the one in its place.

        Returns:
            (K * B, vocabulary) float32 logits of the next tokens.
        """
        text = self.decoder.backbone.text
        x = text.embed(tokens[:, None], start=self.length)
        for layer, image, cache in zip(text.layers, self.states.layers, self.caches):
            if rows is not None:
                cache.select(rows)
            x = layer(x, None, image=image, cache=cache)
        self.length += 1
        return self.decoder.words(self.decoder.text_proj(x[:, 0])).float()
