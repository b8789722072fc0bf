"""Masked visual modelling over a visual dictionary (SOHO, Huang et al. 2021)."""

from dataclasses import replace

import torch
import torch.nn.functional as F
from mmdet.registry import MODELS
from torch import Tensor, nn

from fiber_mmdet.arguments import former_arguments, strict_arguments

from ...backbone import ImagePrefix
from ..batch import EncodedBatch, PairEncoder
from ..visual_dictionary import VisualDictionary
from .base import ObjectiveHead, repeatable_draws


@MODELS.register_module()
@former_arguments(ramp=None)
@strict_arguments
class MVMHead(ObjectiveHead):
    """Visual words hidden from the image are predicted from the fused image positions.

    The image prefix is averaged over the cells of the last stage and mapped to
    ``dim`` channels; a cell's visual word is the nearest entry of a
    :class:`VisualDictionary`. In a chosen image one cell is drawn, and all cells
    with its word are hidden, since neighbours would give it away. Then the image is
    fused with its text, and the logits are cosine similarities of the hidden positions
    with the entries. Other objectives are not affected.

    The map to ``dim`` channels keeps its random initial weights (a nearest entry passes no
    gradient), unless ``feed_words`` is set.

    Args:
        dim: channels of the joint space, and of the dictionary.
        num_words: entries of the dictionary.
        mask_prob: probability with which an image of the batch is chosen, in
            training; in evaluation all are. SOHO: 0.015.
        shared_cell: draw one cell for the whole batch, as SOHO's code does, instead of
            one for each image.
        logit_scale: factor of the cosine similarities. SOHO: 1, with which 2048
            words cannot be told apart (the loss stays above 5.6).
        feed_words: add a linear map of the quantised features to the tokens that are
            not hidden, in this objective's pass. SOHO feeds its words to all objectives.
        image_gradient: pass the gradient to the image tower before the fused blocks,
            as SOHO does. The tower may then make cells similar and words easy.
        momentum: see :class:`VisualDictionary`.
        reseed: see :class:`VisualDictionary`.
        loss_weight: factor of the loss.
    """

    def __init__(
        self,
        dim: int,
        num_words: int = 2048,
        mask_prob: float = 0.15,
        shared_cell: bool = False,
        logit_scale: float = 1 / 0.07,
        feed_words: bool = False,
        image_gradient: bool = False,
        momentum: float = 0.99,
        reseed: bool = True,
        loss_weight: float = 1.0,
    ) -> None:
        super().__init__(dim, loss_weight)
        self.mask_prob = mask_prob
        self.shared_cell = shared_cell
        self.logit_scale = logit_scale
        self.feed_words = feed_words
        self.image_gradient = image_gradient
        self.dictionary = VisualDictionary(num_words, dim, momentum, reseed)

    def bind(self, model: PairEncoder) -> None:
        """Make what depends on the width of the image prefix."""
        image, channels = model.backbone.image, model.backbone.fusion.prefix_dim
        self.side = image.dims[-1] // channels  # tokens a cell: merging halves and doubles
        self.project = nn.Linear(channels, self.dim).requires_grad_(self.feed_words)
        self.mask_token = nn.Parameter(0.02 * torch.randn(channels))
        self.word_input = nn.Linear(self.dim, channels) if self.feed_words else None

    def cell_features(self, tokens: Tensor) -> Tensor:
        """(B, H, W, C) prefix to (B, ceil(H / side), ceil(W / side), dim) features of the cells.

        Each cell is normalised, so that the dictionary's standard normal start
        lies within reach whatever the scale of the residual stream.
        """
        with torch.autocast(tokens.device.type, enabled=False):
            maps = tokens.float().movedim(-1, 1)
            cells = F.avg_pool2d(maps, self.side, ceil_mode=True).movedim(1, -1)
            return self.project(F.layer_norm(cells, cells.shape[-1:]))

    def choose(self, index: Tensor) -> Tensor:
        """Choose the hidden cells.

        Args:
            index: (B, h, w) int64, word of each cell.

        Returns:
            (B, h, w) bool, True at all cells with the word of the image's drawn
            cell; all False in images that are not chosen.
        """
        words = index.flatten(1)
        with repeatable_draws(not self.training):
            drawn = torch.randint(words.shape[1], (1 if self.shared_cell else len(words), 1))
            images = torch.rand(len(words)) < (self.mask_prob if self.training else 1.0)
        word = words.gather(1, drawn.expand(len(words), 1).to(index.device))
        return (index == word[..., None]) & images.to(index.device)[:, None, None]

    def hide(self, image: ImagePrefix, words: Tensor, hidden: Tensor) -> ImagePrefix:
        """The prefix without the hidden cells.

        Args:
            image: prefix of B images.
            words: (B, h, w, dim) quantised features.
            hidden: (B, h, w) bool.

        Returns:
            A prefix whose tokens in hidden cells are the mask vector.
        """
        tokens = image.tokens
        if self.word_input is not None:
            tokens = tokens + self._spread(self.word_input(words), tokens)
        mask = self._spread(hidden[..., None], tokens)
        return replace(image, tokens=torch.where(mask, self.mask_token.to(tokens), tokens))

    def _spread(self, cells: Tensor, tokens: Tensor) -> Tensor:
        """(B, h, w, C) cells, repeated for each of their tokens: (B, H, W, C)."""
        spread = cells.repeat_interleave(self.side, 1).repeat_interleave(self.side, 2)
        return spread[:, : tokens.shape[1], : tokens.shape[2]]

    def logits(self, batch: EncodedBatch) -> tuple[Tensor, Tensor, Tensor]:
        """Logits at the M hidden cells of the batch; in training all cells update the dictionary.

        Returns:
            (M, num_words) float32 logits, (M,) int64 words, (M,) int64 numbers of their samples.
        """
        image = batch.image()
        if not self.image_gradient:
            image = replace(image, tokens=image.tokens.detach())
        words, index = self.dictionary(self.cell_features(image.tokens))
        hidden = self.choose(index)
        rows = hidden.flatten(1).any(1).nonzero()[:, 0]
        mask = hidden[rows].flatten(1)
        if not len(rows):
            return self.dictionary.embed[:0] @ self.dictionary.embed.T, index[hidden], rows
        masked = self.hide(image.select(rows), words[rows], hidden[rows])
        found = batch.model.fuse(masked, batch.text.select(rows)).image[mask].float()
        with torch.autocast(found.device.type, enabled=False):
            scores = F.normalize(found, dim=-1) @ F.normalize(self.dictionary.embed, dim=-1).T
        return self.logit_scale * scores, index[hidden], rows[mask.nonzero()[:, 0]]

    def loss(self, batch: EncodedBatch) -> dict[str, Tensor]:
        """Cross entropy, mean over the hidden cells; 0 if there are none.

        Logged are ``perplexity``, the number of equally used words with the same entropy,
        and ``live``, the share of words in use.
        """
        logits, words, _ = self.logits(batch)
        # the second term is 0: the loss has a gradient even if nothing is hidden
        total = F.cross_entropy(logits, words, reduction='sum') + 0 * self.mask_token.sum()
        return dict(
            loss=total / max(len(words), 1),
            perplexity=self.dictionary.perplexity(),
            live=self.dictionary.live_fraction(),
        )

    def predict(self, batch: EncodedBatch) -> list[dict]:
        """For each sample ``mvm_count`` hidden cells, ``mvm_hits`` of them predicted correctly."""
        logits, words, rows = self.logits(batch)
        hits = torch.zeros(len(batch), dtype=torch.long, device=rows.device)
        hits = hits.index_add(0, rows, (logits.argmax(-1) == words).long())
        counts = torch.bincount(rows, minlength=len(batch))
        return [dict(mvm_hits=h, mvm_count=c) for h, c in zip(hits.tolist(), counts.tolist())]

    def init_weights(self) -> None:
        """See :func:`init_linears`; initial features have the dictionary's unit variance."""
        super().init_weights()
        nn.init.normal_(self.project.weight, std=self.project.in_features**-0.5)
