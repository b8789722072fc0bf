"""The image-text model as a direct port runs it."""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from fiber_mmdet.models.image_text import FIBERForVL
from fiber_mmdet.models.image_text.decoding import beam_search

from .plain_backbone import PlainBackbone


class PlainImageText:
    """Pairs from pixels, captions without caches, texts padded to the longest allowed.

    Args:
        ours: the model whose weights are used.
    """

    def __init__(self, ours: FIBERForVL) -> None:
        self.ours = ours
        self.backbone = PlainBackbone(ours.backbone)

    def tokenize(self, texts: Sequence[str]) -> tuple[Tensor, Tensor]:
        """(B, max_tokens) ids and mask."""
        ids, mask = self.ours.tokenize(texts)
        missing, device = self.ours.max_tokens - ids.shape[1], self.ours.image_norm.weight.device
        return (
            F.pad(ids, (0, missing), value=self.ours.tokenizer.pad_id).to(device),
            F.pad(mask, (0, missing)).to(device),
        )

    # ------------------------------------------------------------- matching
    @torch.no_grad()
    def match_scores(
        self, images: Tensor, texts: Sequence[str], pairs_per_pass: int, limit: int | None = None
    ) -> Tensor:
        """Scores of every image with every text, each pair from its pixels, image by image.

        Args:
            images: (I, 3, S, S) normalised.
            texts: T texts.
            pairs_per_pass: pairs in a batch.
            limit: stop after this many pairs.

        Returns:
            (I, T) on the CPU, NaN for pairs beyond the limit.
        """
        ids, mask = self.tokenize(texts)
        scores = torch.full((len(images), len(texts)), torch.nan)
        places = [
            (i, start) for i in range(len(images)) for start in range(0, len(texts), pairs_per_pass)
        ]
        left = len(images) * len(texts) if limit is None else limit
        for i, start in places:
            rows = slice(start, start + min(pairs_per_pass, left, len(texts) - start))
            found = self.match(
                images[i : i + 1].repeat(rows.stop - rows.start, 1, 1, 1), ids[rows], mask[rows]
            )
            scores[i, rows] = found.float().cpu()
            left -= len(found)
            if left <= 0:
                break
        return scores

    def match(self, images: Tensor, ids: Tensor, mask: Tensor) -> Tensor:
        """(B,) scores of pairs."""
        readout = self.ours.fused
        _, image, text = self.backbone(images, ids, mask)
        text = torch.tanh(readout.text_pooler.dense(readout.text_proj(text)[:, 0]))
        image = readout.image_proj(image.flatten(1, 2)).mean(1)
        image = torch.tanh(readout.image_pooler.dense(image))
        return self.ours.heads['itm'].match_scores(torch.cat([text, image], -1))

    # ------------------------------------------------------------- captions
    @torch.no_grad()
    def encode(self, images: Tensor) -> Tensor:
        """Image states that captions attend to: (B, N, C)."""
        return self.backbone.image_alone(images).flatten(1, 2)

    @torch.no_grad()
    def generate(self, states: Tensor) -> Tensor:
        """(B, T) tokens of captions by the head's beam search, from (B, N, C) states."""
        head = self.ours.heads['caption']
        captioner = head.captioner(self.ours)
        first = torch.full((len(states),), captioner.start, device=states.device)
        return beam_search(
            WholePrefix(self, states),
            first,
            captioner.special,
            head.beam_size,
            head.max_new_tokens,
            head.legacy_beam,
        )

    def caption_logits(self, states: Tensor, ids: Tensor) -> Tensor:
        """Logits after each token of B captions of B images: (B, L, vocabulary)."""
        adapters = self.ours.heads['caption'].adapters
        layers = [
            None
            if width is None
            else adapters[str(number)](states)
            if str(number) in adapters
            else states
            for number, width in enumerate(self.ours.backbone.fusion.image_dims)
        ]
        length = ids.shape[1]
        causal = torch.full((length, length), -torch.inf, device=ids.device).triu(1)
        x = self.ours.fused.text_proj(self.backbone.text_alone(ids, causal[None, None], layers))
        words = self.ours.words
        return words.decoder(words.norm(F.gelu(words.dense(x)))) + words.bias


class WholePrefix:
    """A step of beam search that runs each beam again from its first token.

    Args:
        plain: the model.
        states: (B, N, C), see :meth:`PlainImageText.encode`.
    """

    def __init__(self, plain: PlainImageText, states: Tensor) -> None:
        self.plain = plain
        self.states = states
        self.ids: Tensor | None = None

    def __call__(self, tokens: Tensor, rows: Tensor | None = None) -> Tensor:
        """Append ``tokens`` (R,) to captions ``rows``: (R, vocabulary) logits of the next ones."""
        if self.ids is None:
            self.ids = tokens[:, None]
        else:
            ids = self.ids if rows is None else self.ids[rows]
            self.ids = torch.cat([ids, tokens[:, None]], 1)
        states = self.states.repeat_interleave(len(self.ids) // len(self.states), 0)
        return self.plain.caption_logits(states, self.ids)[:, -1].float()
