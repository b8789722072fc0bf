"""From raw predictions to detections: thresholds, ranking, NMS, cuts, label contract."""

import math

import pytest
import torch

from fiber_mmdet.models.detection.postprocess import (
    detections,
    labelwise_nms,
    level_candidates,
    phrase_scores,
)


def logit(p):
    return torch.tensor(p, dtype=torch.float64).logit().float()


def detect(
    probabilities, boxes, centerness=None, label_tokens=((0,), (1,)), size=(100, 100), **limits
):
    """One level; ``probabilities`` (N, L) of tokens."""
    centerness = centerness or [0.999999] * len(boxes)
    return detections(
        [logit(probabilities)],
        [torch.tensor(boxes).float()],
        [logit(centerness)],
        label_tokens,
        size,
        **limits,
    )


FAR_APART = [[0, 0, 9, 9], [20, 0, 29, 9], [40, 0, 49, 9], [60, 0, 69, 9], [80, 0, 89, 9]]


def test_phrase_score_is_the_mean_of_token_probabilities():
    scores = phrase_scores(logit([[0.1, 0.5, 0.9], [0.2, 0.2, 0.2]]), [[0, 2], [1], [0, 1, 2]])
    torch.testing.assert_close(scores, torch.tensor([[0.5, 0.5, 0.5], [0.2, 0.2, 0.2]]))
    scores = phrase_scores(logit([[0.1, 0.9]]), [[1], [0, 1]])
    torch.testing.assert_close(scores, torch.tensor([[0.9, 0.5]]))


@pytest.mark.parametrize('score_thr', [0.05, 0.0])
def test_label_without_tokens_is_never_selected(score_thr):
    found = detect([[0.9, 0.8]], [[0, 0, 9, 9]], label_tokens=[[], [0]], score_thr=score_thr)
    assert found.labels.tolist() == [1]
    nothing = detect([[0.9, 0.8]], [[0, 0, 9, 9]], label_tokens=[[], []], score_thr=score_thr)
    assert len(nothing) == 0 and nothing.bboxes.shape == (0, 4)


def test_threshold_comes_before_centerness_and_score_is_the_root_of_the_product():
    found = detect([[0.06, 0.01], [0.04, 0.01], [0.81, 0.01]], FAR_APART[:3], [0.01, 0.99, 0.25])
    assert found.bboxes.tolist() == [FAR_APART[2], FAR_APART[0]]
    expected = torch.tensor([0.81 * 0.25, 0.06 * 0.01]).sqrt()
    torch.testing.assert_close(found.scores, expected)
    assert math.isclose(found.scores[0], 0.45, rel_tol=1e-5)


def test_threshold_is_exclusive():
    product, position, label = level_candidates(
        torch.tensor([[0.5, 0.25]]), torch.ones(1), score_thr=0.25, nms_pre=10
    )
    assert (product.tolist(), position.tolist(), label.tolist()) == ([0.5], [0], [0])


def test_candidates_are_ranked_by_the_product():
    scores = torch.tensor([[0.9, 0.1], [0.5, 0.6]])
    product, position, label = level_candidates(
        scores, torch.tensor([0.1, 0.8]), score_thr=0.05, nms_pre=2
    )
    assert list(zip(position.tolist(), label.tolist())) == [(1, 1), (1, 0)]
    torch.testing.assert_close(product, torch.tensor([0.48, 0.40]))


def test_nms_pre_counts_per_level():
    def level(x):
        return logit([[0.9], [0.8]]), torch.tensor([[x, 0, x + 5, 5], [x + 10, 0, x + 15, 5.0]])

    (a, boxes_a), (b, boxes_b) = level(0), level(50)
    found = detections(
        [a, b], [boxes_a, boxes_b], [logit([0.9, 0.9])] * 2, [[0]], (100, 100), nms_pre=1
    )
    assert sorted(found.bboxes[:, 0].tolist()) == [0, 50]


# Inclusive areas are 100 and 70: IoU 0.7. Without the added pixel it is 54 / 81 = 0.667.
OVERLAPPING = torch.tensor([[0.0, 0, 9, 9], [0, 0, 9, 6]])


@pytest.mark.parametrize('threshold, kept', [(0.68, [0]), (0.71, [0, 1])])
def test_nms_counts_the_last_pixel(threshold, kept):
    boxes, scores, _ = labelwise_nms(
        OVERLAPPING, torch.tensor([0.9, 0.8]), torch.zeros(2).long(), threshold, 100
    )
    assert torch.equal(boxes, OVERLAPPING[kept])
    torch.testing.assert_close(scores, torch.tensor([0.9, 0.8])[kept])


def test_nms_is_class_wise_and_sorts():
    boxes, scores, labels = labelwise_nms(
        OVERLAPPING[[0, 1, 1]], torch.tensor([0.7, 0.8, 0.9]), torch.tensor([3, 3, 5]), 0.6, 100
    )
    assert labels.tolist() == [5, 3]
    assert torch.equal(boxes, OVERLAPPING[[1, 1]]) and scores.tolist() == sorted(
        scores, reverse=True
    )


def test_nms_in_many_labels_does_not_move_boxes():
    """Offsetting labels apart would round fractional coordinates."""
    boxes = torch.tensor([[0.123456, 0.654321, 7.777777, 8.888888]]).repeat(1000, 1)
    kept, _, labels = labelwise_nms(boxes, torch.rand(1000), torch.arange(1000), 0.6, 2000)
    assert torch.equal(kept, boxes) and sorted(labels.tolist()) == list(range(1000))


@pytest.mark.parametrize(
    'scores, kept', [([0.9, 0.8, 0.7, 0.6, 0.5], 2), ([0.9, 0.8, 0.8, 0.8, 0.5], 4), ([0.9] * 5, 5)]
)
def test_ties_at_the_cut_are_kept(scores, kept):
    boxes, found, labels = labelwise_nms(
        torch.tensor(FAR_APART).float(), torch.tensor(scores), torch.arange(5), 0.6, 2
    )
    assert len(boxes) == len(labels) == kept
    assert torch.equal(found, torch.tensor(scores)[:kept])


def test_boxes_are_clipped_to_the_last_pixel_of_the_image():
    found = detect([[0.9, 0]], [[-5, -7, 200, 300]], label_tokens=[[0]], size=(40, 60))
    assert found.bboxes.tolist() == [[0, 0, 59, 39]]


def test_inside_out_boxes_are_dropped_and_single_pixels_kept():
    boxes = [[10, 10, 8.5, 20], [30, 30, 30, 30], [50, 50, 49.5, 50]]
    found = detect([[0.9]] * 3, boxes, label_tokens=[[0]])
    assert sorted(found.bboxes.tolist()) == boxes[1:]


def test_labels_index_the_given_list():
    probabilities = [[0.9, 0.01, 0.01], [0.01, 0.01, 0.8], [0.01, 0.7, 0.01]]
    found = detect(probabilities, FAR_APART[:3], label_tokens=[[2], [0], [1]])
    assert found.labels.tolist() == [1, 0, 2]
    assert found.bboxes.tolist() == FAR_APART[:3]


# ------------------------------------------------------------------- the head
@pytest.fixture
def predict(tiny_model_cfg, build):
    """``predict(scale_factor, rescale, **test_cfg)``: detections of the head on random features."""
    cfg = tiny_model_cfg.bbox_head
    cfg.update(deformable=False)
    generator = torch.Generator().manual_seed(0)
    levels = [
        torch.randn(1, 32, 64 // s or 1, 96 // s or 1, generator=generator)
        for s in (8, 16, 32, 64, 128)
    ]
    text = torch.randn(1, 5, 32, generator=generator)

    def predict(scale_factor=(1.0, 1.0), rescale=True, **test_cfg):
        cfg.test_cfg = dict(score_thr=0.0, max_per_img=20, **test_cfg)
        meta = dict(img_shape=(60, 90), scale_factor=scale_factor)
        with torch.no_grad():
            return build(cfg).predict(
                levels, text, torch.ones(1, 5).bool(), [[[1], [2, 3]]], [meta], rescale
            )[0]

    return predict


@pytest.mark.filterwarnings('ignore:In MMCV v1.4.4')
def test_head_rescales_by_width_and_height(predict):
    plain, scaled = predict(), predict(scale_factor=(2.0, 0.5))
    assert len(plain) == 20 and (plain.bboxes[:, 2:] <= torch.tensor([89, 59])).all()
    torch.testing.assert_close(scaled.bboxes, plain.bboxes / torch.tensor([2, 0.5, 2, 0.5]))
    assert torch.equal(predict(scale_factor=(2.0, 0.5), rescale=False).bboxes, plain.bboxes)


@pytest.mark.filterwarnings('ignore:In MMCV v1.4.4')
def test_exclusive_boxes_add_the_pixel_after_rescaling(predict):
    inclusive = predict(scale_factor=(2.0, 0.5))
    exclusive = predict(scale_factor=(2.0, 0.5), exclusive_boxes=True)
    assert torch.equal(exclusive.bboxes, inclusive.bboxes + torch.tensor([0, 0, 1, 1]))
    assert torch.equal(exclusive.scores, inclusive.scores)


@pytest.mark.filterwarnings('ignore:In MMCV v1.4.4')
def test_head_passes_its_test_cfg_on(predict):
    found = predict(iou_threshold=0.0)
    for label in (0, 1):
        boxes = found.bboxes[found.labels == label]
        for i in range(len(boxes)):
            low = torch.maximum(boxes[i, :2], boxes[i + 1 :, :2])
            high = torch.minimum(boxes[i, 2:], boxes[i + 1 :, 2:])
            assert ((high - low + 1).clamp(min=0).prod(1) == 0).all()
