"""An exported detector answers as the model does, in both runtimes, and alone in a folder."""

import subprocess
import sys

import numpy as np
import pytest

from fiber_mmdet.apis import FIBERInferencer
from fiber_mmdet.export.runner import GroundingRunner
from fiber_mmdet.text import PromptError, whole_prompt

NAMES = ['red circle', 'blue square', 'star', 'a green ring', 'heart']
PROMPTS = [
    (NAMES, {}),
    ('a red circle . a star', {}),
    ('the red circle beside a star', dict(tokens_positive=-1)),
    ('the red circle beside a star', dict(phrases=['red circle', 'star'])),
    (whole_prompt('a ring'), {}),
    (NAMES[:3], dict(chunked_size=-1)),
]


@pytest.fixture(scope='module')
def model(detector_files):
    return FIBERInferencer(*detector_files, device='cpu')


@pytest.fixture(scope='module', params=['onnxruntime', 'torch'])
def find(request, exported_detector):
    return GroundingRunner(exported_detector, backend=request.param, threads=1)


def same(found, wanted):
    """Whether two results have the same detections, up to rounding and the order of ties."""
    assert len(found) == len(wanted) > 0
    assert (found.phrases, found.spans, found.caption) == (
        wanted.phrases,
        wanted.spans,
        wanted.caption,
    )
    assert found.image_size == wanted.image_size
    assert found.inclusive == wanted.inclusive
    np.testing.assert_allclose(found.scores, wanted.scores, atol=1e-4)
    # of detections that score alike, either may come first
    for box, label, score in zip(found.boxes, found.labels, found.scores):
        near = (wanted.labels == label) & (np.abs(wanted.scores - score) < 2e-4)
        assert np.abs(wanted.boxes[near] - box).max(1).min() < 0.05


def test_one_image_under_many_prompts(find, model, photos):
    for photo in photos:
        find.set_image(photo), model.set_image(photo)
        for prompt, how in PROMPTS:
            same(find.ground(prompt, 0.01, **how), model.ground(prompt, 0.01, **how))


def test_one_prompt_in_many_images(find, model, photos):
    find.set_prompt(NAMES), model.set_prompt(NAMES)
    for found, wanted in zip(find.detect(photos, 0.01), model.detect(photos, 0.01)):
        same(found, wanted)
    same(find(photos[0], 'a star', 0.01), model(photos[0], 'a star', 0.01))


def test_prefixes_are_computed_once(exported_detector, photos):
    find, calls = GroundingRunner(exported_detector, threads=1), []
    run = find.model.run
    find.model.run = lambda name, **inputs: calls.append(name) or run(name, **inputs)
    find.set_image(photos[0])
    find.ground('a star', 0.0), find.ground('a ring', 0.0), find.ground('a star', 0.0)
    assert calls == ['image_prefix', 'text_prefix', 'tail', 'text_prefix', 'tail', 'tail']


def test_errors_are_those_of_the_inferencer(find, photos):
    find.reset()
    with pytest.raises(RuntimeError, match='set_image'):
        find.ground('a star')
    with pytest.raises(RuntimeError, match='set_prompt'):
        find.detect(photos)
    with pytest.raises(PromptError, match='tokens but the model reads 256'):
        find(photos[0], [f'name number {i}' for i in range(100)], chunked_size=-1)
    with pytest.raises(FileNotFoundError, match='nowhere.jpg'):
        find.set_image('nowhere.jpg')


LINES = """
import sys
for name in ('torch', 'mmengine', 'mmcv', 'mmdet', 'transformers', 'fiber_mmdet'):
    sys.modules[name] = None  # importing it fails
from fiber_runner import GroundingRunner

find = GroundingRunner(sys.argv[1], threads=1)
find.set_image(sys.argv[2])
result = find.ground('a red circle . a star', 0.01)
result.draw(path=sys.argv[3])
result.save_json(sys.argv[4])
print(len(result), result.to_coco()['categories'][0]['name'])
"""


def test_the_folder_runs_where_neither_torch_nor_mmdet_is(
    exported_detector, model, photos, tmp_path
):
    from PIL import Image

    Image.fromarray(photos[0]).save(tmp_path / 'photo.png')
    places = [exported_detector, *(tmp_path / x for x in ('photo.png', 'drawn.png', 'found.json'))]
    done = subprocess.run(
        [sys.executable, '-c', LINES, *map(str, places)],
        capture_output=True,
        text=True,
        env=dict(PYTHONPATH=str(exported_detector), PATH='/usr/bin'),
    )
    assert done.returncode == 0, done.stderr
    wanted = model(photos[0], 'a red circle . a star', 0.01)
    assert done.stdout.split()[0] == str(len(wanted))
    assert (tmp_path / 'drawn.png').is_file() and (tmp_path / 'found.json').is_file()
