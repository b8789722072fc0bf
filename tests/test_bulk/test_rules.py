"""Rules of pseudo-labels: scores by name, sizes, overlaps, numbers."""

import json

import pytest

from fiber_mmdet.bulk import RuleError, Rules, read_thresholds

PHRASES = ('dog', 'cat')


def found(*detections):
    return dict(
        width=100,
        height=100,
        inclusive=False,
        detections=[
            dict(box=list(box), score=score, label=label) for box, score, label in detections
        ],
    )


def kept(rules, *detections):
    return [one['score'] for one in rules(found(*detections), PHRASES)['detections']]


def test_thresholds_of_names_and_of_the_others():
    rules = Rules(0.5, {'cat': 0.2})
    box = (0, 0, 10, 10)
    assert rules.floor == 0.2
    assert kept(rules, (box, 0.5, 0), (box, 0.49, 0), (box, 0.2, 1), (box, 0.19, 1)) == [0.5, 0.2]


def test_sizes_are_those_of_exclusive_boxes():
    rules, record = Rules(0, min_size=10), found(((0, 0, 9, 9), 0.9, 0), ((0, 0, 50, 8), 0.8, 0))
    assert not rules(record, PHRASES)['detections']
    assert len(rules(dict(record, inclusive=True), PHRASES)['detections']) == 1  # 10 x 10
    # cut at the border of the image
    assert not kept(rules, ((95, 0, 120, 50), 0.9, 0))


def test_overlaps_of_one_name_and_of_all():
    """The second box covers 0.8 of the first one, the third 0.6 of it."""
    boxes = (((0, 0, 10, 10), 0.9, 0), ((0, 0, 10, 8), 0.8, 0), ((0, 0, 10, 6), 0.7, 1))
    assert kept(Rules(0, nms=0.7), *boxes) == [0.9, 0.7]
    assert kept(Rules(0, nms=0.9), *boxes) == [0.9, 0.8, 0.7]
    assert kept(Rules(0, nms_across=0.7), *boxes) == [0.9, 0.7]
    assert kept(Rules(0, nms_across=0.5), *boxes) == [0.9]


def test_equal_scores_stay_in_their_order_and_the_best_are_kept():
    boxes = [((i, 0, i + 5, 5), 0.5, 0) for i in range(0, 50, 10)] + [((60, 0, 70, 9), 0.9, 1)]
    detections = Rules(0, nms=0.5, max_boxes=3)(found(*boxes), PHRASES)['detections']
    assert [one['box'][0] for one in detections] == [60, 0, 10]


@pytest.mark.parametrize(
    'options',
    [dict(score_thr=50), dict(nms=1.5), dict(nms_across=-1), dict(max_boxes=0), dict(min_size=-2)],
)
def test_rules_without_sense(options):
    with pytest.raises(RuleError, match=next(iter(options))):
        Rules(**options)


def test_thresholds_of_names_that_are_not_looked_for():
    with pytest.raises(RuleError, match="'cow'.*'dog', 'cat'"):
        Rules(thresholds=dict(cow=0.4)).check_names(PHRASES)


def test_threshold_files(tmp_path):
    (tmp_path / 'a.json').write_text(json.dumps({'dog': 0.4, 'red car': 1}))
    (tmp_path / 'a.yaml').write_text('dog: 0.4\nred car: 1\n')
    for name in ('a.json', 'a.yaml'):
        assert read_thresholds(tmp_path / name) == {'dog': 0.4, 'red car': 1.0}
    for name, content, said in (
        ('b.json', '{"dog": "high"}', "'dog'"),
        ('c.json', '{"dog": 4}', "'dog': 4"),
        ('d.json', '["dog"]', 'd.json'),
        ('e.yaml', 'dog', 'e.yaml'),
        ('f.yaml', 'dog: [', 'f.yaml'),
    ):
        (tmp_path / name).write_text(content)
        with pytest.raises(ValueError, match=said):
            read_thresholds(tmp_path / name)
