"""Losses as they are logged."""

import torch
from mmengine.dist import all_reduce
from torch import Tensor


class MeanLoggedLosses:
    """Mixin for models: what is logged is the mean over the processes, not the first one's."""

    def parse_losses(self, losses: dict[str, Tensor]) -> tuple[Tensor, dict[str, Tensor]]:
        """mmengine's, with the logged values averaged over all processes.

        Args:
            losses: name -> tensor or list of tensors; names with ``loss`` are summed.

        Returns:
            The loss of this process to differentiate, and what is logged.
        """
        total, logged = super().parse_losses(losses)
        values = torch.stack([value.detach().float() for value in logged.values()])
        all_reduce(values, op='mean')
        return total, type(logged)(zip(logged, values))
