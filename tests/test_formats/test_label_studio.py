"""Label Studio's rectangles: percent of the image, scores, names of the tags."""

import pytest

from fiber_mmdet.formats.label_studio import prediction, rectangle
from fiber_mmdet.formats.labelled import LabelledBox


def test_a_rectangle_is_in_percent_of_its_image_and_keeps_its_score():
    found = rectangle(LabelledBox('hard hat', (20, 10, 120, 60), 0.75), (200, 100), 7)
    assert found['value'] == dict(
        x=10, y=10, width=50, height=50, rotation=0, rectanglelabels=['hard hat']
    )
    assert (found['original_width'], found['original_height']) == (200, 100)
    assert (found['id'], found['score'], found['type']) == ('7', 0.75, 'rectanglelabels')


def test_a_true_box_has_no_score_and_tags_may_have_other_names():
    found = rectangle(LabelledBox('cat', (0, 0, 1, 1)), (2, 2), None, 'boxes', 'photo')
    assert 'score' not in found and 'id' not in found
    assert (found['from_name'], found['to_name']) == ('boxes', 'photo')


def test_a_prediction_has_the_mean_score_of_its_boxes():
    boxes = [LabelledBox('a', (0, 0, 1, 1), 0.2), LabelledBox('b', (0, 0, 2, 2), 0.6)]
    found = prediction(boxes, (4, 4), 'fiber')
    assert found['score'] == pytest.approx(0.4) and found['model_version'] == 'fiber'
    assert [one['id'] for one in found['result']] == ['1', '2']
    assert prediction([], (4, 4), 'fiber')['score'] == 0
