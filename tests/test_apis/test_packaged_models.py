"""The trained models inside this package: small, complete, and able to do what they are for."""

import json
import os
import runpy
import sys
from pathlib import Path

import numpy as np
import pytest

import fiber_scenes
from fiber_mmdet.apis import ImageTextInferencer
from fiber_mmdet.weights.catalogue import IMAGE_TEXT, PACKAGED

CHECKOUT = Path(__file__).resolve().parents[2]
packaged_only = pytest.mark.skipif(
    not (PACKAGED[IMAGE_TEXT] / 'weights.pth').is_file(),
    reason=f'{IMAGE_TEXT} is not packaged: {PACKAGED[IMAGE_TEXT]} has no weights.pth',
)


@pytest.fixture(scope='module')
def ask():
    """The packaged image-text model."""
    return ImageTextInferencer(device='cpu')


def scenes(count):
    """Scenes of another seed than those of the model card, with things never seen in training."""
    return [fiber_scenes.sample_scene('test', number, seed=1) for number in range(count)]


@packaged_only
def test_most_questions_about_scenes_are_answered(ask):
    right = []
    for scene in scenes(5):
        asked = fiber_scenes.ask(scene, 4)
        found = ask.answer(fiber_scenes.draw(scene), [one.text for one in asked])
        right += [answer.answer == one.answer for answer, one in zip(found, asked)]
    assert len(right) == 20 and sum(right) >= 14


@packaged_only
def test_every_head_is_there(ask):
    """Texts find their scene, by either head; captions and statements come in the right form."""
    some = scenes(4)
    drawn = [fiber_scenes.draw(scene) for scene in some]
    texts = [fiber_scenes.narrate(scene, 1)[0] for scene in some]
    for rerank in (False, True):
        found = ask.retrieve(texts, drawn, k=1, rerank=rerank)
        assert sum(hits[0].index == i for i, hits in enumerate(found)) >= 3
    assert np.linalg.norm(ask.embed_images(drawn[0])) == pytest.approx(1, abs=1e-5)
    assert 0 <= ask.match(drawn[0], texts[0]) <= 1
    assert fiber_scenes.mentions(ask.caption(drawn[0]))
    assert 0 <= ask.judge(drawn[0], drawn[1], 'both images have a star').probability <= 1
    assert set(ask.answers) == set(fiber_scenes.ANSWERS)


@packaged_only
def test_the_demo_needs_no_arguments(monkeypatch, tmp_path):
    monkeypatch.setattr(sys, 'argv', ['demo_image_text.py', 'overview', '--device', 'cpu'])
    monkeypatch.chdir(tmp_path)
    assert runpy.run_path(str(CHECKOUT / 'tools/demo_image_text.py'))['main']() == 0
    found = json.loads((tmp_path / 'demo_overview.json').read_text())
    assert len(found['questions']) == 8 and found['caption']['text'] and found['attention']
    assert (tmp_path / 'demo_overview.jpg').stat().st_size


def test_what_is_shipped_is_small():
    """Weights of 10 MB at most each, and a wheel of less than 25 MB."""
    for folder in PACKAGED.values():
        for file in folder.glob('weights.pth'):
            assert file.stat().st_size <= 10e6, file
    shipped = ('fiber_mmdet', 'fiber_scenes', 'configs', 'tools')
    sizes = {
        file: os.path.getsize(file)
        for name in shipped
        for file in (CHECKOUT / name).rglob('*')
        if file.is_file() and '__pycache__' not in file.parts and '.mim' not in file.parts
    }
    assert 9e6 < sum(sizes.values()) < 25e6
