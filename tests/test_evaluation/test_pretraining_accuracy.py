"""Accuracies of the pre-training objectives."""

import pickle

import numpy as np
import pytest
import torch

from fiber_mmdet.evaluation import PretrainingAccuracy
from made_samples import score, score_in_two_processes


def compute(*samples):
    return {
        key.removeprefix('pretrain/'): value
        for key, value in score(PretrainingAccuracy(), list(samples)).items()
    }


def features(image, text, image_id=None):
    found = dict(image_feature=torch.tensor(image).float(), text_feature=torch.tensor(text).float())
    return found if image_id is None else dict(found, image_id=image_id)


def test_tokens_count_alike_whatever_their_sample():
    assert compute(dict(mlm_hits=1, mlm_count=1), dict(mlm_hits=0, mlm_count=3)) == {
        'mlm_accuracy': 0.25,
        'pairs': 2,
    }
    assert compute(dict(mlm_hits=0, mlm_count=0)) == {'mlm_accuracy': 0, 'pairs': 1}
    assert compute(dict(mvm_hits=2, mvm_count=4)) == {'mvm_accuracy': 0.5, 'pairs': 1}


def test_matching():
    probabilities, truth = [0.9, 0.2, 0.6, 0.5], [1, 0, 0, 1]
    known = [dict(pred_match=p, match=t) for p, t in zip(probabilities, truth)]
    assert compute(*known) == {'itm_accuracy': 0.5, 'pairs': 4}
    assert compute(*(dict(pred_match=p) for p in probabilities)) == {
        'itm_true_pairs': 0.5,
        'pairs': 4,
    }


def test_contrast():
    """The first text is nearer to the second image than to its own."""
    found = compute(
        features([1, 0], [0.6, 0.8]), features([0, 1], [0, 1]), features([-1, 0], [-1, 0])
    )
    assert found == {'itc_i2t': 1, 'itc_t2i': pytest.approx(2 / 3), 'pairs': 3}


def test_other_texts_of_the_image_are_right():
    pairs = [([1, 0], [0.8, 0.6]), ([1, 0], [1, 0]), ([0, 1], [0, 1])]
    assert compute(*(features(*pair) for pair in pairs))['itc_i2t'] == pytest.approx(2 / 3)
    assert compute(*(features(*pair, i) for pair, i in zip(pairs, [5, 5, 'x'])))['itc_i2t'] == 1


def test_nothing_is_never_nan():
    assert compute() == {'pairs': 0}
    assert compute(dict(text='a')) == {'pairs': 1}
    nan = float('nan')
    broken = compute(features([nan, 0], [nan, 0]), features([0, 1], [0, 1]))
    assert not any(np.isnan(value) for value in broken.values())


def test_kept_rows_are_small():
    """Each sample keeps its own row of a batch of features, not the whole batch."""
    batch = torch.randn(64, 100)
    metric = PretrainingAccuracy()
    metric.process(None, [dict(image_feature=row, text_feature=row) for row in batch])
    assert len(pickle.dumps(metric.results)) < 3 * batch.nbytes


def test_order_and_processes_do_not_matter(monkeypatch):
    rng = np.random.default_rng(0)
    samples = [
        dict(
            features(rng.normal(size=4), rng.normal(size=4), image_id=i // 2),
            mlm_hits=int(rng.integers(3)),
            mlm_count=3,
            pred_match=float(rng.random()),
        )
        for i in range(9)
    ]
    expected = compute(*samples)
    assert set(expected) == {'mlm_accuracy', 'itm_true_pairs', 'itc_i2t', 'itc_t2i', 'pairs'}
    assert compute(*samples[::-1]) == pytest.approx(expected)
    found = score_in_two_processes(monkeypatch, PretrainingAccuracy, samples)
    assert found == pytest.approx({f'pretrain/{key}': value for key, value in expected.items()})
