"""The trained models inside this package: small, complete, and able to do what they are for."""

import json
import os
import re
import runpy
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import fiber_scenes
from fiber_mmdet.apis import FIBERInferencer, ImageTextInferencer, LoadingError
from fiber_mmdet.weights import find_known, get_weights
from fiber_mmdet.weights.catalogue import DETECTOR, IMAGE_TEXT, PACKAGED

CHECKOUT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope='module')
def ask():
    """The packaged image-text model."""
    return ImageTextInferencer(device='cpu')


def scenes(count):
    """Scenes of another seed than those of the model card, with things never seen in training."""
    return [fiber_scenes.sample_scene('test', number, seed=1) for number in range(count)]


def test_most_questions_about_scenes_are_answered(ask):
    right = []
    for scene in scenes(5):
        asked = fiber_scenes.ask(scene, 4)
        found = ask.answer(fiber_scenes.draw(scene), [one.text for one in asked])
        right += [answer.answer == one.answer for answer, one in zip(found, asked)]
    assert len(right) == 20 and sum(right) >= 14


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


def test_the_demo_needs_no_arguments(monkeypatch, tmp_path):
    monkeypatch.setattr(sys, 'argv', ['demo_image_text.py', 'overview', '--device', 'cpu'])
    monkeypatch.chdir(tmp_path)
    assert runpy.run_path(str(CHECKOUT / 'tools/demo_image_text.py'))['main']() == 0
    found = json.loads((tmp_path / 'demo_overview.json').read_text())
    assert len(found['questions']) == 8 and found['caption']['text'] and found['attention']
    assert (tmp_path / 'demo_overview.jpg').stat().st_size


def test_it_has_a_name(ask, monkeypatch, tmp_path, capsys):
    """For itself, for its weights, in all tools; it is no detector, and the detector is not it."""
    pixels = fiber_scenes.draw(scenes(1)[0])
    config = PACKAGED[IMAGE_TEXT] / 'config.py'
    for named in ((IMAGE_TEXT,), (f'fiber://{IMAGE_TEXT}',), (config, f'fiber://{IMAGE_TEXT}')):
        found = ImageTextInferencer(*named, device='cpu').caption(pixels)
        assert found == ask.caption(pixels)
    with pytest.raises(LoadingError, match='FIBERForVL, not a FIBERDetector'):
        FIBERInferencer(IMAGE_TEXT, device='cpu')
    with pytest.raises(LoadingError, match='FIBERDetector, not a FIBERForVL'):
        ImageTextInferencer(DETECTOR, device='cpu')
    assert get_weights(IMAGE_TEXT) == PACKAGED[IMAGE_TEXT] / 'weights.pth'
    monkeypatch.chdir(tmp_path)
    for tool, *words in (
        ['weights', 'where', IMAGE_TEXT],
        ['weights', 'check', IMAGE_TEXT],
        ['demo_image_text', 'overview', '--model', IMAGE_TEXT, '--device', 'cpu'],
        ['demo_image_text', 'sheet', '--model', IMAGE_TEXT, '--number', '1', '--device', 'cpu'],
    ):
        monkeypatch.setattr(sys, 'argv', [f'{tool}.py', *words])
        assert runpy.run_path(str(CHECKOUT / f'tools/{tool}.py'))['main']() == 0
    assert str(PACKAGED[IMAGE_TEXT] / 'weights.pth') in capsys.readouterr().out


def test_the_page_about_results(monkeypatch, tmp_path):
    """Its Python runs as it stands, but for FiftyOne, which needs a database server."""
    for module in ('pandas', 'pyarrow', 'supervision'):
        pytest.importorskip(module, reason=f'{module}, of an extra, is not installed')
    page = (CHECKOUT / 'docs/results.md').read_text(encoding='utf-8')
    blocks = re.findall(r'```python\n(.*?)```', page, re.DOTALL)
    assert len(blocks) > 5
    (tmp_path / 'photos').mkdir()
    for number, scene in enumerate(scenes(2)):
        Image.fromarray(fiber_scenes.draw(scene)).save(tmp_path / f'photos/{number}.png')
    monkeypatch.chdir(tmp_path)
    names = {}
    for block in blocks:
        if 'fiftyone' not in block:
            exec(compile(block, 'results.md', 'exec'), names)
    assert {'found.coco.json', 'found.parquet', 'attention.png'} <= set(os.listdir())


def test_the_page_about_prompts(capsys):
    """Its Python runs as it stands, and what it looks for is there."""
    page = (CHECKOUT / 'docs/prompts.md').read_text(encoding='utf-8')
    names = {}
    for block in re.findall(r'```python\n(.*?)```', page, re.DOTALL):
        exec(compile(block, 'prompts.md', 'exec'), names)
    assert len(names['ring']) and len(names['star'])
    assert 'ring' in capsys.readouterr().out


def test_the_readme(monkeypatch, tmp_path, capsys):
    """Its Python runs as it stands, and finds what it looks for."""
    page = (CHECKOUT / 'README.md').read_text(encoding='utf-8')
    blocks = re.findall(r'```python\n(.*?)```', page, re.DOTALL)
    assert len(blocks) == 2
    (tmp_path / 'photos').mkdir()
    for place in ('photo.jpg', 'photos/1.jpg'):
        Image.fromarray(fiber_scenes.draw(scenes(1)[0])).save(tmp_path / place)
    monkeypatch.chdir(tmp_path)
    names = {}
    for block in blocks:
        exec(compile(block, 'README.md', 'exec'), names)
    assert {'a red ring', 'a blue heart'} == set(names['result'].names)
    assert os.path.isfile('found.json') and 'yellow' in capsys.readouterr().out


@pytest.mark.parametrize('name', PACKAGED)
def test_the_card_is_complete(name):
    """Every figure is filled in, here and in the table of known weights."""
    card = (PACKAGED[name] / 'README.md').read_text(encoding='utf-8')
    assert not re.search(r'(?<![\w"\'])\?(?![\w"\'])', card)
    assert all(one.value[0].isdigit() for one in find_known(name).published)


def test_what_is_shipped_is_small():
    """Weights of about 10 MB at most each, and a wheel of less than 25 MB."""
    for folder in PACKAGED.values():
        assert (folder / 'weights.pth').stat().st_size <= 10.6e6, folder
    shipped = ('fiber_mmdet', 'fiber_scenes', 'configs', 'tools')
    sizes = {
        file: os.path.getsize(file)
        for name in shipped
        for file in (CHECKOUT / name).rglob('*')
        if file.is_file() and '__pycache__' not in file.parts and '.mim' not in file.parts
    }
    assert 9e6 < sum(sizes.values()) < 25e6
