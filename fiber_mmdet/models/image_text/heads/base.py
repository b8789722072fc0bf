"""What every objective has."""

from mmengine.model import BaseModule
from torch import Tensor, nn

from ..batch import EncodedBatch
from ..readouts import init_linears


class ObjectiveHead(BaseModule):
    """An objective on image-text pairs.

    Subclasses take ``dim`` (channels of the joint space, filled in by the
    model) and their own arguments, and are registered in mmdet's ``MODELS``.

    Attributes:
        uses_words: the model's word decoder is needed.
        uses_hard_negatives: the objective reads ``batch.hard_negatives``, which an
            :class:`ITCHead` before it chooses.

    Args:
        dim: channels of the joint space.
        loss_weight: factor of the losses.
    """

    uses_words = False
    uses_hard_negatives = False

    def __init__(self, dim: int, loss_weight: float = 1.0) -> None:
        super().__init__()
        self.dim = dim
        self.loss_weight = loss_weight

    def bind(self, model: nn.Module) -> None:
        """Read sizes from the model, once, when it is built; not to be kept."""

    def loss(self, batch: EncodedBatch) -> dict[str, Tensor]:
        """Losses of a batch.

        Args:
            batch: the pairs.

        Returns:
            Scalars. Keys that begin with ``loss`` are trained on, others logged.
        """
        raise NotImplementedError

    def predict(self, batch: EncodedBatch) -> list[dict]:
        """Predictions: one dictionary of fields per sample."""
        raise NotImplementedError

    def init_weights(self) -> None:
        """See :func:`init_linears`."""
        init_linears(self)
