"""Recall of retrieval against a direct count, with ties and scores that are not numbers."""

import numpy as np
import pytest
import torch

from fiber_mmdet.evaluation import RetrievalRecall, ordering
from made_samples import score, score_in_two_processes


def samples(scores, counts, **kinds):
    """Images with ``counts`` texts each, numbered consecutively."""
    ends = np.cumsum(counts)
    kinds = {'itc': scores, **kinds}
    return [
        dict(
            image_id=i,
            scores={kind: torch.as_tensor(s[i]) for kind, s in kinds.items()},
            text_rows=list(range(end - count, end)),
        )
        for i, (count, end) in enumerate(zip(counts, ends))
    ]


def random_scores(seed=0, images=12, levels=None, dtype=np.float32):
    rng = np.random.default_rng(seed)
    counts = rng.integers(1, 5, images)
    owners = np.repeat(np.arange(images), counts)
    scores = rng.normal(size=(images, len(owners))) + 1.5 * (np.arange(images)[:, None] == owners)
    if levels:
        scores = np.round(scores * levels) / levels
    return scores.astype(dtype), counts, owners


def by_hand(scores, owners, k):
    """Sorted lists, with ties by number."""
    images, texts = scores.shape
    best_texts = [sorted(range(texts), key=lambda t: (-scores[i, t], t))[:k] for i in range(images)]
    best_images = [
        sorted(range(images), key=lambda i: (-scores[i, t], i))[:k] for t in range(texts)
    ]
    return {
        f'TR@{k}': np.mean(
            [any(owners[t] == i for t in found) for i, found in enumerate(best_texts)]
        ),
        f'IR@{k}': np.mean([owners[t] in found for t, found in enumerate(best_images)]),
    }


def compute(given, **kwargs):
    return {
        key.removeprefix('retrieval/'): value
        for key, value in score(RetrievalRecall(**kwargs), given).items()
    }


@pytest.mark.parametrize('block', [1, 40, 2**22])
@pytest.mark.parametrize('levels', [None, 1])
def test_against_a_direct_count(monkeypatch, levels, block):
    monkeypatch.setattr(ordering, 'BLOCK', block)
    scores, counts, owners = random_scores(levels=levels)
    found = compute(samples(scores, counts))
    for k in (1, 5, 10):
        for name, value in by_hand(scores, owners, k).items():
            assert found[f'itc/{name}'] == pytest.approx(value), name
    assert found['itc/R@1_sum'] == pytest.approx(found['itc/TR@1'] + found['itc/IR@1'])
    assert (found['images'], found['texts']) == (12, len(owners)) and len(found) == 9
    assert 0 < found['itc/IR@1'] < found['itc/IR@5'] <= 1


def test_kinds_of_scores_side_by_side():
    scores, counts, owners = random_scores()
    better = (np.arange(12)[:, None] == owners).astype(np.float32)
    found = compute(samples(scores, counts, itm=better), topk=[1])
    assert set(found) == {
        'itc/TR@1',
        'itc/IR@1',
        'itc/R@1_sum',
        'itm/TR@1',
        'itm/IR@1',
        'itm/R@1_sum',
        'images',
        'texts',
    }
    assert found['itm/R@1_sum'] == 2 > found['itc/R@1_sum']


def test_the_sum_does_not_need_its_parts():
    assert compute(samples(np.eye(3), [1, 1, 1]), topk=[2])['itc/R@1_sum'] == 2


def test_worst_scores():
    owners = np.repeat(np.arange(12), 2)
    scores = -(np.arange(12)[:, None] == owners).astype(float)
    found = compute(samples(scores, [2] * 12))
    assert [found[f'itc/{name}@{k}'] for name in ('TR', 'IR') for k in (1, 5, 10)] == [0] * 6


def test_equal_scores_rank_in_the_order_of_the_data():
    found = compute(samples(np.zeros((4, 8)), [2] * 4), topk=[1, 3])
    assert found['itc/TR@1'] == found['itc/IR@1'] == 0.25
    assert found['itc/TR@3'] == 0.5 and found['itc/IR@3'] == 0.75


@pytest.mark.parametrize('value', [np.nan, -np.inf])
def test_what_is_not_a_number_ranks_last(value):
    scores, counts, owners = random_scores(images=6)
    scores[owners[0], 0] = scores[2] = value
    found = compute(samples(scores, counts))
    assert not any(np.isnan(v) for v in found.values())
    lowest = np.where(np.isnan(scores), -np.inf, scores)
    assert found['itc/TR@1'] == pytest.approx(by_hand(lowest, owners, 1)['TR@1'])
    assert found['itc/IR@5'] == pytest.approx(by_hand(lowest, owners, 5)['IR@5'])
    everywhere = compute(samples(np.full_like(scores, value), counts))
    assert everywhere['itc/TR@1'] == pytest.approx(1 / 6)


def test_no_image():
    assert compute([]) == dict(images=0, texts=0)


def test_batches_and_processes_do_not_matter(monkeypatch):
    scores, counts, _ = random_scores(images=7)
    given = samples(scores, counts)
    expected = score(RetrievalRecall(), given)
    assert score(RetrievalRecall(), given, batch=3) == expected
    assert score_in_two_processes(monkeypatch, RetrievalRecall, given) == expected


def test_order_of_images_does_not_matter_without_ties():
    scores, counts, _ = random_scores(images=7)
    given = samples(scores, counts)
    assert compute(given[::-1]) == pytest.approx(compute(given))


def test_what_is_sent_to_other_processes_is_small():
    """A row of a matrix is sent alone, not with the whole matrix."""
    import pickle

    metric = RetrievalRecall()
    metric.process({}, samples(torch.rand(100, 1000), [10] * 100))
    assert len(pickle.dumps(metric.results, protocol=2)) < 2 * 4 * 100 * 1000


@pytest.mark.parametrize(
    'rows, message',
    [
        ([[0], [0]], 'text 0 of 2 belongs to image 1, but also'),
        ([[0], [2]], 'text 2 of 2'),
        ([[0, 1], []], 'image 1 has no text'),
    ],
)
def test_texts_of_no_or_several_images(rows, message):
    given = [dict(s, text_rows=own) for s, own in zip(samples(np.eye(2), [1, 1]), rows)]
    with pytest.raises(ValueError, match=message):
        compute(given)


def test_samples_of_an_ordinary_loop():
    with pytest.raises(KeyError, match="no 'scores' .*RetrievalValLoop"):
        compute([dict(image_id=1, text='a')])
