"""Precision of referring expressions against a direct count."""

import numpy as np
import pytest

from fiber_mmdet.evaluation import ReferringPrecision
from made_samples import sample, score, score_in_two_processes, shuffled

KEYS = ['P@1', 'P@5', 'P@10', 'P@1_giou', 'P@5_giou', 'P@10_giou']


def random_sample(seed, candidates=15, levels=None):
    rng = np.random.default_rng(seed)
    low = rng.uniform(0, 60, 2)
    true = [*low, *(low + rng.uniform(20, 50, 2))]
    boxes = true + rng.normal(0, 12, (candidates, 4))
    scores = rng.permutation(candidates) % (levels or candidates) / candidates
    return sample(boxes, scores, [0] * candidates, [true], [0], img_id=seed)


def overlaps(a, b):
    """IoU and GIoU from the areas."""

    def area(x1, y1, x2, y2):
        return max(x2 - x1, 0) * max(y2 - y1, 0)

    both = area(max(a[0], b[0]), max(a[1], b[1]), min(a[2], b[2]), min(a[3], b[3]))
    either = area(*a) + area(*b) - both
    hull = area(min(a[0], b[0]), min(a[1], b[1]), max(a[2], b[2]), max(a[3], b[3]))
    return both / either, both / either - (hull - either) / hull


def precision_by_hand(samples, k, which):
    hits = []
    for s in samples:
        pred, (true,) = s['pred_instances'], s['gt_instances']['bboxes'].tolist()
        best = sorted(zip(pred['scores'].tolist(), pred['bboxes'].tolist()), reverse=True)[:k]
        hits.append(any(overlaps(box, true)[which] >= 0.5 for _, box in best))
    return np.mean(hits)


def compute(samples, **kwargs):
    return {
        key.removeprefix('refexp/'): value
        for key, value in score(ReferringPrecision(**kwargs), samples).items()
    }


def test_against_a_direct_count():
    samples = [random_sample(seed) for seed in range(60)]
    found = compute(samples)
    for k in (1, 5, 10):
        assert found[f'P@{k}'] == pytest.approx(precision_by_hand(samples, k, 0))
        assert found[f'P@{k}_giou'] == pytest.approx(precision_by_hand(samples, k, 1))
    assert 0 < found['P@1_giou'] < found['P@1'] < found['P@5'] < 1
    assert found['expressions'] == 60


def test_perfect_predictions():
    true = [[0, 0, 10, 10]]
    assert compute([sample(true, [0.9], [0], true, [0])] * 3) == {
        **dict.fromkeys(KEYS, 1.0),
        'expressions': 3,
    }


def test_an_expression_without_any_box_is_a_miss():
    true = [[0, 0, 10, 10]]
    none = sample([], [], [], true, [0])
    assert compute([none]) == {**dict.fromkeys(KEYS, 0.0), 'expressions': 1}
    assert compute([none, sample(true, [0.9], [0], true, [0])])['P@1'] == 0.5


def test_iou_without_giou_and_the_threshold_inclusive():
    true = [[0, 0, 10, 10]]
    half = sample([[0, 0, 10, 5]], [0.9], [0], true, [0])  # within: GIoU = IoU
    assert [compute([half])[key] for key in ('P@1', 'P@1_giou')] == [1, 1]
    moved = sample([[1.5, 1.5, 11.5, 11.5]], [0.9], [0], true, [0])  # IoU 0.566, GIoU 0.531
    assert [compute([moved])[key] for key in ('P@1', 'P@1_giou')] == [1, 1]
    moved = sample([[1.8, 1.8, 11.8, 11.8]], [0.9], [0], true, [0])  # IoU 0.506, GIoU 0.460
    assert [compute([moved])[key] for key in ('P@1', 'P@1_giou')] == [1, 0]


def test_boxes_are_ranked_by_score_and_other_labels_left_out():
    true = [[0, 0, 10, 10]]
    s = sample([[50, 50, 60, 60], *true, [70, 70, 80, 80]], [0.5, 0.6, 0.7], [0, 0, 1], true, [0])
    assert compute([s])['P@1'] == 1


@pytest.mark.parametrize('levels', [None, 3])
def test_order_does_not_matter(levels):
    samples = [random_sample(seed, levels=levels) for seed in range(30)]
    assert score(ReferringPrecision(), shuffled(samples), batch=4) == score(
        ReferringPrecision(), samples
    )


def test_results_of_two_processes_are_merged(monkeypatch):
    samples = [random_sample(seed) for seed in range(7)]
    found = score_in_two_processes(monkeypatch, ReferringPrecision, samples)
    assert found['refexp/P@1'] == pytest.approx(precision_by_hand(samples, 1, 0))
    assert found['refexp/expressions'] == 7


def test_names_and_thresholds():
    samples = [random_sample(seed) for seed in range(20)]
    found = score(ReferringPrecision(topk=[2], overlap_thr=0.8, prefix='testA'), samples)
    assert set(found) == {'testA/P@2', 'testA/P@2_giou', 'testA/expressions'}
    assert found['testA/P@2'] < precision_by_hand(samples, 2, 0)


@pytest.mark.parametrize('true', [[], [[0, 0, 9, 9], [0, 0, 8, 8]]])
def test_other_than_one_true_box_is_refused(true):
    with pytest.raises(ValueError, match=f'image 3 has {len(true)} true boxes'):
        compute([sample([], [], [], true, [0] * len(true), img_id=3)])
