"""LVIS metrics against the lvis package, on the annotations of 100 images."""

import json

import numpy as np
import pytest
from lvis import LVIS, LVISEval, LVISResults

from fiber_mmdet.evaluation import PromptLVISFixedAP, PromptLVISMetric
from fiber_mmdet.evaluation.lvis_ap import numpy_float
from made_samples import sample, score, score_in_two_processes, shuffled

APS = ('AP', 'AP50', 'AP75', 'APs', 'APm', 'APl', 'APr', 'APc', 'APf')


@pytest.fixture(scope='module')
def whole(shared_dir):
    return str(shared_dir / 'data/lvis/lvis_val_100.json')


@pytest.fixture(scope='module')
def small(whole, tmp_path_factory):
    """25 of the images and their verified categories, listed in reverse order."""
    with open(whole) as file:
        data = json.load(file)
    images = data['images'][:25]
    ids = {image['id'] for image in images}
    annotations = [a for a in data['annotations'] if a['image_id'] in ids]
    used = {a['category_id'] for a in annotations}.union(*(i['neg_category_ids'] for i in images))
    categories = [c for c in data['categories'] if c['id'] in used][::-1]
    path = tmp_path_factory.mktemp('lvis') / 'small.json'
    path.write_text(json.dumps(dict(images=images, annotations=annotations, categories=categories)))
    return str(path)


def predicted(ann_file, seed=0, levels=None, repeats=3, false=40):
    """Boxes near the true ones, and false ones of absent and of unverified categories."""
    rng = np.random.default_rng(seed)
    truth = LVIS(ann_file)
    label_of = {category: label for label, category in enumerate(sorted(truth.cats))}
    samples = []
    for image, info in truth.imgs.items():
        boxes, labels = [], []
        for ann in truth.img_ann_map[image]:
            x, y, w, h = ann['bbox']
            for _ in range(rng.integers(0, repeats + 1)):
                boxes.append(np.array([x, y, x + w, y + h]) + rng.normal(0, 0.06, 4) * [w, h, w, h])
                labels.append(label_of[ann['category_id']])
        negative = [label_of[c] for c in info['neg_category_ids']]
        for _ in range(false):
            low = rng.uniform(0, 300, 2)
            boxes.append([*low, *(low + rng.uniform(20, 200, 2))])
            labels.append(
                rng.choice(negative)
                if negative and rng.random() < 0.3
                else rng.integers(len(label_of))
            )
        scores = rng.random(len(boxes)).astype(np.float32)
        if levels:
            scores = np.ceil(scores * levels) / levels
        samples.append(sample(boxes, scores, labels, img_id=image))
    return samples


def by_lvis(ann_file, samples, topk=None, per_image=-1):
    """The lvis package on the best ``topk`` of each category, or the best of each image."""
    truth = LVIS(ann_file)
    cats = sorted(truth.cats)
    rows = [
        dict(
            image_id=s['img_id'], category_id=cats[label], score=p, bbox=[x1, y1, x2 - x1, y2 - y1]
        )
        for s in samples
        for (x1, y1, x2, y2), p, label in zip(
            *(
                s['pred_instances'][k].double().tolist()
                if k != 'labels'
                else s['pred_instances'][k].tolist()
                for k in ('bboxes', 'scores', 'labels')
            )
        )
    ]
    if topk:
        rows.sort(key=lambda row: -row['score'])
        rows = [row for cat in cats for row in [r for r in rows if r['category_id'] == cat][:topk]]
    evaluation = LVISEval(truth, LVISResults(truth, rows, max_dets=per_image), 'bbox')
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(np, 'float', float, raising=False)
        evaluation.run()
    return {key: evaluation.results[key] for key in APS}


def prefixed(values, prefix='lvis_fixed_ap/', **approx):
    return {prefix + key: pytest.approx(value, **approx) for key, value in values.items()}


def test_fixed_ap_is_that_of_the_lvis_package(whole):
    samples = predicted(whole)
    found = score(PromptLVISFixedAP(whole), samples, batch=4)
    assert found == prefixed(by_lvis(whole, samples), abs=1e-9)
    assert 0.05 < found['lvis_fixed_ap/AP'] < found['lvis_fixed_ap/AP50'] < 0.95
    assert all(type(value) is float for value in found.values())


@pytest.mark.parametrize('prune_above', [10**6, 100])
def test_only_the_best_of_each_category_count(small, prune_above, monkeypatch):
    samples = predicted(small, seed=1)
    expected = by_lvis(small, samples, topk=8)
    assert abs(expected['AP'] - by_lvis(small, samples)['AP']) > 0.01
    monkeypatch.setattr(PromptLVISFixedAP, 'prune_above', prune_above)
    metric = PromptLVISFixedAP(small, topk=8)
    # the second epoch starts from nothing
    for _ in range(2):
        assert score(metric, samples) == prefixed(expected, abs=1e-9)


def test_memory_is_bounded(small, monkeypatch):
    monkeypatch.setattr(PromptLVISFixedAP, 'prune_above', 100)
    metric, most, total = PromptLVISFixedAP(small, topk=2), 0, 0
    for s in predicted(small, false=400):
        metric.process({}, [s])
        most = max(most, metric.stored)
        total += len(s['pred_instances']['labels'])
        assert metric.stored == sum(len(labels) for *_, labels in metric.results)
    bound = 2 * 2 * len(LVIS(small).cats)
    assert most <= max(bound, 100) + 450 < total / 4


def test_perfect_predictions(small):
    truth = LVIS(small)
    label_of = {category: label for label, category in enumerate(sorted(truth.cats))}
    samples = []
    for image in truth.imgs:
        boxes = [a['bbox'] for a in truth.img_ann_map[image]]
        samples.append(
            sample(
                [[x, y, x + w, y + h] for x, y, w, h in boxes],
                [0.5] * len(boxes),
                [label_of[a['category_id']] for a in truth.img_ann_map[image]],
                img_id=image,
            )
        )
    assert score(PromptLVISFixedAP(small), samples) == prefixed(dict.fromkeys(APS, 1.0))


def test_nothing_found_is_zero(small):
    samples = [sample([], [], [], img_id=image) for image in LVIS(small).imgs]
    assert score(PromptLVISFixedAP(small), samples) == prefixed(dict.fromkeys(APS, 0.0))
    assert score(PromptLVISMetric(small), samples) == prefixed(
        dict.fromkeys(APS, 0.0), 'lvis/bbox_'
    )


def test_frequency_without_a_true_box_is_minus_one(small, tmp_path):
    with open(small) as file:
        data = json.load(file)
    rare = {c['id'] for c in data['categories'] if c['frequency'] == 'r'}
    data['annotations'] = [a for a in data['annotations'] if a['category_id'] not in rare]
    (tmp_path / 'x.json').write_text(json.dumps(data))
    found = score(PromptLVISFixedAP(str(tmp_path / 'x.json')), predicted(small))
    assert found['lvis_fixed_ap/APr'] == -1 and found['lvis_fixed_ap/AP'] > 0


@pytest.mark.parametrize('levels', [None, 2])
def test_order_does_not_matter(small, levels):
    samples = predicted(small, levels=levels)
    for make in (lambda: PromptLVISFixedAP(small, topk=5), lambda: PromptLVISMetric(small)):
        expected = score(make(), samples)
        assert score(make(), shuffled(samples), batch=7) == expected


def test_results_of_two_processes_are_merged_without_the_repeated_samples(monkeypatch, small):
    boxes = LVIS(small).img_ann_map
    odd = sorted(predicted(small), key=lambda s: -len(boxes[s['img_id']]))[:23]
    expected = score(PromptLVISFixedAP(small), odd)
    # a counted repetition would be noticed
    assert score(PromptLVISFixedAP(small), odd + odd[:1]) != expected
    found = score_in_two_processes(monkeypatch, lambda: PromptLVISFixedAP(small), odd)
    assert found == expected


def test_untested_images_count_as_missed(small):
    samples = predicted(small)
    empty = [sample([], [], [], img_id=s['img_id']) for s in samples[12:]]
    assert score(PromptLVISFixedAP(small), samples[:12]) == (
        score(PromptLVISFixedAP(small), samples[:12] + empty)
    )


def test_ordinary_ap_is_that_of_the_lvis_package(small):
    samples = predicted(small, false=500)
    expected = by_lvis(small, samples, per_image=300)
    assert abs(expected['AP'] - by_lvis(small, samples)['AP']) > 1e-3
    assert score(PromptLVISMetric(small), samples) == prefixed(expected, 'lvis/bbox_', abs=5.1e-4)


@pytest.mark.parametrize('make', [PromptLVISFixedAP, PromptLVISMetric])
def test_labels_follow_the_classes_of_the_data_set(small, make):
    truth, samples = LVIS(small), predicted(small)
    names = [truth.cats[i]['name'] for i in sorted(truth.cats)]
    expected = score(make(small), samples)
    order = np.random.default_rng(0).permutation(len(names))
    moved = [
        {
            **s,
            'pred_instances': {
                **s['pred_instances'],
                'labels': s['pred_instances']['labels'].apply_(
                    lambda label: int(np.flatnonzero(order == label)[0])
                ),
            },
        }
        for s in predicted(small)
    ]
    assert score(make(small), moved, classes=[names[i] for i in order]) == pytest.approx(expected)
    # other names for the same categories
    assert score(make(small), samples, classes=[f'a {name}' for name in names]) == expected
    with pytest.raises(ValueError, match=f"1 classes, .* {len(names)} categories, without 'ghost'"):
        score(make(small), samples, classes=['ghost'])


def test_labels_and_images_beyond_the_file_are_refused(small):
    image = next(iter(LVIS(small).imgs))
    count = len(LVIS(small).cats)
    with pytest.raises(ValueError, match=f'label {count}, .* has {count} categories'):
        score(PromptLVISFixedAP(small), [sample([[0, 0, 9, 9]], [0.5], [count], img_id=image)])
    with pytest.raises(ValueError, match='image 5 was tested'):
        score(PromptLVISFixedAP(small), [sample([[0, 0, 9, 9]], [0.5], [0], img_id=5)])
    with pytest.raises(ValueError, match='Prompt.* got no sample'):
        score(PromptLVISFixedAP(small), [])
    with pytest.raises(ValueError, match='topk must be at least 1'):
        PromptLVISFixedAP(small, topk=0)


def test_numpy_is_left_as_it_was():
    had = 'float' in vars(np)
    with pytest.raises(KeyError), numpy_float():
        assert np.float is float
        raise KeyError
    assert ('float' in vars(np)) == had
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(np, 'float', 'theirs', raising=False)
        with numpy_float():
            assert np.float == 'theirs'
        assert np.float == 'theirs'
