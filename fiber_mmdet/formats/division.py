"""A set of images divided at random, with its names in the same proportions in each part.

The rule is the iterative stratification of Sechidis et al. (*On the Stratification of Multi-Label
Data*, ECML PKDD 2011): the rarest name is dealt out first, each image to the part that lacks most
of it. Units are groups of equal images, so that none is in two parts.
"""

from collections import Counter
from collections.abc import Hashable, Sequence

import numpy as np


def divide(
    names: Sequence[set[Hashable]],
    sizes: Sequence[int],
    shares: Sequence[float],
    seed: int = 0,
) -> list[int]:
    """Divide groups of images.

    Args:
        names: those that occur in each group.
        sizes: number of images of each group.
        shares: of the parts; they need not sum to 1.
        seed: of the order in which groups are dealt out.

    Returns:
        The part of each group. A name that occurs in too few groups for all parts is in the part
        with the largest share.
    """
    share = np.asarray(shares, float) / sum(shares)
    room = share * sum(sizes)  # images that each part still lacks
    counts = Counter(name for found in names for name in found)
    lack = {name: share * count for name, count in counts.items()}
    order = np.random.default_rng(seed).permutation(len(names)).tolist()
    waiting = {name: [i for i in order if name in names[i]] for name in counts}
    part = [-1] * len(names)

    def deal(i: int, wish: np.ndarray) -> None:
        # the greatest wish; of several, the part with most room
        best = max(
            range(len(share)), key=lambda p: (round(float(wish[p]), 9), round(float(room[p]), 9))
        )
        part[i] = best
        room[best] -= sizes[i]
        for name in names[i]:
            lack[name][best] -= 1

    while waiting:
        waiting = {
            name: left
            for name, those in waiting.items()
            if (left := [i for i in those if part[i] < 0])
        }
        if waiting:
            rarest = min(waiting, key=lambda name: (len(waiting[name]), str(name)))
            for i in waiting[rarest]:
                deal(i, lack[rarest])
    for i in order:
        if part[i] < 0:
            deal(i, room)
    return part
