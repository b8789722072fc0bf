"""The classifier of VQA and NLVR2."""

from torch import nn


class Classifier(nn.Sequential):
    """Linear, LayerNorm, GELU, Linear.

    Args:
        in_dim: input channels.
        hidden: inner channels.
        classes: outputs.
    """

    def __init__(self, in_dim: int, hidden: int, classes: int) -> None:
        super().__init__(
            nn.Linear(in_dim, hidden), nn.LayerNorm(hidden), nn.GELU(), nn.Linear(hidden, classes)
        )
