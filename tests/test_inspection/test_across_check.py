"""Checks of training and evaluation data together: leaks, names, files, boxes in one place."""

import json

import numpy as np
import pytest
from mmengine.config import Config
from mmengine.registry import DefaultScope
from PIL import Image

from fiber_mmdet.inspection import across_check
from fiber_mmdet.inspection.data_check import check_data

NAMES = ('cat', 'dog')


def write(folder, part, seeds, names=NAMES, boxes=None):
    """A part of a set: an image of noise for each seed, with a box."""
    images, annotations = [], []
    (folder / part).mkdir(exist_ok=True)
    for i, seed in enumerate(seeds, 1):
        pixels = np.random.default_rng(seed).integers(0, 255, (80, 100, 3), np.uint8)
        Image.fromarray(pixels).save(folder / part / f'{i}.png')
        images.append(dict(id=i, file_name=f'{i}.png', width=100, height=80))
        box = boxes[i - 1] if boxes else [10, 20, 30, 40]
        annotations.append(dict(id=i, image_id=i, bbox=box, area=9, category_id=1))
    categories = [dict(id=i, name=name) for i, name in enumerate(names, 1)]
    (folder / f'{part}.json').write_text(
        json.dumps(dict(images=images, annotations=annotations, categories=categories))
    )


def check(folder, evaluator=None, **val):
    def dataset(part, **more):
        return dict(
            dict(
                type='PromptCocoDataset',
                data_root=f'{folder}/',
                ann_file=f'{part}.json',
                data_prefix=dict(img=f'{part}/'),
                pipeline=[],
                serialize_data=False,
            ),
            **more,
        )

    cfg = dict(
        model=dict(tokenizer=dict(name_or_path='fiber_mmdet:mini', max_tokens=256)),
        train_dataloader=dict(dataset=dataset('train')),
        val_dataloader=dict(dataset=dataset('val', test_mode=True, **val)),
    )
    if (folder / 'test.json').is_file():
        cfg['test_dataloader'] = dict(dataset=dataset('test', test_mode=True))
    if evaluator:
        cfg['val_evaluator'] = dict(
            type='PromptCocoMetric', metric='bbox', ann_file=f'{folder}/{evaluator}.json'
        )
    with DefaultScope.overwrite_default_scope('mmdet'):
        return check_data(Config(cfg))


@pytest.mark.parametrize('most', [1000, 0])
def test_an_image_in_both_is_a_leak(tmp_path, monkeypatch, most):
    monkeypatch.setattr(across_check, 'MOST_DECODED', most)  # 0: bytes are compared
    write(tmp_path, 'train', [1, 2, 3])
    write(tmp_path, 'val', [4, 2])
    (fault,) = check(tmp_path).faults
    assert '1 of its 2 images are in training as well' in fault
    assert f'{tmp_path}/val/2.png = {tmp_path}/train/2.png' in fault


def test_the_same_pixels_in_another_file_are_a_leak_and_likeness_is_a_note(tmp_path):
    write(tmp_path, 'train', [1, 2, 3])
    write(tmp_path, 'val', [4, 5])
    image = Image.open(tmp_path / 'train/3.png')
    image.save(tmp_path / 'val/2.png', compress_level=0)
    image.point(lambda value: min(255, value + 3)).save(tmp_path / 'val/1.png')
    report = check(tmp_path)
    (fault,) = report.faults
    assert f'{tmp_path}/val/2.png = {tmp_path}/train/3.png' in fault
    assert any('look alike' in note and 'val/1.png' in note for note in report.sources[1].notes)


def test_images_that_are_on_both_lists_are_a_leak_without_being_read(tmp_path, monkeypatch):
    monkeypatch.setattr(across_check, 'MOST_FILES', 0)
    monkeypatch.setattr(across_check, 'MOST_DECODED', 0)
    write(tmp_path, 'train', [1, 2])
    write(tmp_path, 'val', [3])
    report = check(tmp_path, data_prefix=dict(img='train/'))
    assert '1 of its 1 images are in training as well' in report.faults[0]
    assert any('except by path' in note for note in report.sources[1].notes)


def test_images_of_the_training_are_read_once_for_all_test_sets(tmp_path, monkeypatch):
    read = []

    def image_print(path):
        read.append(path.relative_to(tmp_path).as_posix())
        return look(path)

    look = across_check.image_print
    monkeypatch.setattr(across_check, 'image_print', image_print)
    write(tmp_path, 'train', [1, 2])
    write(tmp_path, 'val', [3])
    write(tmp_path, 'test', [4, 2])
    (fault,) = check(tmp_path).faults
    assert f'{tmp_path}/test/2.png = {tmp_path}/train/2.png' in fault
    assert sorted(read) == ['test/1.png', 'test/2.png', 'train/1.png', 'train/2.png', 'val/1.png']


def test_different_images_are_no_leak(tmp_path):
    write(tmp_path, 'train', [1, 2, 3])
    write(tmp_path, 'val', [4, 5])
    report = check(tmp_path, 'val')
    assert report.faults == []
    # all boxes are in one place, and the constant one is there
    assert report.sources[1].details == [
        'boxes per name: cat 2, dog 0',
        'a box that is always in the same place has AP 1.000, AP50 1.000 on it',
    ]


def test_a_constant_box_is_the_median_of_the_training_boxes(tmp_path):
    write(tmp_path, 'train', [1, 2, 3], boxes=[[0, 0, 50, 40], [0, 0, 50, 40], [9, 9, 9, 9]])
    write(tmp_path, 'val', [4, 5], boxes=[[0, 0, 50, 60], [60, 50, 30, 20]])
    (said,) = [line for line in check(tmp_path).sources[1].details if 'same place' in line]
    # IoU 2/3 with one of two boxes: right at 0.5, 0.55, 0.6, 0.65; recall ends at 0.5
    at_once = 51 / 101
    assert f'AP {0.4 * at_once:.3f}, AP50 {at_once:.3f}' in said


def test_names_that_differ_by_case_or_blanks_are_problems(tmp_path):
    write(tmp_path, 'train', [1], ['hard hat', 'Hard  hat', 'hard_hat', 'vest'])
    write(tmp_path, 'val', [2], ['hard hat', 'VEST', 'glove'])
    faults = check(tmp_path).faults
    said = '\n'.join(faults)
    assert "'hard hat' and 'Hard  hat' and 'hard_hat' differ only by case or blanks" in said
    assert "names that training spells otherwise: 'VEST' ('vest' there)" in said


def test_names_without_a_box_in_training_are_noted(tmp_path):
    write(tmp_path, 'train', [1], ['dog', 'cat'])
    write(tmp_path, 'val', [2], ['cat', 'dog'])
    report = check(tmp_path)
    assert "1 of its 2 names have no box in training ('cat')" in report.sources[1].notes
    assert any("no annotation ('cat')" in note for note in report.sources[0].notes)


def test_a_metric_of_other_images_is_a_problem_and_a_copy_is_a_note(tmp_path):
    write(tmp_path, 'train', [1, 2])
    write(tmp_path, 'val', [3])
    (fault,) = check(tmp_path, 'train').faults
    assert 'val_evaluator: it reads' in fault and '1 images are in one of them only' in fault
    (tmp_path / 'copy.json').write_text((tmp_path / 'val.json').read_text())
    report = check(tmp_path, 'copy')
    assert report.faults == []
    assert any('reads another file' in note for note in report.sources[1].notes)


def test_a_file_of_corners_is_a_problem_and_a_few_such_boxes_a_note(tmp_path):
    corners = [[50, 40, 90, 75], [30, 20, 60, 50], [5, 5, 99, 79], [60, 30, 95, 70]]
    write(tmp_path, 'train', range(8), boxes=corners * 2)
    write(tmp_path, 'val', [9, 10])
    faults = check(tmp_path).faults
    assert any('would fit it as x1, y1, x2, y2' in fault for fault in faults)
    fine = [[60, 50, 30, 20]] * 20  # which are no corners
    write(tmp_path, 'train', range(26), boxes=corners[:1] * 6 + fine)
    report = check(tmp_path)
    assert not any('as x1' in fault for fault in report.faults)
    assert any('6 of 26 boxes extend' in note for note in report.sources[0].notes)
