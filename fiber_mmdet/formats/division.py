"""A set of images divided at random, with its names in the same proportions in each part.

The rule is the iterative stratification of Sechidis et al. (*On the Stratification of Multi-Label
Data*, ECML PKDD 2011): the rarest name is dealt out first, each image to the part that lacks most
of it. Units are groups of equal images, so that none is in two parts.
"""

from collections import Counter
from collections.abc import Hashable, Sequence
from heapq import heapify, heappop, heappush

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
    of_name: dict[Hashable, list[int]] = {name: [] for name in counts}
    for i in order:
        for name in names[i]:
            of_name[name].append(i)
    place = {name: i for i, name in enumerate(counts)}  # decides between names that print alike
    waiting = counts.copy()  # groups that are not dealt out yet, of each name
    rarest = [(count, str(name), place[name], name) for name, count in waiting.items()]
    heapify(rarest)  # an entry whose count is not that of `waiting` any more is passed over
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
            waiting[name] -= 1
            if waiting[name]:
                heappush(rarest, (waiting[name], str(name), place[name], name))

    while rarest:
        count, *_, name = heappop(rarest)
        if count == waiting[name]:
            for i in of_name[name]:
                if part[i] < 0:
                    deal(i, lack[name])
    for i in order:
        if part[i] < 0:
            deal(i, room)
    return part
