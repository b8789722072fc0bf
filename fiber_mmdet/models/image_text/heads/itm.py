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
        texts_per_image: of an image with more texts in the batch, this many, chosen at random, are
            matched, each a positive with its own negatives, which may be any of the batch. Each
            costs up to three fused passes. None: all.
        score: what pairs are ranked by in retrieval: 'log_odds' of a match, or 'logit' of
            the match class alone, as in the reference.
        loss_weight: factor of the loss.

    Raises:
        ValueError: an unknown ``negatives`` or ``score``, or a ``texts_per_image`` below 1.
    """

    def __init__(
        self,
        dim: int,
        negatives: str = 'hard',
        score: str = 'log_odds',
        texts_per_image: int | None = None,
        loss_weight: float = 1.0,
    ) -> None:
        super().__init__(dim, loss_weight)
        if negatives not in ('hard', 'view'):
            raise ValueError(f"negatives={negatives!r} must be 'hard' or 'view'")
        if score not in SCORES:
            raise ValueError(f'score={score!r} must be one of {SCORES}')
        if texts_per_image is not None:
            whole = isinstance(texts_per_image, int) and not isinstance(texts_per_image, bool)
            if not whole or texts_per_image < 1:
                raise ValueError(
                    f'ITMHead.texts_per_image={texts_per_image!r} must be a number of texts, at '
                    'least 1, or None for all'
                )
        self.texts_per_image = texts_per_image
        self.uses_hard_negatives = negatives == 'hard'
        self.score = score
        self.fc = nn.Linear(2 * dim, 2)

        self._without_negatives = 0  # batches in a row

    def lacks_pairs(self, batch_size: int, processes: int, texts: int = 1) -> str:
        """See the base class; for hard negatives, :class:`ITCHead` knows."""
        if self.uses_hard_negatives or batch_size * min(texts, self.texts_per_image or texts) > 1:
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
        lone = self.uses_hard_negatives and len(labels) == self.count(batch)
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
        """The m matched pairs, their images with false texts, their texts with false images.

        Returns:
            Prefixes of the images and texts of up to 3m pairs, and their (3m,) int64
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
        own = self.matched(batch)
        with_text, with_image = own[found.text_valid[own]], own[found.image_valid[own]]
        image, of_text = batch.image_rows, found.text_rows[with_text]
        image_rows = torch.cat([image[own], image[with_text], found.image_rows[with_image]])
        text_rows = torch.cat([own, of_text, with_image])
        labels = (torch.arange(len(image_rows), device=batch.device) < len(own)).long()
        return found.images.select(image_rows), found.texts.select(text_rows), labels

    def view_pairs(self, batch: EncodedBatch) -> tuple[ImagePrefix, TextPrefix, Tensor]:
        """The m matched pairs, of which a random half (rounded down) keeps its image.

        Returns:
            Prefixes of images and texts, and (m,) int64 labels, 1 for a match.

        Raises:
            KeyError: the inputs have no view ``false_image``.
        """
        own = self.matched(batch)
        labels = torch.zeros_like(own)
        labels[self.draw_matches(len(own)).to(batch.device)] = 1
        # chosen before they are encoded: many of the prefixes of either view would not be used
        rows = batch.image_rows[own] + (1 - labels) * len(batch.texts_of_image)
        text = batch.text if len(own) == len(batch) else batch.text.select(own)
        return batch.chosen_images(['image', 'false_image'], rows), text, labels

    def matched(self, batch: EncodedBatch) -> Tensor:
        """(m,) int64 pairs of a batch that are matched, in order."""
        if self.count(batch) == len(batch):
            return torch.arange(len(batch), device=batch.device)
        rows, first = [], 0
        for count in batch.texts_of_image:
            rows.append(first + self.draw_texts(count)[: self.texts_per_image])
            first += count
        return torch.cat(rows).sort().values.to(batch.device)

    def count(self, batch: EncodedBatch) -> int:
        """Number m of the pairs of a batch that are matched."""
        return sum(min(count, self.texts_per_image or count) for count in batch.texts_of_image)

    def draw_texts(self, count: int) -> Tensor:
        """(count,) int64 numbers of the texts of an image in random order."""
        return torch.randperm(count)

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
