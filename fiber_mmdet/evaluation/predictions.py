"""One order for the predictions of an image, whatever order they come in."""

import numpy as np
import torch


def in_order(sample: dict) -> dict:
    """A sample with its predictions by falling score, equal ones by label, then by box.

    Metrics break ties by position. With this order they depend on what was
    predicted alone, not on how a detector or a dump happened to list it.

    Args:
        sample: a data sample as a dict; ``pred_instances`` has ``bboxes``
            (N, 4) as x1, y1, x2, y2, ``scores`` (N,) and ``labels`` (N,), and
            maybe other fields of N entries.

    Returns:
        A copy of the sample whose ``pred_instances`` is on the CPU and in
        order. What was so before is shared, not copied.
    """
    pred = {
        key: value.detach().cpu() if isinstance(value, torch.Tensor) else value
        for key, value in sample['pred_instances'].items()
    }
    x1, y1, x2, y2 = pred['bboxes'].numpy().T
    order = np.lexsort((y2, x2, y1, x1, pred['labels'].numpy(), -pred['scores'].numpy()))
    if not np.array_equal(order, np.arange(len(order))):
        pred = {
            key: [value[i] for i in order] if isinstance(value, (list, tuple)) else value[order]
            for key, value in pred.items()
        }
    return {**sample, 'pred_instances': pred}
