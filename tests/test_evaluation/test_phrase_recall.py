"""Phrase recall against a direct count, and through mmengine's evaluation."""

import numpy as np
import pytest

from fiber_mmdet.evaluation import PhraseRecall
from made_samples import sample, score, score_in_two_processes, shuffled


def random_sample(seed, phrases=4, candidates=30, truths=2, levels=None, **meta):
    """Predictions near the true boxes of some phrases, in random order of score."""
    rng = np.random.default_rng(seed)
    low = rng.uniform(0, 60, (phrases * truths, 2))
    true = np.concatenate([low, low + rng.uniform(15, 40, low.shape)], 1)
    labels = np.repeat(np.arange(phrases), truths)
    chosen = rng.integers(0, len(true), candidates)
    boxes = true[chosen] + rng.normal(0, 6, (candidates, 4))
    if truths > 1:  # and some near the box around all true boxes
        merged = [union(true[labels == labels[i]]) for i in chosen]
        boxes = np.where(rng.random((candidates, 1)) < 0.5, boxes, merged)
    scores = rng.permutation(candidates) % (levels or candidates) / candidates
    return sample(
        boxes, scores, labels[chosen] ^ (rng.random(candidates) < 0.3), true, labels, **meta
    )


def union(boxes):
    left, top, right, bottom = zip(*boxes)
    return [min(left), min(top), max(right), max(bottom)]


def iou(a, b):
    width = min(a[2], b[2]) - max(a[0], b[0])
    height = min(a[3], b[3]) - max(a[1], b[1])
    overlap = max(width, 0) * max(height, 0)
    return overlap / ((a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1]) - overlap)


def recall_by_hand(samples, k, threshold=0.5, merged=False, kind=None):
    hits = []
    for s in samples:
        pred = [
            (float(p), box, int(label))
            for p, box, label in zip(
                s['pred_instances']['scores'],
                s['pred_instances']['bboxes'].tolist(),
                s['pred_instances']['labels'],
            )
        ]
        pairs = list(
            zip(s['gt_instances']['labels'].tolist(), s['gt_instances']['bboxes'].tolist())
        )
        for phrase in sorted({label for label, _ in pairs}):
            if kind and kind not in s['phrase_types'][phrase]:
                continue
            true = [box for label, box in pairs if label == phrase]
            true = [union(true)] if merged else true
            best = sorted((p for p in pred if p[2] == phrase), reverse=True)[:k]
            hits.append(any(iou(box, t) >= threshold for _, box, _ in best for t in true))
    return np.mean(hits)


def compute(samples, **kwargs):
    """The metric without a prefix in its names."""
    return {
        key.removeprefix('grounding/'): value
        for key, value in score(PhraseRecall(**kwargs), samples).items()
    }


def same_for_all(value, phrases):
    return {'R@1': value, 'R@5': value, 'R@10': value, 'R@all': value, 'phrases': phrases}


@pytest.mark.parametrize('threshold', [0.5, 0.7])
@pytest.mark.parametrize('protocol', ['any', 'merged'])
def test_against_a_direct_count(threshold, protocol):
    samples = [random_sample(seed) for seed in range(20)]
    found = compute(samples, topk=(1, 2, 5, 10), iou_thr=threshold, protocol=protocol)
    expected = {
        f'R@{k}': pytest.approx(
            recall_by_hand(samples, k if k != 'all' else None, threshold, protocol == 'merged')
        )
        for k in (1, 2, 5, 10, 'all')
    }
    assert found == {**expected, 'phrases': 80}
    assert 0 < found['R@1'] < found['R@2'] < found['R@5'] < found['R@all'] < 1


def test_recall_of_each_type():
    types = [['people'], ['people', 'scene'], [], ['clothing']]
    samples = [
        random_sample(seed, phrase_types=types[seed % 2 :] + types[: seed % 2])
        for seed in range(12)
    ]
    found = compute(samples)
    for kind in ('people', 'scene', 'clothing'):
        for k in (1, 5, 10, 'all'):
            assert found[f'R@{k}/{kind}'] == pytest.approx(
                recall_by_hand(samples, k if k != 'all' else None, kind=kind)
            )
    assert found['R@1'] == pytest.approx(recall_by_hand(samples, 1))
    assert found['R@1/people'] not in (found['R@1'], found['R@1/scene'], found['R@1/clothing'])
    assert len(found) == 4 * 4 + 1
    assert all(isinstance(value, float) for value in found.values())


def test_types_may_be_missing_from_some_samples():
    true = [[0, 0, 10, 10]]
    samples = [
        sample(true, [0.9], [0], true, [0], phrase_types=[['people']]),
        sample([], [], [], true, [0]),
    ]
    found = compute(samples)
    assert found['R@1'] == 0.5 and found['R@1/people'] == 1


def test_types_for_too_few_phrases_are_refused():
    with pytest.raises(ValueError, match='image 7 .* phrase 1, .* 1 phrases'):
        compute([sample([], [], [], [[0, 0, 9, 9]], [1], img_id=7, phrase_types=[['people']])])


def test_unknown_protocol_is_refused():
    with pytest.raises(ValueError, match="'any' or 'merged', not 'all'"):
        PhraseRecall(protocol='all')


@pytest.mark.parametrize('protocol', ['any', 'merged'])
def test_perfect_predictions(protocol):
    true = [[0, 0, 10, 10], [20, 20, 40, 40], [0, 0, 10, 10]]
    samples = [sample(true, [0.9, 0.8, 0.7], [0, 1, 2], true, [0, 1, 2])] * 3
    assert compute(samples, protocol=protocol) == same_for_all(1, 9)


@pytest.mark.parametrize('protocol', ['any', 'merged'])
def test_no_predictions(protocol):
    samples = [sample([], [], [], [[0, 0, 10, 10], [20, 20, 40, 40]], [0, 4])]
    assert compute(samples, protocol=protocol) == same_for_all(0, 2)


def test_no_phrases():
    assert compute([sample([[0, 0, 5, 5]], [0.9], [0], [], [])]) == same_for_all(0, 0)


def test_any_true_box_of_the_phrase_is_a_hit_and_other_phrases_do_not_help():
    true, boxes = [[0, 0, 10, 10], [50, 50, 60, 60]], [[50, 50, 60, 60]]
    assert compute([sample(boxes, [0.9], [0], true, [0, 0])])['R@1'] == 1
    assert compute([sample(boxes, [0.9], [1], true, [0, 0])])['R@1'] == 0
    assert compute([sample(boxes, [0.9], [0], true, [0, 1])]) == same_for_all(0, 2)


def test_merged_truth_is_the_box_around_all():
    true = [[0, 0, 10, 10], [50, 50, 60, 60]]
    one, around = (
        sample(true[:1], [0.9], [0], true, [0, 0]),
        sample([[0, 0, 60, 60]], [0.9], [0], true, [0, 0]),
    )
    assert [compute([s], protocol='merged')['R@1'] for s in (one, around)] == [0, 1]
    assert [compute([s], protocol='any')['R@1'] for s in (one, around)] == [1, 0]


def test_overlap_is_without_an_added_pixel_and_the_threshold_inclusive():
    true = [[0, 0, 10, 10]]
    assert compute([sample([[0, 0, 10, 5]], [0.9], [0], true, [0])])['R@1'] == 1
    assert compute([sample([[0, 0, 10, 4.9]], [0.9], [0], true, [0])])['R@1'] == 0


def test_rank_decides_which_k_counts():
    true, miss = [[0, 0, 10, 10]], [[70, 70, 80, 80]]
    sixth = sample(miss * 5 + true, np.linspace(0.9, 0.1, 6), [0] * 6, true, [0])
    last = sample(miss * 200 + true, np.linspace(0.9, 0.1, 201), [0] * 201, true, [0])
    assert compute([sixth]) == {**same_for_all(0, 1), 'R@10': 1, 'R@all': 1}
    assert compute([last]) == {**same_for_all(0, 1), 'R@all': 1}


@pytest.mark.parametrize('levels', [None, 3])
def test_order_of_predictions_samples_and_batches_does_not_matter(levels):
    samples = [random_sample(seed, phrases=1, levels=levels) for seed in range(12)]
    expected = score(PhraseRecall(), samples)
    assert (
        score(PhraseRecall(), shuffled(samples), batch=5)
        == score(PhraseRecall(), samples, batch=12)
        == expected
    )
    assert 0 < expected['grounding/R@1'] < 1


@pytest.mark.parametrize('phrases', [1, 4])
def test_results_of_two_processes_are_merged(monkeypatch, phrases):
    samples = [random_sample(seed, phrases) for seed in range(7)]
    found = score_in_two_processes(monkeypatch, PhraseRecall, samples)
    for k in (1, 5, 10):
        assert found[f'grounding/R@{k}'] == pytest.approx(recall_by_hand(samples, k))
    assert found['grounding/phrases'] == 7 * phrases


def test_names():
    found = score(PhraseRecall(topk=[3], prefix='flickr'), [random_sample(0, phrases=1)])
    assert set(found) == {'flickr/R@3', 'flickr/R@all', 'flickr/phrases'}
