"""Losses as they are logged, for both models."""

import torch
from mmengine.dist import all_reduce
from mmengine.model import BaseModel
from torch import Tensor


class MeanLoggedLosses(BaseModel):
    """Base of models whose logged losses are means over all processes, not those of the first."""

    def parse_losses(self, losses: dict[str, Tensor]) -> tuple[Tensor, dict[str, Tensor]]:
        """Total and logged losses of a batch.

        Args:
            losses: name -> scalar or list of scalars; those with ``loss`` in their name are summed.

        Returns:
            The loss of this process, to be differentiated; the values that are logged.
        """
        total, logged = super().parse_losses(losses)
        values = torch.stack([value.detach().float() for value in logged.values()])
        all_reduce(values, op='mean')
        return total, type(logged)(zip(logged, values))
