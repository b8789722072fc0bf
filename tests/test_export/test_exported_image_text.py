"""An exported image-text model answers as the model does."""

import shutil

import numpy as np
import pytest

from fiber_mmdet.apis import ImageTextInferencer
from fiber_mmdet.export.exported import ExportedError
from fiber_mmdet.export.image_text_runner import ImageTextRunner


@pytest.fixture(scope='module')
def both(exported_image_text, model_files):
    answers = [f'answer {i}' for i in range(36)]
    return (
        ImageTextRunner(exported_image_text, threads=1),
        ImageTextInferencer(*model_files, device='cpu', answers=answers),
    )


def test_questions_statements_and_matching(both, scenes):
    ours, model = both
    questions = ['what color is the star?', 'how many rings are there in the picture?']
    for found, wanted in zip(ours.answer(scenes[0], questions), model.answer(scenes[0], questions)):
        assert found.answer == wanted.answer
        assert found.score == pytest.approx(wanted.score, abs=1e-4)
    statement = 'both images have a red star'
    found, wanted = (one.judge(scenes[0], scenes[1], statement) for one in both)
    assert found.true == wanted.true
    assert found.probability == pytest.approx(wanted.probability, abs=1e-4)
    np.testing.assert_allclose(
        ours.match(scenes[:3], statement), model.match(scenes[:3], statement), atol=1e-4
    )


def test_features(both, scenes):
    ours, model = both
    texts = ['a star', 'a red circle left of a ring', 'word ' * 60]
    np.testing.assert_allclose(
        ours.embed_images(scenes[:2]), model.embed_images(scenes[:2]), atol=1e-4
    )
    np.testing.assert_allclose(ours.embed_texts(texts), model.embed_texts(texts), atol=1e-4)
    assert ours.embed_texts('a star').shape == model.embed_texts('a star').shape


def test_captions(both, scenes):
    ours, model = both
    assert ours.caption(scenes[:2]) == model.caption(scenes[:2])


def test_the_prefix_of_a_file_is_kept_until_the_file_changes(both, scenes, tmp_path, monkeypatch):
    ours, _ = both
    calls, run = [], ours.model.run
    monkeypatch.setattr(
        ours.model, 'run', lambda name, **inputs: calls.append(name) or run(name, **inputs)
    )
    copied = shutil.copyfile(scenes[0], tmp_path / 'scene.png')
    first = ours.match(copied, 'a star')
    assert ours.match(copied, 'a ring') != first and calls.count('image_prefix') == 1
    shutil.copyfile(scenes[1], copied)
    assert ours.match(copied, 'a star') == ours.match(scenes[1], 'a star') != first


def test_a_head_that_was_not_exported(both, scenes, monkeypatch):
    ours, _ = both
    monkeypatch.delitem(ours.heads, 'vqa')
    with pytest.raises(ExportedError, match="'vqa'"):
        ours.answer(scenes[0], 'what is it?')
