"""Pictures of a training: predictions beside the truth, curves, and what happens if one fails."""

import json
import logging
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from mmdet.structures import DetDataSample
from mmengine.logging import MessageHub
from mmengine.runner import EpochBasedTrainLoop, IterBasedTrainLoop
from mmengine.structures import InstanceData
from PIL import Image

from fiber_mmdet.engine import PredictionSheetHook, TrainingCurvesHook
from fiber_mmdet.engine.training_check import from_noise
from fiber_mmdet.engine.training_pictures import sample_card
from fiber_mmdet.evaluation.constant_box import constant_box_score
from fiber_mmdet.visualization.palette import phrase_colors
from fiber_mmdet.visualization.truth_beside import NamedBoxes, truth_card


def found_sample(path, true=((10, 10, 50, 50),), scores=(0.9, 0.2, 0.1)):
    """A sample of a photo of 100 x 80 pixels, of which boxes were found."""
    if not path.exists():
        Image.new('RGB', (100, 80), (255, 255, 255)).save(path)
    count = len(scores)
    return DetDataSample(
        metainfo=dict(
            img_path=str(path), ori_shape=(80, 100), img_upright=False, text=('cat', 'dog')
        ),
        gt_instances=InstanceData(
            bboxes=torch.tensor(true, dtype=torch.float32).reshape(-1, 4),
            labels=torch.zeros(len(true), dtype=torch.long),
        ),
        pred_instances=InstanceData(
            bboxes=torch.tensor([[60, 40, 90, 70]] * count, dtype=torch.float32).reshape(-1, 4),
            labels=torch.ones(count, dtype=torch.long),
            scores=torch.tensor(scores),
            label_names=['dog'] * count,
        ),
    )


class Records(list):
    metainfo = dict(classes=('cat', 'dog'))

    def get_data_info(self, index):
        return self[index]


def records(count=3):
    box = dict(bbox=[10, 10, 50, 50], bbox_label=0)
    return Records([dict(width=100, height=80, instances=[box])] * count)


@pytest.fixture
def runner(tmp_path):
    """What the hooks read of a runner, in a training by epochs."""
    loop = object.__new__(EpochBasedTrainLoop)
    logger = logging.getLogger(f'pictures-{tmp_path.name}')
    logger.setLevel(logging.INFO)
    loader = SimpleNamespace(dataset=records())
    return SimpleNamespace(
        work_dir=str(tmp_path / 'work'),
        logger=logger,
        epoch=2,
        iter=80,
        _train_loop=loop,
        train_loop=loop,
        train_dataloader=loader,
        val_loop=object(),
        message_hub=MessageHub(tmp_path.name),
        val_dataloader=loader,
    )


def validate(hook, runner, samples):
    runner.val_dataloader = SimpleNamespace(dataset=records(), __len__=None)
    hook._choose(samples)
    for i, sample in enumerate(samples):
        hook.after_val_iter(runner, i, None, [sample])
    hook.after_val_epoch(runner, {'coco/bbox_mAP': 0.25, 'coco/bbox_mAP_50': 0.5})


def test_a_card_has_as_many_of_the_best_boxes_as_there_are_true_ones(tmp_path):
    card = sample_card(found_sample(tmp_path / 'a.png', true=[(10, 10, 50, 50)] * 2), 0.3)
    said = ''.join(text for text, _ in card.lines[0])
    assert said == 'a.png  2 true | found 1 of 0.3 or more, 1 below 0.3'
    truth, found = card.images
    colors = phrase_colors(['cat', 'dog'], [0, 1])
    # outlines in the colours of cat and dog, each in its own drawing only, four times as large
    assert (truth[40:200, 40] == colors[0]).all(-1).any()
    assert (found[160:280, 240] == colors[1]).all(-1).any()
    assert not (found[40:200, 40] == colors[0]).all(-1).any()


def test_the_threshold_adds_boxes_and_nothing_true_is_said():
    image = np.zeros((10, 10, 3), np.uint8)
    found = NamedBoxes(np.zeros((3, 4)), ['a'] * 3, np.array([0.2, 0.9, 0.4]))
    assert found.best(0, 0.3).scores.tolist() == [0.9, 0.4]
    card = truth_card(image, 'x', ['a'], None, found, 0.5)
    assert 'truth not known | found 1 of 0.5' in ''.join(text for text, _ in card.lines[0])


def test_a_sheet_for_each_validation_of_images_spread_over_the_dataset(tmp_path, runner):
    hook = PredictionSheetHook(number=3)
    samples = [found_sample(tmp_path / f'{i}.png') for i in range(5)]
    validate(hook, runner, samples)
    assert sorted(hook._chosen) == [0, 2, 4]
    sheet = Image.open(tmp_path / 'work/predictions/epoch_2.jpg')
    assert sheet.width > 2 * 260
    runner.train_loop = runner._train_loop = object.__new__(IterBasedTrainLoop)
    validate(hook, runner, samples[:1])
    assert (tmp_path / 'work/predictions/iter_80.jpg').is_file()


def test_the_log_says_what_a_constant_box_has(runner, caplog):
    PredictionSheetHook().before_train(runner)
    assert 'always in the same place has AP 1.000, AP50 1.000' in caplog.text


def test_crowds_alone_have_no_constant_box():
    train = list(records())
    crowds = [dict(width=100, height=80, instances=[dict(train[0]['instances'][0], ignore_flag=1)])]
    assert constant_box_score(train, train) == (1.0, 1.0)
    assert constant_box_score(train, crowds) is None
    assert constant_box_score(crowds, train) is None


def test_names_of_another_set_are_not_compared(runner, caplog):
    runner.val_dataloader = SimpleNamespace(dataset=records())
    runner.val_dataloader.dataset.metainfo = dict(classes=('ring',))
    hook = PredictionSheetHook()
    hook.before_train(runner)
    assert 'same place' not in caplog.text and hook._constant is None


def test_a_test_without_a_training_is_drawn_and_builds_no_training(tmp_path, runner):
    runner._train_loop = dict(type='EpochBasedTrainLoop')
    del runner.train_loop
    hook = PredictionSheetHook()
    hook._choose([0])
    hook.after_test_iter(runner, 0, None, [found_sample(tmp_path / 'a.png')])
    hook.after_test_epoch(runner, {})
    assert (tmp_path / 'work/predictions/test.jpg').is_file()
    TrainingCurvesHook().after_val_epoch(runner)


def test_a_drawing_that_fails_is_said_once_and_ends_nothing(tmp_path, runner, caplog):
    hook = PredictionSheetHook()
    gone = found_sample(tmp_path / 'gone.png')
    (tmp_path / 'gone.png').unlink()
    for _ in range(2):
        validate(hook, runner, [gone])
    assert caplog.text.count('stops drawing; the run goes on') == 1
    assert 'gone.png' in caplog.text


def test_curves_are_those_of_all_runs(tmp_path, runner):
    for run, lines in (
        ('20260101_1', [dict(loss=2.0, loss_bbox=1.0, iter=10, step=10)]),
        ('20260101_2', [dict(loss=1.0, iter=20, step=20), {'coco/bbox_mAP': 0.1, 'step': 2}]),
    ):
        log = tmp_path / 'work' / run / 'vis_data/scalars.json'
        log.parent.mkdir(parents=True)
        log.write_text(''.join(json.dumps(line) + '\n' for line in lines))
    hook = TrainingCurvesHook()
    hook.after_train(runner)
    one = Image.open(tmp_path / 'work/curves.png').size
    hook.after_val_epoch(runner)
    assert one == Image.open(tmp_path / 'work/curves.png').size  # two panels
    assert one[0] > 2 * one[1]


def test_curves_show_what_a_constant_box_has_and_leave_out_what_is_undefined(
    tmp_path, runner, monkeypatch
):
    PredictionSheetHook().before_train(runner)
    log = tmp_path / 'work/20260101_1/vis_data/scalars.json'
    log.parent.mkdir(parents=True)
    lines = [dict(loss=2.0, iter=10, step=10)]
    lines += [{'coco/bbox_mAP': 0.1, 'coco/bbox_mAP_50': 0.3, 'coco/bbox_mAP_s': -1.0, 'step': 1}]
    log.write_text(''.join(json.dumps(line) + '\n' for line in lines))
    drawn = {}
    monkeypatch.setattr(
        'fiber_mmdet.engine.training_pictures.draw_curves',
        lambda panels, out: drawn.update(panels),
    )
    TrainingCurvesHook().after_val_epoch(runner)
    assert drawn['validation'] == {
        'bbox_mAP': ('coco/bbox_mAP', [10], [0.1]),
        'bbox_mAP_50': ('coco/bbox_mAP_50', [10], [0.3]),
        'bbox_mAP of a constant box': ('coco/bbox_mAP', [0, 10], [1.0, 1.0]),
        'bbox_mAP_50 of a constant box': ('coco/bbox_mAP_50', [0, 10], [1.0, 1.0]),
    }


def test_nothing_logged_yet_is_no_reason_to_fail(runner, caplog):
    TrainingCurvesHook().after_val_epoch(runner)
    assert 'the run goes on' not in caplog.text


def test_a_training_from_noise_is_said():
    def runner(pretrained=None, **more):
        model = SimpleNamespace(backbone=SimpleNamespace(pretrained=pretrained or {}))
        return SimpleNamespace(**dict(dict(model=model, _resume=False, _load_from=None), **more))

    assert from_noise(runner())
    assert not from_noise(runner(dict(image='swin.pth')))
    assert not from_noise(runner(_load_from='a.pth'))
    assert not from_noise(runner(_resume=True))
