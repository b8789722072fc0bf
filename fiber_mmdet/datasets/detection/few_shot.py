"""Choosing the photos of a few-shot training set."""

import numpy as np


def pick_shots(records: list[dict], shots: int, seed: int | None = None) -> list[dict]:
    """Photos that give every category about ``shots`` photos.

    Photos are walked through one by one. A photo is kept if any of its
    categories still lacks some, and then counts once for each of its
    categories, however many boxes they have there. A category that comes along
    with others may therefore get more than ``shots`` photos, and gets fewer only
    if the data have no more. Photos without boxes are never kept.

    Args:
        records: with ``img_id`` and ``instances``.
        shots: photos wanted of each category.
        seed: order of the walk: None is the order of image ids (the rule of
            FIBER and GLIP), a number a shuffle of its own.

    Returns:
        The kept records, in the order they came in.
    """
    order = sorted(range(len(records)), key=lambda i: records[i]['img_id'])
    if seed is not None:
        order = np.random.default_rng(seed).permutation(order).tolist()
    taken: dict[int, int] = {}
    kept = set()
    for i in order:
        labels = {instance['bbox_label'] for instance in records[i]['instances']}
        if any(taken.get(label, 0) < shots for label in labels):
            kept.add(i)
            for label in labels:
                taken[label] = taken.get(label, 0) + 1
    return [record for i, record in enumerate(records) if i in kept]
