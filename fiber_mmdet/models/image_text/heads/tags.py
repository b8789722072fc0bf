"""Multi-label classification of images, which gives an image tower something to start from."""

import torch
import torch.nn.functional as F
from mmdet.registry import MODELS
from mmengine.model import bias_init_with_prob
from torch import Tensor, nn

from fiber_mmdet.arguments import strict_arguments

from ..batch import EncodedBatch, PairEncoder
from .base import ObjectiveHead


@MODELS.register_module()
@strict_arguments
class ImageTagHead(ObjectiveHead):
    """Which of a list of tags hold for an image, from the image tower alone.

    FIBER starts from a Swin that was trained to classify images. This objective trains one as
    Swin is: LayerNorm, mean over the last map, one linear layer; with a sigmoid for each tag,
    since an image has many. Samples carry ``tags``, a list of numbers (:class:`TagsFromTexts`);
    an image has those of all its texts.

    Args:
        dim: channels of the joint space, not used.
        num_tags: tags in the list.
        prior_prob: probability of each tag at initialisation.
        loss_weight: factor of the loss.

    Raises:
        ValueError: ``prior_prob`` is not between 0 and 1.
    """

    def __init__(
        self, dim: int, num_tags: int, prior_prob: float = 0.1, loss_weight: float = 1.0
    ) -> None:
        super().__init__(dim, loss_weight)
        if not 0 < prior_prob < 1:
            raise ValueError(f'ImageTagHead.prior_prob={prior_prob} must lie between 0 and 1')
        self.num_tags = num_tags
        self.prior_prob = prior_prob

    def bind(self, model: PairEncoder) -> None:
        """Make the layers, as wide as the last stage of the image tower."""
        width = model.backbone.image.dims[-1]
        self.norm = nn.LayerNorm(width)
        self.classifier = nn.Linear(width, self.num_tags)

    def init_weights(self) -> None:
        """Linear layers as in the other heads, biases of the tags from ``prior_prob``."""
        super().init_weights()
        nn.init.constant_(self.classifier.bias, bias_init_with_prob(self.prior_prob))

    def logits(self, batch: EncodedBatch) -> Tensor:
        """(B, num_tags) float32 logits of the B images."""
        return self.classifier(self.norm(batch.finished()).mean((1, 2))).float()

    def targets(self, batch: EncodedBatch) -> Tensor:
        """(B, num_tags) float32, 1 where a tag holds.

        Raises:
            KeyError: samples have no tags.
            ValueError: a tag beyond ``num_tags``.
        """
        targets = torch.zeros(len(batch.texts_of_image), self.num_tags)
        for row, tags in zip(batch.image_rows.tolist(), batch.field('tags')):
            if tags and max(tags) >= self.num_tags:
                raise ValueError(
                    f'tag {max(tags)}, but num_tags={self.num_tags}: set it to the length of the '
                    'list of tags'
                )
            targets[row, list(tags)] = 1
        return targets.to(batch.device)

    def loss(self, batch: EncodedBatch) -> dict[str, Tensor]:
        """Binary cross entropy, summed over tags, mean over images.

        Raises:
            KeyError: samples have no tags.
            ValueError: a tag beyond ``num_tags``.
        """
        logits = self.logits(batch)
        loss = F.binary_cross_entropy_with_logits(logits, self.targets(batch), reduction='sum')
        return dict(loss=loss / len(logits))

    def predict(self, batch: EncodedBatch) -> list[dict]:
        """``pred_tags``, the (num_tags,) probabilities, for each pair."""
        scores = self.logits(batch).sigmoid()[batch.image_rows].cpu()
        return [dict(pred_tags=row) for row in scores]
