"""Metrics whose file lists the dataset's categories in another order: names decide, not places."""

import itertools
import json

import numpy as np
import pytest
from mmdet.registry import EVALUATOR
from mmengine.registry import DefaultScope

from fiber_mmdet.evaluation import (
    DescribedObjectAP,
    PromptCocoMetric,
    PromptLVISFixedAP,
    PromptLVISMetric,
)
from fiber_mmdet.inspection.source_check import collected_log
from made_samples import sample, score, write_coco

CATEGORIES = {7: 'cat', 3: 'dog', 9: 'bird'}
# four images with a box each of all categories: cats are found, dogs at half, birds never
PLACES = {7: [10, 10, 60, 60], 3: [100, 100, 180, 190], 9: [200, 20, 300, 120]}


def write(path, order, change=lambda content: None):
    truths = {image: [(category, box, 0) for category, box in PLACES.items()] for image in range(4)}
    write_coco(path, {category: CATEGORIES[category] for category in order}, truths)
    content = json.loads(path.read_text())
    for image in content['images']:
        image.update(neg_category_ids=[], not_exhaustive_category_ids=[])
    for category in content['categories']:
        category['frequency'] = 'f'
    change(content)
    path.write_text(json.dumps(content))
    return str(path)


def predictions(classes, **meta):
    found = []
    id_of = {name: number for number, name in CATEGORIES.items()}
    for image in range(4):
        boxes = [
            PLACES[id_of[name]]
            for name in classes
            if name == 'cat' or name == 'dog' and image % 2 == 0
        ]
        labels = [
            label
            for label, name in enumerate(classes)
            if name == 'cat' or name == 'dog' and image % 2 == 0
        ]
        found.append(sample(boxes, [0.9] * len(boxes), labels, img_id=image, **meta))
    return found


@pytest.mark.parametrize('order', list(itertools.permutations(CATEGORIES)))
@pytest.mark.parametrize('classes', [('cat', 'dog', 'bird'), ('bird', 'cat', 'dog')])
@pytest.mark.parametrize(
    'metric, key',
    [
        (PromptCocoMetric, 'coco/bbox_mAP_50'),
        (PromptLVISFixedAP, 'lvis_fixed_ap/AP50'),
        (PromptLVISMetric, 'lvis/bbox_AP50'),
    ],
)
def test_names_decide(tmp_path, metric, key, order, classes):
    """Of 4 cats all are found, of 4 dogs 2 (51 of 101 recall points), and no bird."""
    file = write(tmp_path / 'truth.json', order)
    found = score(metric(file), predictions(classes), classes=classes)
    assert found[key] == pytest.approx((1 + 51 / 101 + 0) / 3, abs=5.1e-4)


@pytest.mark.parametrize('metric', [PromptCocoMetric, PromptLVISMetric])
def test_figures_of_each_class_carry_its_name(tmp_path, metric):
    file = write(tmp_path / 'truth.json', (9, 7, 3))
    found = score(
        metric(file, classwise=True, prefix='x'),
        predictions(('cat', 'dog', 'bird')),
        classes=('cat', 'dog', 'bird'),
    )
    values = {name: found[f'x/{name}_precision'] for name in CATEGORIES.values()}
    assert values == {'cat': 1, 'dog': pytest.approx(51 / 101, abs=5.1e-4), 'bird': 0}


def test_sentences_go_by_id(tmp_path):
    aps = set()
    for order in itertools.permutations(CATEGORIES):
        metric = DescribedObjectAP(write(tmp_path / 'truth.json', order))
        samples = predictions(('cat', 'dog', 'bird'), sent_ids=np.array([7, 3, 9]))
        aps.add(round(score(metric, samples)['dod/mAP_50'], 4))
    assert aps == {round((1 + 51 / 101) / 3, 4)}


def test_each_dataset_of_an_average_has_its_own_order(tmp_path):
    orders, classes = [(7, 3, 9), (9, 7, 3)], [('cat', 'dog', 'bird'), ('dog', 'bird', 'cat')]
    files = [write(tmp_path / f'{i}.json', order) for i, order in enumerate(orders)]
    with DefaultScope.overwrite_default_scope('mmdet'):
        evaluator = EVALUATOR.build(
            dict(
                type='DatasetAverageEvaluator',
                metrics=[dict(type='PromptCocoMetric', ann_file=file) for file in files],
                dataset_prefixes=['a', 'b'],
            )
        )
    evaluator.dataset_meta = [dict(classes=names, cumulative_sizes=[4, 8]) for names in classes]
    evaluator.process([one for names in classes for one in predictions(names)])
    found = evaluator.evaluate(8)
    expected = pytest.approx((1 + 51 / 101) / 3, abs=5.1e-4)
    assert found['a/coco/bbox_mAP_50'] == found['b/coco/bbox_mAP_50'] == expected


@pytest.mark.parametrize('metric', [PromptCocoMetric, PromptLVISFixedAP, PromptLVISMetric])
def test_classes_are_compared_before_the_test(tmp_path, metric):
    file = write(tmp_path / 'truth.json', (7, 3, 9))
    with pytest.raises(ValueError, match="'cow'"):
        metric(file).dataset_meta = dict(classes=('cat', 'cow'))


@pytest.mark.parametrize('metric', [PromptLVISFixedAP, PromptLVISMetric])
def test_places_decide_only_among_names_that_agree(tmp_path, metric):
    file = write(tmp_path / 'truth.json', (3, 7, 9))
    metric(file).dataset_meta = dict(classes=('dog', 'kitten', 'bird'))  # corrected spelling
    with pytest.raises(ValueError, match="lacks 'kitten' .* lists 'dog' at another place"):
        metric(file).dataset_meta = dict(classes=('kitten', 'dog', 'bird'))


@pytest.mark.parametrize(
    'change, message',
    [
        (lambda c: c['annotations'][1].pop('bbox'), "annotation 2 has no 'bbox'"),
        (lambda c: c['annotations'][1].update(bbox=['1', 2, 3, 4]), r"annotation 2 has bbox \['1'"),
        (lambda c: c['annotations'][1].update(id=1), '2 annotations have the id 1'),
        (lambda c: c['categories'][1].update(id=7), "'cat' and 'dog' both have the id 7"),
        (
            lambda c: c['categories'][1].update(id='3'),
            "some categories is text .'3'., of others a number",
        ),
        (lambda c: c.update(images=None), "has no list 'images'"),
    ],
)
@pytest.mark.parametrize(
    'metric', [PromptCocoMetric, PromptLVISFixedAP, PromptLVISMetric, DescribedObjectAP]
)
def test_files_are_checked_when_the_metric_is_built(tmp_path, metric, change, message):
    with pytest.raises(ValueError, match=f'truth.json.*{message}'):
        metric(write(tmp_path / 'truth.json', (7, 3, 9), change))


@pytest.mark.parametrize(
    'change',
    [lambda c: c.update(annotations=[]), lambda c: [a.update(iscrowd=1) for a in c['annotations']]],
)
@pytest.mark.parametrize('metric', [PromptCocoMetric, DescribedObjectAP])
def test_nothing_to_find_is_said(tmp_path, metric, change):
    with collected_log() as messages:
        metric(write(tmp_path / 'truth.json', (7, 3, 9), change))
    assert 'nothing is to be found in' in messages[0] and 'truth.json' in messages[0]
