"""The order of predictions."""

import numpy as np
import pytest
import torch

from fiber_mmdet.evaluation.ordering import in_order
from made_samples import sample

BOXES = [[0, 0, 9, 9], [1, 0, 9, 9], [0, 0, 9, 9], [0, 0, 9, 8], [5, 5, 6, 6]]
SCORES, LABELS = [0.5, 0.5, 0.5, 0.5, 0.9], [1, 0, 0, 0, 3]
EXPECTED = [4, 3, 2, 1, 0]  # score; then label; then x1, y1, x2, y2


@pytest.mark.parametrize('seed', range(5))
def test_order_does_not_depend_on_the_order_before(seed):
    order = np.random.default_rng(seed).permutation(5)
    names = [f'box {i}' for i in range(5)]
    given = sample(
        *([values[i] for i in order] for values in (BOXES, SCORES, LABELS)), text='a . b'
    )
    given['pred_instances']['label_names'] = [names[i] for i in order]
    given['pred_instances']['masks'] = np.asarray(order)
    found = in_order(given)
    pred = found['pred_instances']
    assert pred['bboxes'].tolist() == [BOXES[i] for i in EXPECTED]
    assert pred['labels'].tolist() == [LABELS[i] for i in EXPECTED]
    assert pred['scores'].tolist() == pytest.approx([SCORES[i] for i in EXPECTED])
    assert pred['label_names'] == [names[i] for i in EXPECTED]
    assert pred['masks'].tolist() == EXPECTED
    assert found['text'] == 'a . b' and given['pred_instances']['masks'].tolist() == order.tolist()


def test_what_is_in_order_is_shared():
    given = sample(BOXES[:2], [0.9, 0.8], [0, 0])
    assert in_order(given)['pred_instances']['bboxes'].data_ptr() == (
        given['pred_instances']['bboxes'].data_ptr()
    )


def test_no_predictions():
    found = in_order(sample([], [], []))['pred_instances']
    assert found['bboxes'].shape == (0, 4) and found['labels'].dtype == torch.int64
