"""Precision, recall and boxes of absent names at a score threshold, on cases worked by hand."""

import pytest
import torch
from mmdet.registry import METRICS

from fiber_mmdet.evaluation import BoxesAtThreshold

A, B = [0.0, 0.0, 10.0, 10.0], [20.0, 20.0, 30.0, 30.0]
NAMES = ('cat', 'dog', 'bird')


def annotated(boxes):
    return dict(
        bboxes=torch.tensor([box for box, _ in boxes]).reshape(-1, 4),
        labels=torch.tensor([label for _, label in boxes], dtype=torch.long),
    )


def measured(*samples, classes=NAMES, **kwargs):
    """Metrics of (boxes as (box, score, label), truths as (box, label), crowds) for each image."""
    metric = METRICS.build(dict(type='BoxesAtThreshold', **kwargs))
    metric.dataset_meta = dict(classes=classes)
    for found, truths, *crowds in samples:
        sample = dict(
            pred_instances=dict(
                bboxes=torch.tensor([box for box, _, _ in found]).reshape(-1, 4),
                scores=torch.tensor([score for _, score, _ in found]),
                labels=torch.tensor([label for _, _, label in found], dtype=torch.long),
            ),
            gt_instances=annotated(truths),
        )
        if crowds:
            sample['ignored_instances'] = annotated(*crowds)
        metric.process({}, [sample])
    return {key.split('/')[-1]: value for key, value in metric.evaluate(len(samples)).items()}


def test_boxes_below_the_threshold_do_not_count():
    found = [(A, 0.9, 0), (B, 0.49, 1)]
    assert measured((found, [(A, 0), (B, 1)])) == dict(
        precision=1.0, recall=0.5, absent_with_box=0.0
    )
    assert measured((found, [(A, 0), (B, 1)]), score_thr=0.4)['recall'] == 1.0


def test_a_second_box_on_one_object_is_wrong_and_so_is_another_name():
    assert measured(([(A, 0.9, 0), (A, 0.8, 0), (B, 0.7, 1)], [(A, 0), (B, 2)])) == dict(
        precision=pytest.approx(1 / 3), recall=0.5, absent_with_box=1.0
    )


def test_absent_names_are_counted_once_an_image():
    # dog and bird are absent from the first image, all three from the second
    deceived = ([(A, 0.9, 1), (B, 0.9, 1), (A, 0.6, 0)], [(A, 0)])
    empty = ([(B, 0.7, 2)], [])
    assert measured(deceived, empty) == dict(
        precision=pytest.approx(1 / 4), recall=1.0, absent_with_box=pytest.approx(2 / 5)
    )


def test_crowds_are_neither_right_nor_wrong_nor_absent():
    # a crowd of cats: one box beside it, one inside, and a dog inside
    found = [(A, 0.9, 0), ([20.0, 20.0, 25.0, 25.0], 0.8, 0), (B, 0.7, 1)]
    assert measured((found, [], [(B, 0)])) == dict(
        precision=0.0, recall=-1.0, absent_with_box=pytest.approx(1 / 2)
    )
    assert measured((found[1:2], [], [(B, 0)]))['precision'] == -1.0
    # what hits a true box counts, though it lies in a crowd as well
    assert measured(([(B, 0.9, 0)], [(B, 0)], [(B, 0)]))['precision'] == 1.0


def test_nothing_to_count_is_minus_one():
    assert measured(([], []), classes=('cat',)) == dict(
        precision=-1.0, recall=-1.0, absent_with_box=0.0
    )


def test_wrong_use_is_refused():
    with pytest.raises(ValueError, match='score_thr=50'):
        BoxesAtThreshold(score_thr=50)
    with pytest.raises(ValueError, match='names of its own'):
        measured(([], []), classes=None)
    with pytest.raises(ValueError, match='no sample'):
        BoxesAtThreshold().compute_metrics([])
