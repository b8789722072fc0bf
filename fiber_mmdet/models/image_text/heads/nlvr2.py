"""Statements about two images (NLVR2)."""

import torch
import torch.nn.functional as F
from mmdet.registry import MODELS
from torch import Tensor

from fiber_mmdet.arguments import strict_arguments

from ..batch import EncodedBatch
from .base import Classifier, ObjectiveHead


@MODELS.register_module()
@strict_arguments
class NLVR2Head(ObjectiveHead):
    """Whether a statement is true of two images, each of which is fused with it separately.

    The images are the views ``image`` (left) and ``image_1`` (right); samples
    carry ``label``, 1 for true.

    Args:
        dim: channels of the joint space.
        loss_weight: factor of the loss.
    """

    def __init__(self, dim: int, loss_weight: float = 1.0) -> None:
        super().__init__(dim, loss_weight)
        self.classifier = Classifier(4 * dim, 2 * dim, 2)

    def logits(self, batch: EncodedBatch) -> Tensor:
        """(B, 2) float32 logits, false and true."""
        second = batch.model.fuse(batch.image('image_1'), batch.text)
        return self.classifier(torch.cat([batch.fused.pooled, second.pooled], -1)).float()

    def loss(self, batch: EncodedBatch) -> dict[str, Tensor]:
        """Cross entropy, and ``accuracy``.

        Raises:
            KeyError: samples have no ``label``, or the inputs no view ``image_1``.
        """
        labels = torch.tensor(batch.field('label'), device=batch.device)
        logits = self.logits(batch)
        accuracy = (logits.argmax(-1) == labels).float().mean()
        return dict(loss=F.cross_entropy(logits, labels), accuracy=accuracy)

    def predict(self, batch: EncodedBatch) -> list[dict]:
        """``pred_label``, 1 for true, and ``pred_scores``, the (2,) probabilities."""
        scores = self.logits(batch).detach().softmax(-1)
        return [
            dict(pred_label=label, pred_scores=score)
            for label, score in zip(scores.argmax(-1).tolist(), scores.cpu())
        ]
