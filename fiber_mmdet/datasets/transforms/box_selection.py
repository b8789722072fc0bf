"""Dropping annotated boxes with everything that belongs to them."""

import numpy as np

PER_BOX = ('gt_bboxes', 'gt_bboxes_labels', 'gt_ignore_flags', 'gt_masks')


def keep_boxes(results: dict, keep: np.ndarray) -> None:
    """Keep some boxes of a sample, in place.

    Labels, ignore flags, masks and ``phrase_ids`` follow; the phrases
    themselves stay in the prompt.

    Args:
        results: a sample inside a pipeline, with ``gt_bboxes`` of N boxes.
        keep: (N,) bool.
    """
    if keep.all():
        return
    for key in PER_BOX:
        if results.get(key) is not None:
            results[key] = results[key][keep]
    if results.get('phrase_ids') is not None:
        results['phrase_ids'] = [i for i, kept in zip(results['phrase_ids'], keep) if kept]
