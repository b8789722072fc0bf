"""Image-text matching."""

import torch
import torch.nn.functional as F
from mmdet.registry import MODELS
from torch import Tensor, nn

from fiber_mmdet.arguments import strict_arguments

from ...backbone import ImagePrefix, TextPrefix
from ..batch import EncodedBatch
from .base import ObjectiveHead

SCORES = ('log_odds', 'logit')


@MODELS.register_module()
@strict_arguments
class ITMHead(ObjectiveHead):
    """Whether image and text belong together, from the fused pair (paper, section 3.2).

    Args:
        dim: channels of the joint space.
        negatives: 'hard': each image with a similar text and each text with a
            similar image, chosen by the :class:`ITCHead` before this one; 'view':
            half of the pairs get the image of the view ``false_image``.
        score: what pairs are ranked by in retrieval: 'log_odds' of a match, or 'logit' of
            the match class alone, as in the reference.
        loss_weight: factor of the loss.

    Raises:
        ValueError: an unknown ``negatives`` or ``score``.
    """

    def __init__(
        self, dim: int, negatives: str = 'hard', score: str = 'log_odds', loss_weight: float = 1.0
    ) -> None:
        super().__init__(dim, loss_weight)
        if negatives not in ('hard', 'view'):
            raise ValueError(f"negatives={negatives!r} must be 'hard' or 'view'")
        if score not in SCORES:
            raise ValueError(f'score={score!r} must be one of {SCORES}')
        self.uses_hard_negatives = negatives == 'hard'
        self.score = score
        self.fc = nn.Linear(2 * dim, 2)

        self._without_negatives = 0  # batches in a row

    def lacks_pairs(self, batch_size: int, processes: int, texts: int = 1) -> str:
        """See the base class; for hard negatives, :class:`ITCHead` knows."""
        if self.uses_hard_negatives or batch_size * texts > 1:
            return ''
        return (
            'of a batch of 1 pair, no pair keeps its image (half, rounded down), and matching '
            'would see false pairs only. Set train_dataloader.batch_size to 2 or more'
        )

    def loss(self, batch: EncodedBatch) -> dict[str, Tensor]:
        """Cross entropy of match and no match, and ``accuracy``.

        Raises:
            KeyError: the inputs have no view ``false_image``.
            ValueError: no hard negatives.
        """
        image, text, labels = (self.hard_pairs if self.uses_hard_negatives else self.view_pairs)(
            batch
        )
        # the first batch of 1 finds an empty queue
        lone = self.uses_hard_negatives and len(labels) == len(batch)
        self._without_negatives = self._without_negatives + 1 if lone else 0
        if self._without_negatives > 1:
            self.warn_once(
                'batches without negatives: all pairs match, and loss and accuracy say nothing. '
                'Raise train_dataloader.batch_size, or the queue_size of ITCHead'
            )
        logits = self.fc(batch.model.fuse(image, text).pooled).float()
        accuracy = (logits.argmax(-1) == labels).float().mean()
        return dict(loss=F.cross_entropy(logits, labels), accuracy=accuracy)

    def hard_pairs(self, batch: EncodedBatch) -> tuple[ImagePrefix, TextPrefix, Tensor]:
        """The n pairs, the images with false texts, the texts with false images.

        Returns:
            Prefixes of the images and texts of up to 3n pairs, and their (3n,) int64
            labels, 1 for a match.

        Raises:
            ValueError: no hard negatives.
        """
        found = batch.hard_negatives
        if found is None:
            raise ValueError(
                "ITMHead(negatives='hard') needs an ITCHead before it in heads, which "
                "chooses the negatives; without one, set negatives='view'"
            )
        own, image = torch.arange(len(batch), device=batch.device), batch.image_rows
        image_rows = torch.cat(
            [image, image[found.text_valid], found.image_rows[found.image_valid]]
        )
        text_rows = torch.cat([own, found.text_rows[found.text_valid], own[found.image_valid]])
        labels = (torch.arange(len(image_rows), device=batch.device) < len(batch)).long()
        return found.images.select(image_rows), found.texts.select(text_rows), labels

    def view_pairs(self, batch: EncodedBatch) -> tuple[ImagePrefix, TextPrefix, Tensor]:
        """The n pairs, of which a random half (rounded down) keeps its image.

        Returns:
            Prefixes of images and texts, and (n,) int64 labels, 1 for a match.

        Raises:
            KeyError: the inputs have no view ``false_image``.
        """
        n = len(batch)
        labels = torch.zeros(n, dtype=torch.long, device=batch.device)
        labels[self.draw_matches(n).to(batch.device)] = 1
        # chosen before they are encoded: many of the prefixes of either view would not be used
        rows = batch.image_rows + (1 - labels) * len(batch.texts_of_image)
        return batch.chosen_images(['image', 'false_image'], rows), batch.text, labels

    def draw_matches(self, n: int) -> Tensor:
        """(n // 2,) int64 rows that keep their image."""
        return torch.randperm(n)[: n // 2]

    def match_scores(self, pooled: Tensor) -> Tensor:
        """(B, 2 * dim) pooled pairs to (B,) scores, higher for a better match."""
        logits = self.fc(pooled).float()
        return logits[:, 1] - logits[:, 0] if self.score == 'log_odds' else logits[:, 1]

    def predict(self, batch: EncodedBatch) -> list[dict]:
        """``pred_match``, the probability that the pair belongs together."""
        probability = self.fc(batch.fused.pooled).float().softmax(-1)[:, 1]
        return [dict(pred_match=p) for p in probability.tolist()]
