"""Phrase recall against a direct count, and through mmengine's evaluation."""
import numpy as np
import pytest
import torch

from fiber_mmdet.evaluation import PhraseRecall


def random_sample(seed, phrases=4, candidates=30, truths=2):
    """Predictions near the true boxes of some phrases, in random order of score."""
    rng = np.random.default_rng(seed)
    low = rng.uniform(0, 60, (phrases * truths, 2))
    true = np.concatenate([low, low + rng.uniform(15, 40, low.shape)], 1)
    labels = np.repeat(np.arange(phrases), truths)
    chosen = rng.integers(0, len(true), candidates)
    boxes = true[chosen] + rng.normal(0, 6, (candidates, 4))
    return sample(boxes, rng.permutation(candidates) / candidates, labels[chosen] ^ (
        rng.random(candidates) < 0.3), true, labels)


def sample(boxes, scores, labels, true, phrases):
    def box(x):
        return torch.tensor(np.asarray(x, dtype=np.float32).reshape(-1, 4))

    return dict(
        pred_instances=dict(bboxes=box(boxes), scores=torch.tensor(np.asarray(scores, np.float32)),
                            labels=torch.tensor(np.asarray(labels, np.int64))),
        gt_instances=dict(bboxes=box(true), labels=torch.tensor(np.asarray(phrases, np.int64))))


def score(samples, batch=1, **kwargs):
    metric = PhraseRecall(**kwargs)
    for start in range(0, len(samples), batch):
        metric.process({}, samples[start:start + batch])
    return metric.evaluate(len(samples))


def iou(a, b):
    width = min(a[2], b[2]) - max(a[0], b[0])
    height = min(a[3], b[3]) - max(a[1], b[1])
    overlap = max(width, 0) * max(height, 0)
    return overlap / ((a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1]) - overlap)


def recall_by_hand(samples, k, threshold):
    hits = []
    for s in samples:
        pred = [(float(p), box, int(label)) for p, box, label in zip(
            s['pred_instances']['scores'], s['pred_instances']['bboxes'].tolist(),
            s['pred_instances']['labels'])]
        pairs = list(zip(s['gt_instances']['labels'].tolist(), s['gt_instances']['bboxes'].tolist()))
        for phrase in sorted({label for label, _ in pairs}):
            best = sorted((p for p in pred if p[2] == phrase), reverse=True)[:k]
            hits.append(any(iou(box, true) >= threshold for _, box, _ in best
                            for label, true in pairs if label == phrase))
    return np.mean(hits)


# Remove the mark once a sample adds one entry to the results, whatever its number of phrases.
def compute(samples, **kwargs):
    """The metric before mmengine collects its results."""
    metric = PhraseRecall(**kwargs)
    metric.process({}, samples)
    return metric.compute_metrics(metric.results)


@pytest.mark.parametrize('threshold', [0.5, 0.7])
def test_against_a_direct_count(threshold):
    samples = [random_sample(seed) for seed in range(20)]
    found = compute(samples, topk=(1, 2, 5, 10), iou_thr=threshold)
    expected = {f'R@{k}': recall_by_hand(samples, k, threshold) for k in (1, 2, 5, 10)}
    assert found == {**{k: pytest.approx(v) for k, v in expected.items()}, 'phrases': 80}
    assert 0 < found['R@1'] < found['R@2'] < found['R@5'] < 1


def test_every_phrase_counts_in_the_evaluation():
    samples = [random_sample(seed) for seed in range(10)]
    found = score(samples, batch=4)
    assert found['grounding/phrases'] == 40
    for k in (1, 5, 10):
        assert found[f'grounding/R@{k}'] == pytest.approx(recall_by_hand(samples, k, 0.5))


def test_perfect_predictions():
    true = [[0, 0, 10, 10], [20, 20, 40, 40], [0, 0, 10, 10]]
    samples = [sample(true, [0.9, 0.8, 0.7], [0, 1, 2], true, [0, 1, 2])] * 3
    assert compute(samples) == {'R@1': 1, 'R@5': 1, 'R@10': 1, 'phrases': 9}


def test_no_predictions():
    samples = [sample([], [], [], [[0, 0, 10, 10], [20, 20, 40, 40]], [0, 4])]
    assert compute(samples) == {'R@1': 0, 'R@5': 0, 'R@10': 0, 'phrases': 2}


def test_no_phrases():
    samples = [sample([[0, 0, 5, 5]], [0.9], [0], [], [])]
    assert compute(samples) == {'R@1': 0, 'R@5': 0, 'R@10': 0, 'phrases': 0}


def test_any_true_box_of_the_phrase_is_a_hit_and_other_phrases_do_not_help():
    true, boxes = [[0, 0, 10, 10], [50, 50, 60, 60]], [[50, 50, 60, 60]]
    assert compute([sample(boxes, [0.9], [0], true, [0, 0])])['R@1'] == 1
    assert compute([sample(boxes, [0.9], [1], true, [0, 0])])['R@1'] == 0
    assert compute([sample(boxes, [0.9], [0], true, [0, 1])]) == {
        'R@1': 0, 'R@5': 0, 'R@10': 0, 'phrases': 2}


def test_overlap_is_without_an_added_pixel_and_the_threshold_inclusive():
    true = [[0, 0, 10, 10]]
    assert compute([sample([[0, 0, 10, 5]], [0.9], [0], true, [0])])['R@1'] == 1
    assert compute([sample([[0, 0, 10, 4.9]], [0.9], [0], true, [0])])['R@1'] == 0


def test_rank_decides_which_k_counts():
    miss = [[70, 70, 80, 80]]
    samples = [sample(miss * 5 + [[0, 0, 10, 10]], np.linspace(0.9, 0.1, 6), [0] * 6,
                      [[0, 0, 10, 10]], [0])]
    assert compute(samples) == {'R@1': 0, 'R@5': 0, 'R@10': 1, 'phrases': 1}


def test_order_of_predictions_samples_and_batches_does_not_matter():
    samples = [random_sample(seed, phrases=1) for seed in range(12)]
    expected = score(samples)
    shuffled = []
    for i, s in enumerate(samples[::-1]):
        order = np.random.default_rng(i).permutation(len(s['pred_instances']['scores']))
        pred = {key: value[order] for key, value in s['pred_instances'].items()}
        shuffled.append(dict(s, pred_instances=pred))
    assert score(shuffled, batch=5) == score(samples, batch=12) == expected
    assert 0 < expected['grounding/R@1'] < 1


@pytest.mark.parametrize('phrases', [1, 4])
def test_results_of_two_processes_are_merged(monkeypatch, phrases):
    """mmengine interleaves the lists of the processes and cuts the padding of the last batch."""
    samples = [random_sample(seed, phrases) for seed in range(7)]
    parts = [PhraseRecall(), PhraseRecall()]
    for rank, part in enumerate(parts):
        own = samples[rank::2]
        part.process({}, own + samples[:4 - len(own)])  # the sampler repeats to equal length

    def collect(results, size, *args, **kwargs):
        lists = [results, parts[1].results]
        return [r for pair in zip(*lists) for r in pair][:size]

    monkeypatch.setattr('mmengine.evaluator.metric.collect_results', collect)
    merged = parts[0].evaluate(len(samples))
    expected = {f'grounding/R@{k}': pytest.approx(recall_by_hand(samples, k, 0.5))
                for k in (1, 5, 10)}
    assert merged == {**expected, 'grounding/phrases': 7 * phrases}


def test_names():
    samples = [random_sample(0, phrases=1)]
    assert set(score(samples, topk=[3], prefix='flickr')) == {'flickr/R@3', 'flickr/phrases'}
