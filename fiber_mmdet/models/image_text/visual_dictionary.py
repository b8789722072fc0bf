"""SOHO's visual dictionary: online k-means over image features (Huang et al. 2021, section 3.2)."""

import torch
import torch.nn.functional as F
from mmengine.dist import all_reduce, broadcast
from torch import Tensor, nn

EPSILON = 1e-5
LIVE = 0.01  # average count, in cells per update, below which an entry counts as unused


class VisualDictionary(nn.Module):
    """Entries that follow the features nearest to them; they have no gradient.

    In training, counts and sums of the features nearest to each entry, over all
    processes, enter exponential moving averages, whose ratio is the entry. All
    buffers are float32 and part of a checkpoint.

    Differs from SOHO's code: averages start at the entries themselves with a
    count of one, so that entries that are not used yet stay where they are.

    Args:
        size: entries K.
        dim: channels D.
        momentum: weight of the old averages. SOHO's code runs with 0.4, the
            first value of a ramp that it never climbs.
        reseed: all entries start on random features of the first batch, and those
            that have hardly been used for long (average count below 0.01) are moved to
            other features. SOHO has no such step: a few entries close to the features
            take all of them, and unused ones shrink to zero in time.
    """

    embed: Tensor
    embed_avg: Tensor
    cluster_size: Tensor
    updates: Tensor

    def __init__(self, size: int, dim: int, momentum: float = 0.99, reseed: bool = True) -> None:
        super().__init__()
        self.momentum = momentum
        self.reseed = reseed
        self.register_buffer('embed', torch.randn(size, dim))
        self.register_buffer('embed_avg', self.embed.clone())
        self.register_buffer('cluster_size', torch.ones(size))
        self.register_buffer('updates', torch.zeros((), dtype=torch.int64))
        self._started = False

    @torch.no_grad()
    def nearest(self, x: Tensor) -> Tensor:
        """(…, D) features to the (…) int64 numbers of the entries nearest to them (Euclidean)."""
        with torch.autocast(x.device.type, enabled=False):
            # |x - d|^2 without |x|^2, the same for all entries
            return (self.embed.square().sum(1) - 2 * x.float() @ self.embed.T).argmin(-1)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Quantise features and, in training, update the dictionary.

        Args:
            x: (…, D) features.

        Returns:
            (…, D) float32 quantised features, whose gradient goes to ``x`` unchanged
            (straight-through), and the (…) int64 entries, both from before the update.
        """
        x = x.float()
        if self.training and not self._started:
            self._start(x.detach().flatten(0, -2))
        index = self.nearest(x)
        if self.training:
            self.update(x.detach().flatten(0, -2), index.flatten())
        return x + (self.embed[index] - x).detach(), index

    @torch.no_grad()
    def _start(self, x: Tensor) -> None:
        for value in self.buffers():  # processes may have drawn different entries
            broadcast(value)
        if self.reseed and self.updates == 0:
            self._move(torch.ones_like(self.cluster_size, dtype=torch.bool), x)
            self.embed.copy_(self.embed_avg)
        self._started = True

    @torch.no_grad()
    def update(self, x: Tensor, index: Tensor) -> None:
        """One step of the moving averages.

        Args:
            x: (M, D) float32 features of this process.
            index: (M,) int64, the entry of each.
        """
        self.updates += 1
        rows = F.pad(x, (0, 1), value=1.0)  # sums, and the count as one more channel
        totals = x.new_zeros(len(self.embed), rows.shape[1]).index_add_(0, index, rows)
        all_reduce(totals)
        self.embed_avg.lerp_(totals[:, :-1], 1 - self.momentum)
        self.cluster_size.lerp_(totals[:, -1], 1 - self.momentum)
        unused = self.cluster_size.lt(LIVE)
        if self.reseed and unused.any():  # in all processes at once: their counts are the same
            self._move(unused, x)
        total = self.cluster_size.sum()
        sizes = (self.cluster_size + EPSILON) / (total + len(self.embed) * EPSILON) * total
        self.embed.copy_(self.embed_avg / sizes[:, None])

    def _move(self, entries: Tensor, x: Tensor) -> None:
        """Move the averages of chosen entries, (K,) bool, to random rows of (M, D) features."""
        features = x[torch.randint(len(x), (int(entries.sum()),)).to(x.device)]
        broadcast(features)
        self.embed_avg[entries] = features
        self.cluster_size[entries] = 1.0

    def perplexity(self) -> Tensor:
        """Scalar: number of equally used entries with the same entropy; at most K."""
        share = self.cluster_size / self.cluster_size.sum()
        return torch.special.entr(share).sum().exp()

    def live_fraction(self) -> Tensor:
        """Scalar: share of the entries in use, with an average count of at least 0.01."""
        return self.cluster_size.ge(LIVE).float().mean()
