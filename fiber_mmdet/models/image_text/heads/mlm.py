"""Masked language modelling."""

import torch
import torch.nn.functional as F
from mmdet.registry import MODELS
from torch import Tensor

from fiber_mmdet.arguments import strict_arguments

from ..batch import EncodedBatch
from .base import ObjectiveHead, repeatable_draws

IGNORED = -100


@MODELS.register_module()
@strict_arguments
class MLMHead(ObjectiveHead):
    """Masked tokens are predicted from the fused text tokens (paper, section 3.2).

    Each token except special ones (RoBERTa's ``<s>`` and ``</s>``, BERT's ``[CLS]``, ``[SEP]``
    and ``[UNK]``) and padding is chosen with ``mask_prob``; of the chosen tokens, 80 % become
    ``<mask>``, 10 % a random token, and 10 % stay. In evaluation the choice is the same each
    time.

    Args:
        dim: channels of the joint space.
        mask_prob: probability with which a token is chosen.
        read_image: False: predict them from the text alone, as RoBERTa was trained, from which
            FIBER starts.
        loss_weight: factor of the loss.
    """

    uses_words = True

    def __init__(
        self,
        dim: int,
        mask_prob: float = 0.15,
        read_image: bool = True,
        loss_weight: float = 1.0,
    ) -> None:
        super().__init__(dim, loss_weight)
        self.mask_prob = mask_prob
        self.read_image = read_image

    def mask_tokens(self, batch: EncodedBatch) -> tuple[Tensor, Tensor]:
        """Choose tokens and mask them.

        Returns:
            (B, L) int64 masked ids, and (B, L) int64 labels: the id at chosen tokens, -100
            elsewhere.
        """
        from transformers import DataCollatorForLanguageModeling

        tokenizer = batch.model.tokenizer.tokenizer
        ids, mask = (x.cpu() for x in batch.tokens)
        special = torch.isin(ids, torch.tensor(tokenizer.all_special_ids)) | ~mask
        collator = DataCollatorForLanguageModeling(tokenizer, mlm_probability=self.mask_prob)
        with repeatable_draws(not self.training):
            ids, labels = collator.torch_mask_tokens(ids.clone(), special.clone())
        return ids.to(batch.device), labels.to(batch.device)

    def logits(self, batch: EncodedBatch, ids: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        """Logits at the chosen tokens.

        Args:
            batch: the pairs.
            ids: (B, L) int64 masked ids.
            labels: (B, L) int64, -100 except at the chosen tokens.

        Returns:
            (M, vocabulary) float32 logits and (M,) labels of the M chosen tokens.
        """
        model = batch.model
        text = model.backbone.encode_text(ids, batch.tokens[1])
        if self.read_image:
            tokens = model.fuse_text(batch.image(), text)
        else:
            tokens, _ = model.fused.text(model.backbone.finish_text(text))
        chosen = labels != IGNORED
        return model.words(tokens[chosen]).float(), labels[chosen]

    def loss(self, batch: EncodedBatch) -> dict[str, Tensor]:
        """Cross entropy, mean over the chosen tokens; 0 if there are none."""
        logits, labels = self.logits(batch, *self.mask_tokens(batch))
        total = F.cross_entropy(logits, labels, reduction='sum')
        return dict(loss=total / max(len(labels), 1))

    def predict(self, batch: EncodedBatch) -> list[dict]:
        """For each sample ``mlm_count`` chosen tokens, ``mlm_hits`` of them predicted correctly."""
        ids, labels = self.mask_tokens(batch)
        logits, wanted = self.logits(batch, ids, labels)
        hits = torch.zeros_like(labels)
        hits[labels != IGNORED] = (logits.argmax(-1) == wanted).long()
        counts = (labels != IGNORED).sum(1)
        return [
            dict(mlm_hits=h, mlm_count=c) for h, c in zip(hits.sum(1).tolist(), counts.tolist())
        ]
