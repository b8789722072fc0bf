"""Averages over datasets with different classes, and effective robustness."""

import numpy as np
import pytest
import torch
from mmdet.evaluation import DumpDetResults
from mmdet.registry import DATASETS
from mmengine.fileio import load
from mmengine.registry import EVALUATOR, DefaultScope

import fiber_mmdet  # noqa: F401
from fiber_mmdet.evaluation import DatasetAverageEvaluator, PromptCocoMetric
from made_samples import noisy, sample, score, shuffled, write_coco

SETS = {
    'pets': (
        {1: 'cat', 2: 'dog', 5: 'bird'},
        {1: 3, 2: 2, 3: 1},
    ),  # categories; boxes of each image
    'farm': ({4: 'cow', 3: 'pig'}, {1: 2, 9: 4}),
    'coco': ({1: 'cow', 2: 'cat'}, {1: 1, 2: 2, 3: 2, 4: 2}),
}


@pytest.fixture(scope='module')
def world(tmp_path_factory):
    """Json, classes and samples of each dataset."""
    rng, result = np.random.default_rng(0), {}
    for name, (categories, counts) in SETS.items():
        truths = {}
        for image, count in counts.items():
            low = rng.uniform(0, 150, (count, 2))
            truths[image] = [
                (int(rng.choice(list(categories))), [x, y, x + 60, y + 70], 0) for x, y in low
            ]
        label_of = {category: label for label, category in enumerate(categories)}
        result[name] = (
            write_coco(tmp_path_factory.mktemp(name) / 'truth.json', categories, truths),
            tuple(categories.values()),
            [
                sample(**noisy(rng, boxes, len(categories), label_of), img_id=image)
                for image, boxes in truths.items()
            ],
        )
    return result


def evaluate(world, names, samples=None, batch=2, **kwargs):
    """As in the runner: datasets and evaluator from configs, then batches of samples."""
    with DefaultScope.overwrite_default_scope('mmdet'):
        dataset = DATASETS.build(
            dict(
                type='ConcatDataset',
                datasets=[
                    dict(
                        type='PromptCocoDataset',
                        ann_file=world[name][0],
                        data_prefix=dict(img=''),
                        test_mode=True,
                        pipeline=[],
                    )
                    for name in names
                ],
            )
        )
        evaluator = EVALUATOR.build(
            dict(
                type='DatasetAverageEvaluator',
                dataset_prefixes=names,
                **kwargs,
                metrics=[dict(type='PromptCocoMetric', ann_file=world[name][0]) for name in names],
            )
        )
    evaluator.dataset_meta = dataset.metainfo
    samples = samples or [s for name in names for s in world[name][2]]
    for start in range(0, len(samples), batch):
        evaluator.process(samples[start : start + batch], None)
    return evaluator.evaluate(len(dataset))


def alone(world, name):
    file, classes, samples = world[name]
    return score(PromptCocoMetric(file), samples, classes=classes)


@pytest.mark.parametrize('batch', [1, 3])
def test_each_set_is_scored_as_alone_then_averaged(world, batch):
    found = evaluate(world, ['pets', 'farm'], batch=batch)
    pets, farm = alone(world, 'pets'), alone(world, 'farm')
    expected = {
        f'{name}/{key}': value
        for name, values in (('pets', pets), ('farm', farm))
        for key, value in values.items()
    }
    for key in pets:
        expected['average/' + key.removeprefix('coco/')] = pytest.approx(
            np.mean([pets[key], farm[key]]) if pets[key] != -1 else -1
        )
    assert found == expected
    assert 0 < pets['coco/bbox_mAP'] != farm['coco/bbox_mAP'] > 0


def test_order_of_predictions_does_not_matter(world):
    names = ['pets', 'farm']
    samples = [s for name in names for s in world[name][2]]
    again = shuffled(shuffled(samples))  # images in order, predictions not in order
    assert [s['img_id'] for s in again] == [s['img_id'] for s in samples]
    assert evaluate(world, names, again) == evaluate(world, names)


def test_names_to_average(world):
    found = evaluate(world, ['pets', 'farm'], average_keys=['bbox_mAP_50'])
    assert [key for key in found if key.startswith('average/')] == ['average/bbox_mAP_50']
    with pytest.raises(ValueError, match="pets reports no 'AP'; it reports bbox_mAP, "):
        evaluate(world, ['pets', 'farm'], average_keys=['AP'])


def test_robustness_against_coco_in_the_same_run(world):
    found = evaluate(world, ['pets', 'coco', 'farm'], robustness=dict(coco_prefix='coco', beta=0.5))
    mean = np.mean([found['pets/coco/bbox_mAP'], found['farm/coco/bbox_mAP']])
    assert found['average/bbox_mAP'] == pytest.approx(mean)
    assert found['average/effective_robustness'] == pytest.approx(
        mean - 0.5 * found['coco/coco/bbox_mAP']
    )
    assert found['coco/coco/bbox_mAP'] == alone(world, 'coco')['coco/bbox_mAP'] > 0


def evaluator(prefixes=('a', 'b'), **kwargs):
    return DatasetAverageEvaluator([PromptCocoMetric() for _ in prefixes], prefixes, **kwargs)


def test_published_robustness():
    """FIBER-B on COCO-O: mean AP 33.7 and robustness 11.43 correspond to a COCO AP of 49.49."""
    domains = {'sketch': 0.30, 'weather': 0.36, 'cartoon': 0.351}
    values = {f'{name}/coco/bbox_mAP': ap for name, ap in domains.items()}
    found = evaluator(domains, robustness=dict(coco_ap=0.4949)).averages(values)
    assert found['average/bbox_mAP'] == pytest.approx(0.337)
    assert found['average/effective_robustness'] == pytest.approx(0.1143, abs=5e-5)


def test_sets_without_anything_to_find_are_left_out():
    values = {
        'a/coco/bbox_mAP_s': -1,
        'b/coco/bbox_mAP_s': 0.5,
        'a/coco/bbox_mAP_l': -1,
        'b/coco/bbox_mAP_l': -1,
    }
    assert evaluator().averages(values) == {'average/bbox_mAP_s': 0.5, 'average/bbox_mAP_l': -1}


def test_a_set_without_metrics_is_an_error():
    with pytest.raises(ValueError, match='a: bbox_mAP; b: none'):
        evaluator().averages({'a/coco/bbox_mAP': 0.5})


@pytest.mark.parametrize(
    'robustness, message',
    [
        (dict(), 'either coco_ap'),
        (dict(coco_ap=0.4, coco_prefix='a'), 'either coco_ap'),
        (dict(coco_ap=49.5), 'fraction'),
        (dict(coco_prefix='c'), "'c' is not among .*: a, b"),
        (dict(coco_app=0.4), "no argument 'coco_app'. Did you mean 'coco_ap'"),
    ],
)
def test_wrong_robustness_is_refused(robustness, message):
    with pytest.raises((ValueError, TypeError), match=message):
        evaluator(robustness=robustness)


def test_wrong_prefixes_are_refused():
    with pytest.raises(ValueError, match='2 dataset_prefixes for 1 metrics'):
        DatasetAverageEvaluator([PromptCocoMetric()], ['a', 'b'])
    with pytest.raises(ValueError, match='must differ: a, a'):
        evaluator(['a', 'a'])


def test_a_metric_beyond_the_sets_sees_all_samples(world, tmp_path):
    """Such as the one that tools/test.py appends to write the predictions."""
    evaluator = DatasetAverageEvaluator(
        [PromptCocoMetric(world[name][0]) for name in ('pets', 'farm')], ['pets', 'farm']
    )
    evaluator.dataset_meta = [
        dict(classes=world[name][1], cumulative_sizes=[3, 5]) for name in ('pets', 'farm')
    ]
    evaluator.metrics.append(DumpDetResults(str(tmp_path / 'found.pkl')))
    samples = world['pets'][2] + world['farm'][2]
    evaluator.process(samples)
    found = evaluator.evaluate(5)
    assert found['average/bbox_mAP'] > 0
    dumped = load(tmp_path / 'found.pkl')
    assert [s['img_id'] for s in dumped] == [1, 2, 3, 1, 9]
    assert torch.equal(
        dumped[0]['pred_instances']['scores'],
        samples[0]['pred_instances']['scores'].sort(descending=True).values,
    )
