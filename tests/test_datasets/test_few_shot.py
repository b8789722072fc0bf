"""Few-shot sets: which images are kept."""

import pytest

from coco_json import box, image, write_json
from fiber_mmdet.datasets import PromptCocoDataset
from fiber_mmdet.datasets.detection.coco_prompts import pick_shots


def record(number, *labels):
    return dict(img_id=number, instances=[dict(bbox_label=label) for label in labels])


def ids(records):
    return [r['img_id'] for r in records]


def test_the_rule_by_hand():
    """Walked by id: 1 gives a; 2 gives a, b; 3 has nothing that is wanted; 5 gives b."""
    records = [
        record(5, 'b'),
        record(3, 'a'),
        record(1, 'a', 'a'),
        record(2, 'a', 'b'),
        record(4),
        record(6, 'b', 'a'),
    ]
    assert ids(pick_shots(records, 2)) == [5, 1, 2]  # in the order they came in
    assert ids(pick_shots(records, 1)) == [1, 2]
    assert ids(pick_shots(records, 9)) == [5, 3, 1, 2, 6]


def test_a_category_beyond_its_quota_stays_there():
    """Images that are kept for b push a far over its one image, and it is not needed again."""
    records = [record(1, 'a'), record(2, 'a', 'b'), record(3, 'a', 'c'), record(4, 'a')]
    assert ids(pick_shots(records, 1)) == [1, 2, 3]


def test_seeds_choose_other_images_fairly():
    records = [record(i, i % 3) for i in range(60)]
    first = pick_shots(records, 4, seed=3)
    assert ids(first) == sorted(ids(first)) == ids(pick_shots(records, 4, seed=3))
    assert sorted(i % 3 for i in ids(first)) == [0] * 4 + [1] * 4 + [2] * 4
    assert len({tuple(ids(pick_shots(records, 4, seed=s))) for s in (None, 0, 1, 3)}) == 4


def coco(tmp_path, **kwargs):
    images = [image(i) for i in (4, 3, 2, 1)]
    boxes = [box(i, i, [5, 5, 20, 20], 1 + i % 2) for i in (1, 2, 3)] + [box(9, 4, [5, 5, 0, 9])]
    path = write_json(tmp_path / 'set.json', images, boxes, {1: 'cat', 2: 'dog'})
    return PromptCocoDataset(ann_file=path, data_prefix=dict(img=''), pipeline=[], **kwargs)


def test_shots_of_a_dataset(tmp_path):
    def kept(**kwargs):
        dataset = coco(tmp_path, **kwargs)
        return [dataset.get_data_info(i)['img_id'] for i in range(len(dataset))]

    assert kept(shots=1) == [2, 1]
    assert kept(shots=2) == [3, 2, 1]  # 4 has no usable box
    assert kept(shots=1, metainfo=dict(classes=('dog',))) == [1]
    assert {tuple(kept(shots=1, shot_seed=s)) for s in range(9)} == {(2, 1), (3, 2)}
    assert kept() == [4, 3, 2, 1]


@pytest.mark.parametrize(
    'kwargs, message',
    [
        (dict(shots=0), 'shots=0 must be one or more'),
        (dict(shots=-1), 'shots=-1 must be'),
        (dict(shots=1, test_mode=True), 'is for training'),
        (dict(shot_seed=3), 'give shots, too'),
    ],
)
def test_arguments_that_make_no_sense(tmp_path, kwargs, message):
    with pytest.raises(ValueError, match=message):
        coco(tmp_path, **kwargs)
