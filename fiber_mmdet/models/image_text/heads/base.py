"""What objectives have in common."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from mmengine.logging import print_log
from mmengine.model import BaseModule
from torch import Tensor, nn

from ..batch import EncodedBatch, PairEncoder
from ..joint_space import init_linears


class ObjectiveHead(BaseModule):
    """An objective on image-text pairs.

    Subclasses take ``dim`` (channels of the joint space, filled in by the
    model) and their own arguments, and are registered in mmdet's ``MODELS``.

    Attributes:
        uses_words: whether the objective needs the model's LM head.
        uses_hard_negatives: whether the objective reads ``batch.hard_negatives``, which
            an :class:`ITCHead` before it chooses.

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
        self._warned: set[str] = set()

    def bind(self, model: PairEncoder) -> None:
        """Read sizes from the model, once, when it is built; the model must not be kept."""

    def loss(self, batch: EncodedBatch) -> dict[str, Tensor]:
        """Losses of a batch.

        Args:
            batch: the pairs.

        Returns:
            Scalars. Keys that begin with ``loss`` are trained on, others are logged.
        """
        raise NotImplementedError

    def lacks_pairs(self, batch_size: int, processes: int, texts: int = 1) -> str:
        """Why a training with batches of this size can never learn the objective; '' if it can.

        Args:
            batch_size: images in the batch of one process.
            processes: number of processes.
            texts: most texts of an image.
        """
        return ''

    def warn_once(self, text: str) -> None:
        """Log a warning, the first time that it is given."""
        if text not in self._warned:
            self._warned.add(text)
            print_log(f'{type(self).__name__}: {text}', 'current', logging.WARNING)

    def predict(self, batch: EncodedBatch) -> list[dict]:
        """Predictions: one dictionary of fields per sample."""
        raise NotImplementedError

    def init_weights(self) -> None:
        """See :func:`init_linears`."""
        init_linears(self)


class Classifier(nn.Sequential):
    """Linear, LayerNorm, GELU, Linear: (B, in_dim) to (B, classes), for VQA and NLVR2.

    Args:
        in_dim: input channels.
        hidden: inner channels.
        classes: outputs.
    """

    def __init__(self, in_dim: int, hidden: int, classes: int) -> None:
        super().__init__(
            nn.Linear(in_dim, hidden), nn.LayerNorm(hidden), nn.GELU(), nn.Linear(hidden, classes)
        )


@contextmanager
def repeatable_draws(enabled: bool) -> Iterator[None]:
    """A context whose random draws on the CPU are the same each time.

    Random numbers drawn after it do not depend on it.

    Args:
        enabled: False leaves everything as it is.
    """
    with torch.random.fork_rng(devices=[], enabled=enabled):
        if enabled:
            torch.default_generator.manual_seed(0)  # not those of GPUs, which are not restored
        yield
