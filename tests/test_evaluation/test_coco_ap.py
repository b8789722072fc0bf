"""PromptCocoMetric against pycocotools, and its differences from mmdet's metric."""

import json
from collections import Counter

import numpy as np
import pytest
from mmdet.evaluation import CocoMetric
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from fiber_mmdet.evaluation import PromptCocoMetric
from made_samples import SIDE, noisy, sample, score, score_in_two_processes, shuffled, write_coco

# ids are not in order: labels follow the order of the file
CATEGORIES = {7: 'cat', 3: 'dog', 9: 'bird'}
CLASSES = tuple(CATEGORIES.values())
LABEL_OF = {category: label for label, category in enumerate(CATEGORIES)}
ITEMS = ('mAP', 'mAP_50', 'mAP_75', 'mAP_s', 'mAP_m', 'mAP_l')


@pytest.fixture(scope='module')
def truths():
    """Boxes of all sizes on 8 images, one of them a crowd, one image empty."""
    rng = np.random.default_rng(0)
    result = {}
    for image in range(20, 27):
        result[image] = []
        for i in range(6):
            size = [15, 50, 130][i % 3]
            x, y = rng.uniform(0, SIDE - 1.2 * size, 2)
            result[image].append(
                (
                    int(rng.choice(list(CATEGORIES))),
                    [x, y, x + size, y + 1.2 * size],
                    int(image == 20 and i == 2),
                )
            )
    return {**result, 12: []}


@pytest.fixture(scope='module')
def ann_file(truths, tmp_path_factory):
    return write_coco(tmp_path_factory.mktemp('coco') / 'truth.json', CATEGORIES, truths)


def predicted(truths, seed=0, levels=None, **meta):
    """Detections on all images but one."""
    rng = np.random.default_rng(seed)
    return [
        sample(
            **noisy(rng, boxes if image != 22 else [], 3, LABEL_OF, levels),
            img_id=image,
            instances=[
                dict(bbox=box, bbox_label=LABEL_OF[c], ignore_flag=crowd) for c, box, crowd in boxes
            ],
        )
        for image, boxes in truths.items()
    ]


def by_pycocotools(ann_file, samples):
    """The summary of pycocotools, of rows in a random order."""
    rows = []
    for s in samples:
        pred = s['pred_instances']
        for (x1, y1, x2, y2), p, label in zip(
            pred['bboxes'].tolist(), pred['scores'].tolist(), pred['labels'].tolist()
        ):
            rows.append(
                dict(
                    image_id=s['img_id'],
                    category_id=list(CATEGORIES)[label],
                    score=p,
                    bbox=[x1, y1, x2 - x1, y2 - y1],
                )
            )
    truth = COCO(ann_file)
    evaluation = COCOeval(truth, truth.loadRes(rows), 'bbox')
    evaluation.evaluate()
    evaluation.accumulate()
    evaluation.summarize()
    return dict(zip(ITEMS, evaluation.stats))


def test_against_pycocotools_and_mmdet(ann_file, truths):
    samples = predicted(truths)
    found = score(PromptCocoMetric(ann_file), samples, classes=CLASSES)
    expected = by_pycocotools(ann_file, samples)
    assert found == {
        f'coco/bbox_{item}': pytest.approx(expected[item], abs=5.1e-4) for item in ITEMS
    }
    assert found == score(CocoMetric(ann_file), samples, classes=CLASSES)
    assert 0.1 < found['coco/bbox_mAP'] < found['coco/bbox_mAP_50'] < 0.95
    assert len(set(found.values())) == 6


def test_classwise_and_items(ann_file, truths):
    metric = PromptCocoMetric(
        ann_file, classwise=True, metric_items=['mAP_50', 'AR@100'], prefix='x'
    )
    found = score(metric, predicted(truths), classes=CLASSES)
    assert set(found) == {'x/bbox_mAP_50', 'x/bbox_AR@100', *(f'x/{c}_precision' for c in CLASSES)}


def test_truth_of_the_samples(ann_file, truths):
    """Without a file, areas are those of the boxes; a second evaluation changes nothing."""
    samples = predicted(truths)
    metric = PromptCocoMetric()
    expected = score(PromptCocoMetric(ann_file), samples, classes=CLASSES)
    assert score(metric, samples, classes=CLASSES) == expected
    assert score(metric, samples, classes=CLASSES) == expected


def perfect(truths):
    """The true boxes without crowds."""
    return [
        sample(
            [box for _, box, crowd in boxes if not crowd],
            [0.5] * sum(not c for *_, c in boxes),
            [LABEL_OF[c] for c, _, crowd in boxes if not crowd],
            img_id=image,
        )
        for image, boxes in truths.items()
    ]


def test_perfect_predictions(ann_file, truths):
    found = score(PromptCocoMetric(ann_file), perfect(truths), classes=CLASSES)
    assert found == {f'coco/bbox_{item}': 1 for item in ITEMS}


def nothing(truths, **meta):
    return [sample([], [], [], img_id=image, **meta) for image in truths]


@pytest.mark.parametrize('given', [True, False])
def test_nothing_found_is_zero(ann_file, truths, given):
    samples = nothing(truths)
    for s, p in zip(samples, predicted(truths)):
        s['instances'] = p['instances']
    found = score(PromptCocoMetric(ann_file if given else None), samples, classes=CLASSES)
    assert found == {f'coco/bbox_{item}': 0 for item in ITEMS}
    assert score(CocoMetric(ann_file), samples, classes=CLASSES) == {}


def test_nothing_found_where_there_is_nothing_to_find(tmp_path):
    file = write_coco(tmp_path / 'x.json', CATEGORIES, {1: [(7, [0, 0, 9, 9], 0)]})
    found = score(PromptCocoMetric(file), nothing([1]), classes=CLASSES)
    zeros = {f'coco/bbox_{item}': 0 for item in ITEMS}
    assert found == {**zeros, 'coco/bbox_mAP_m': -1, 'coco/bbox_mAP_l': -1}


@pytest.mark.parametrize('format_only', [True, False])
def test_file_of_results_has_no_box_if_nothing_was_found(ann_file, truths, tmp_path, format_only):
    metric = PromptCocoMetric(
        ann_file, outfile_prefix=str(tmp_path / 'found'), format_only=format_only
    )
    score(metric, nothing(truths), classes=CLASSES)
    assert json.loads((tmp_path / 'found.bbox.json').read_text()) == []


@pytest.mark.parametrize('levels', [None, 3])
def test_order_does_not_matter(ann_file, truths, levels):
    samples = predicted(truths, seed=1, levels=levels)
    metric = PromptCocoMetric(ann_file, metric_items=[*ITEMS, 'AR@100'], proposal_nums=(1, 10, 100))
    expected = score(metric, samples, classes=CLASSES)
    for _ in range(3):
        samples = shuffled(samples)
        assert score(metric, samples, batch=3, classes=CLASSES) == expected


def test_equal_scores_are_ranked_by_the_box(tmp_path):
    """Of two boxes with equal scores the one with the smaller x1 comes first, in any order."""
    file = write_coco(tmp_path / 'x.json', CATEGORIES, {1: [(7, [10, 10, 50, 50], 0)]})
    for left, expected in ((0, 0.5), (60, 1)):  # a false box before or after the true one
        boxes = [[10, 10, 50, 50], [left, 90, 100, 100]]
        for order in (slice(None), slice(None, None, -1)):
            found = score(
                PromptCocoMetric(file),
                [sample(boxes[order], [0.5] * 2, [0] * 2, img_id=1)],
                classes=CLASSES,
            )
            assert found['coco/bbox_mAP'] == expected


def test_results_of_two_processes_are_merged(monkeypatch, ann_file, truths):
    samples = predicted({image: truths[image] for image in list(truths)[:7]})
    expected = score(PromptCocoMetric(ann_file), samples, classes=CLASSES)
    found = score_in_two_processes(
        monkeypatch, lambda: PromptCocoMetric(ann_file), samples, CLASSES
    )
    assert found == expected


def test_classes_that_the_file_lacks_are_refused(ann_file, truths):
    with pytest.raises(ValueError, match="no category 'fish'"):
        score(PromptCocoMetric(ann_file), predicted(truths), classes=(*CLASSES, 'fish'))


def test_no_samples_are_refused(ann_file):
    with pytest.raises(ValueError, match='Prompt.* got no sample'):
        score(PromptCocoMetric(ann_file), [], classes=CLASSES)


def test_made_data_has_ties_and_all_sizes(truths):
    scores = Counter(
        p for s in predicted(truths, levels=3) for p in s['pred_instances']['scores'].tolist()
    )
    assert max(scores.values()) > 5


def test_images_that_the_file_lacks_are_refused(ann_file, truths):
    samples = predicted(truths)
    samples[0]['img_id'] = 999
    with pytest.raises(ValueError, match='image 999 was tested, but the ann_file of .* lacks it'):
        score(PromptCocoMetric(ann_file), samples, classes=CLASSES)
