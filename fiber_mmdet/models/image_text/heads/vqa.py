"""Visual question answering as classification."""

import torch
import torch.nn.functional as F
from mmdet.registry import MODELS
from mmengine.model import bias_init_with_prob
from torch import Tensor, nn

from fiber_mmdet.arguments import strict_arguments

from ..batch import EncodedBatch
from .base import ObjectiveHead
from .classifier import Classifier


@MODELS.register_module()
@strict_arguments
class VQAHead(ObjectiveHead):
    """Answers from a fixed list, with soft targets.

    Samples carry ``answer_labels`` and ``answer_scores``, lists of equal length.

    Args:
        dim: channels of the joint space.
        num_answers: answers in the list (3129 for VQAv2).
        loss_weight: factor of the loss.
        prior_prob: probability of every answer at initialisation; 0.5 as in the
            reference. A short training saves the steps that 1 / ``num_answers``
            has for a start.

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
        """Linear layers as in the other heads, the answers' biases from the prior."""
        super().init_weights()
        nn.init.constant_(self.classifier[-1].bias, bias_init_with_prob(self.prior_prob))

    def targets(self, batch: EncodedBatch) -> Tensor:
        """(B, num_answers) scores in [0, 1].

        Raises:
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
        """Binary cross entropy, summed over answers, mean over the batch."""
        logits = self.classifier(batch.fused.pooled).float()
        loss = F.binary_cross_entropy_with_logits(logits, self.targets(batch), reduction='sum')
        return dict(loss=loss / len(batch))

    def predict(self, batch: EncodedBatch) -> list[dict]:
        """``pred_answer``, an index into the list, and ``pred_answer_score``, its sigmoid."""
        # by the logit: the sigmoid of all high ones is 1
        logits, best = self.classifier(batch.fused.pooled).float().max(-1)
        return [
            dict(pred_answer=b, pred_answer_score=s)
            for b, s in zip(best.tolist(), logits.sigmoid().tolist())
        ]
