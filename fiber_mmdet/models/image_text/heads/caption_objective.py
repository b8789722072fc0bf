"""The interface of captioning objectives, and the simplest one, maximum likelihood."""

from mmdet.registry import MODELS
from torch import Tensor, nn
from torch.distributed.fsdp import FSDPModule

from fiber_mmdet.arguments import strict_arguments

from ..batch import EncodedBatch
from ..captioner import Captioner

SMALL = 1e-9  # added to probabilities and counts, as in the reference


class CaptionObjective(nn.Module):
    """What a :class:`CaptionHead` is trained on.

    Subclasses are registered in mmdet's ``MODELS`` and take the arguments of their
    config, ``CaptionHead(objective=dict(type=…))``. Parameters and buffers, if any, are
    trained and saved as part of the head. See ``docs/extending/captioning_objective.md``.
    """

    def loss(self, captioner: Captioner, batch: EncodedBatch) -> dict[str, Tensor]:
        """Losses of a batch; ``self.training`` tells training from evaluation.

        Args:
            captioner: encodes images, generates and scores captions.
            batch: the pairs; ``batch.tokens`` are the captions.

        Returns:
            Scalars. Keys that begin with ``loss`` are trained on, others are logged.
        """
        raise NotImplementedError


def refuse_shards(objective: CaptionObjective, captioner: Captioner, why: str) -> None:
    """Refuse to train a model of which each process has a shard.

    Args:
        objective: that cannot.
        captioner: of the model.
        why: the reason.

    Raises:
        RuntimeError: the model is sharded.
    """
    if any(isinstance(part, FSDPModule) for part in captioner.decoder.backbone.modules()):
        raise RuntimeError(
            f'{type(objective).__name__} {why}: train it without configs/_base_/schedules/fsdp.py'
        )


@MODELS.register_module()
@strict_arguments
class MLELoss(CaptionObjective):
    """Maximum likelihood: the mean cross entropy over all tokens of the batch."""

    def __init__(self) -> None:
        super().__init__()

    def loss(self, captioner: Captioner, batch: EncodedBatch) -> dict[str, Tensor]:
        """``loss``, and ``accuracy``, the share of correctly predicted tokens."""
        states = captioner.for_captions(captioner.states(batch), batch)
        scored = captioner.score(states, *batch.tokens)
        return dict(loss=scored.mean(), accuracy=scored.accuracy())
