"""Visual question answering as classification."""

from typing import cast

import torch
import torch.nn.functional as F
from mmdet.registry import MODELS
from mmengine.model import bias_init_with_prob
from torch import Tensor, nn

from fiber_mmdet.arguments import strict_arguments

from ..batch import EncodedBatch
from .base import Classifier, ObjectiveHead


@MODELS.register_module()
@strict_arguments
class VQAHead(ObjectiveHead):
    """Answers from a fixed list, with soft targets.

    Samples carry ``answer_labels`` and ``answer_scores``, lists of equal length.

    Args:
        dim: channels of the joint space.
        num_answers: answers in the list (3129 for VQAv2).
        loss_weight: factor of the loss.
        prior_prob: probability of every answer at initialisation; 0.5 in the reference.
            1 / ``num_answers`` starts at the base rate, which saves a short training its
            first steps.

    Raises:
        ValueError: ``prior_prob`` is not between 0 and 1.
    """

    def __init__(
        self, dim: int, num_answers: int = 3129, loss_weight: float = 1.0, prior_prob: float = 0.5
    ) -> None:
        super().__init__(dim, loss_weight)
        if not 0 < prior_prob < 1:
            raise ValueError(f'VQAHead.prior_prob={prior_prob} must lie between 0 and 1')
        self.num_answers = num_answers
        self.prior_prob = prior_prob
        self.classifier = Classifier(2 * dim, 2 * dim, num_answers)

    def init_weights(self) -> None:
        """Linear layers as in the other heads, biases of the answers from ``prior_prob``."""
        super().init_weights()
        last = cast(nn.Linear, self.classifier[-1])
        nn.init.constant_(last.bias, bias_init_with_prob(self.prior_prob))

    def targets(self, batch: EncodedBatch) -> Tensor:
        """(B, num_answers) float32 target scores in [0, 1].

        Raises:
            KeyError: samples have no answers.
            ValueError: an answer beyond ``num_answers``.
        """
        targets = torch.zeros(len(batch), self.num_answers)
        labels, scores = batch.field('answer_labels'), batch.field('answer_scores')
        for row, label, score in zip(targets, labels, scores):
            if label and max(label) >= self.num_answers:
                raise ValueError(
                    f'answer {max(label)}, but num_answers={self.num_answers}: set it '
                    'to the length of the answer list'
                )
            row[list(label)] = torch.tensor(score, dtype=torch.float32)
        return targets.to(batch.device)

    def loss(self, batch: EncodedBatch) -> dict[str, Tensor]:
        """Binary cross entropy, summed over answers, mean over the batch.

        Raises:
            KeyError: samples have no answers.
            ValueError: an answer beyond ``num_answers``.
        """
        logits = self.classifier(batch.fused.pooled).float()
        loss = F.binary_cross_entropy_with_logits(logits, self.targets(batch), reduction='sum')
        return dict(loss=loss / len(batch))

    def predict(self, batch: EncodedBatch) -> list[dict]:
        """``pred_answer``, an index into the list, and ``pred_answer_score``, its sigmoid."""
        # chosen by the logit: several large ones may have a sigmoid of 1
        logits, best = self.classifier(batch.fused.pooled).float().max(-1)
        return [
            dict(pred_answer=b, pred_answer_score=s)
            for b, s in zip(best.tolist(), logits.sigmoid().tolist())
        ]
