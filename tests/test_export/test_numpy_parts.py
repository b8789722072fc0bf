"""The parts of runners in numpy are those of the model: images, detections, captions."""

import numpy as np
import pytest
import torch

from fiber_mmdet.apis.inputs import read_image
from fiber_mmdet.export.captions import CaptionTokens
from fiber_mmdet.export.config_facts import image_input, text_facts, write_tokenizer
from fiber_mmdet.export.detections import Detecting, Found
from fiber_mmdet.export.generation import BeamSearch
from fiber_mmdet.models.detection.postprocess import detections
from fiber_mmdet.models.image_text.decoding import SpecialTokens, beam_search, greedy


@pytest.fixture(scope='module')
def model(detector_files):
    from fiber_mmdet.apis import FIBERInferencer

    return FIBERInferencer(*detector_files, device='cpu')


def test_images_are_prepared_to_the_same_pixels(model, photos):
    prepare = image_input(model.config.test_pipeline, model.model.data_preprocessor)
    assert type(prepare).read(prepare.record(), 'here') == prepare
    for photo in photos:
        loaded = model._prepare(photo)
        data = model.model.data_preprocessor(
            dict(inputs=[loaded['inputs']], data_samples=[loaded['data_samples']]), False
        )
        found, meta = prepare(read_image(photo)), data['data_samples'][0].metainfo
        np.testing.assert_allclose(found.pixels, data['inputs'].numpy(), atol=1e-6)
        assert found.resized == tuple(meta['img_shape'][:2])
        np.testing.assert_allclose(found.factors[:2], meta['scale_factor'], rtol=1e-6)


@pytest.mark.parametrize('score_thr, max_per_img', [(0.05, 100), (0.4, 7), (0.999, 100)])
@pytest.mark.parametrize('exclusive', [True, False])
def test_detections_are_those_of_the_model(score_thr, max_per_img, exclusive):
    random = np.random.default_rng(1)
    strides, padded, resized = (8, 16, 32), (96, 128), (90, 121)
    rule = Detecting(score_thr, 40, 0.6, max_per_img, exclusive, -1, None, strides)
    counts = [level.stop - level.start for level in rule._levels(padded)]
    assert counts == [12 * 16, 6 * 8, 3 * 4]
    total = sum(counts)
    logits = random.normal(size=(total, 9)).astype(np.float32) * 2
    middle, side = random.uniform(-5, 130, (total, 2)), random.uniform(5, 60, (total, 2))
    boxes = np.concatenate([middle - side / 2, middle + side / 2], 1).astype(np.float32)
    centerness = random.normal(size=total).astype(np.float32)
    labels, factors = [[1, 2], [4], []], np.array([1.5, 1.25] * 2, np.float32)
    found = rule.detections(logits, boxes, centerness, labels, padded, resized, factors)
    wanted = detections(
        *(torch.from_numpy(x).split(counts) for x in (logits, boxes, centerness)),
        labels,
        resized,
        score_thr,
        40,
        0.6,
        max_per_img,
    )
    assert len(found.scores) == len(wanted.scores)
    assert bool(len(found.scores)) == (score_thr < 0.9)
    np.testing.assert_allclose(found.scores, wanted.scores.numpy(), atol=1e-6)
    np.testing.assert_array_equal(found.labels, wanted.labels.numpy())
    expected = wanted.bboxes.numpy() / factors + np.array([0, 0, 1, 1]) * exclusive
    np.testing.assert_allclose(found.boxes, expected, atol=1e-4)


def test_passes_are_joined_by_score():
    parts = [
        Found(np.full((2, 4), i, np.float32), np.array(scores, np.float32), np.array(labels))
        for i, (scores, labels) in enumerate([([0.9, 0.2], [0, 1]), ([0.5, 0.3], [3, 2])])
    ]
    found = Found.joined(parts)
    np.testing.assert_allclose(found.scores, [0.9, 0.5, 0.3, 0.2])
    assert found.labels.tolist() == [0, 3, 2, 1]
    assert found.boxes[:, 0].tolist() == [0, 1, 1, 0]


@pytest.mark.parametrize('beam_size', [1, 3])
def test_captions_are_those_of_the_models_search(beam_size):
    words, generator = 12, torch.Generator().manual_seed(beam_size)
    table = torch.randn(words, words, generator=generator) * 2
    start, end, pad, mask = 0, 2, 1, 3

    def by_last(ids):
        return table.numpy()[ids[:, -1]]

    special = SpecialTokens(end, pad, mask)
    first = torch.tensor([start])

    def step(tokens, rows):
        return table[tokens]

    wanted = (
        greedy(step, first, special, 8)
        if beam_size == 1
        else beam_search(step, first, special, beam_size, 8)
    )
    found = BeamSearch(beam_size, 8, mask)(by_last, start, end, pad)
    assert found.tolist() == wanted[0, : len(found)].tolist()
    assert (wanted[0, len(found) :] == pad).all()


def test_tokens_are_those_of_the_prompt_tokenizer(model, tmp_path):
    write_tokenizer(model.model, tmp_path / 'tokenizer.json')
    ours = CaptionTokens.read(tmp_path / 'tokenizer.json', text_facts(model.model))
    theirs = model.model.tokenizer
    texts = ['a red circle . a star', 'Ünlike “words” 猫', 'ring']
    found, wanted = ours(texts), theirs(texts)
    np.testing.assert_array_equal(found.ids, wanted.ids.numpy())
    np.testing.assert_array_equal(found.mask, wanted.mask.numpy())
    for text, a, b in zip(texts, found.encodings, wanted.encodings):
        assert [a.char_to_token(i) for i in range(len(text))] == [
            b.char_to_token(i) for i in range(len(text))
        ]
    long = 'a star ' * 300
    np.testing.assert_array_equal(
        ours([long], truncate=True).ids, theirs([long], truncate=True).ids.numpy()
    )
    assert ours.length(long) == theirs.length(long) > 300
