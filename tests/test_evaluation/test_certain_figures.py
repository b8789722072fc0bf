"""Figures that do not depend on the model are reported with a warning."""

import pytest
import torch
from mmengine.logging import MMLogger

from fiber_mmdet.evaluation import (
    CaptionMetric,
    NLVR2Accuracy,
    PretrainingAccuracy,
    RetrievalRecall,
)


@pytest.fixture
def said(monkeypatch):
    lines = []
    monkeypatch.setattr(MMLogger.get_current_instance(), 'warning', lines.append)
    return lines


def evaluate(metric, samples, times=2):
    for _ in range(times):
        metric.process(None, samples)
        found = metric.evaluate(len(samples))
    return found


def captions(count):
    texts = ['a red circle', 'two blue squares', 'a star'][:count]
    return [dict(image_id=i, pred_caption=x, captions=[x]) for i, x in enumerate(texts)]


def test_captions_of_one_image(said):
    assert evaluate(CaptionMetric(metrics=['CIDEr-D']), captions(1))['caption/CIDEr-D'] == 0
    assert 'CIDEr-D of a corpus of 1 image is 0' in said[0]
    said.clear()
    assert evaluate(CaptionMetric(metrics=['CIDEr-D']), captions(3))['caption/CIDEr-D'] > 0
    assert not said


def candidates(images):
    return [
        dict(image_id=i, scores=dict(itc=torch.rand(2 * images)), text_rows=[2 * i, 2 * i + 1])
        for i in range(images)
    ]


def test_recalls_with_few_candidates(said):
    found = evaluate(RetrievalRecall(topk=(1, 2, 5)), candidates(2))
    assert found['retrieval/itc/IR@2'] == found['retrieval/itc/TR@5'] == 1
    (line,) = said  # once, though it was evaluated twice
    assert line.startswith('TR@5, IR@2, IR@5 of 2 images and 4 texts are 1 whatever')
    said.clear()
    evaluate(RetrievalRecall(topk=(1, 5)), candidates(6))
    assert not said


def pairs(matches, images):
    features = torch.nn.functional.normalize(torch.rand(len(matches), 4))
    return [
        dict(image_id=i, match=m, pred_match=0.7, image_feature=f, text_feature=f)
        for m, i, f in zip(matches, images, features)
    ]


def test_pairs_with_one_answer_and_images_without_others(said):
    evaluate(PretrainingAccuracy(), pairs([1, 1], [7, 7]))
    assert len(said) == 2
    assert 'itm_accuracy' in said[0] and 'itc_i2t and itc_t2i of a single image' in said[1]
    said.clear()
    evaluate(PretrainingAccuracy(), pairs([1, 0], [7, 8]))
    assert not said


@pytest.mark.parametrize('labels, warned', [([1, 1], True), ([0, 1], False)])
def test_statements_with_one_answer(said, labels, warned):
    samples = [
        dict(split='dev', identifier=f'dev-1-{i}-0', pred_label=1, label=label)
        for i, label in enumerate(labels)
    ]
    evaluate(NLVR2Accuracy(), samples, times=1)
    assert bool(said) is warned
