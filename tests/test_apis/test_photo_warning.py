"""The packaged models say that photos are nothing for them: of photos, not of generated scenes."""

import numpy as np
import pytest
import torch

import fiber_scenes
from fiber_mmdet.apis import FIBERInferencer, ImageTextInferencer
from fiber_mmdet.apis.inputs import read_image
from fiber_mmdet.apis.photo_warning import looks_like_photo

WORDS = 'knows generated shapes only'


def pixels_of(image):
    return torch.from_numpy(np.ascontiguousarray(image.transpose(2, 0, 1)))


@pytest.mark.parametrize('options', [{}, dict(image_size=96, zoom=2, max_objects=1)])
def test_no_scene_looks_like_a_photo(options):
    scenes = [fiber_scenes.sample_scene('test', i, seed=1, **options) for i in range(50)]
    assert not any(looks_like_photo(pixels_of(fiber_scenes.draw(scene))) for scene in scenes)


def test_most_photos_do(shared_dir):
    files = sorted((shared_dir / 'data/coco128/train2017').glob('*.jpg'))
    if not files:
        pytest.skip('no photos in shared/data/coco128')
    found = [looks_like_photo(pixels_of(read_image(file))) for file in files]
    assert np.mean(found) > 0.8


def test_it_is_said_once_and_by_packaged_models_only(find, caplog):
    """Smooth light of all colours stands for a photo."""
    y, x = np.mgrid[:256, :256]
    photo = np.stack([x, y, 255 - (x + y) // 2], -1).astype(np.uint8)
    scene = fiber_scenes.draw(fiber_scenes.sample_scene('test', 0))
    detector, ask = FIBERInferencer(device='cpu'), ImageTextInferencer(device='cpu')
    caplog.clear()
    detector(scene, 'a star')
    ask.caption(scene)
    find([photo, scene], 'a star')
    assert WORDS not in caplog.text
    for look, name in (
        (lambda: detector(photo, 'a star'), 'fiber-mini '),
        (lambda: ask.caption([photo, photo]), 'fiber-mini-vl '),
    ):
        look()
        look()
        (record,) = [one for one in caplog.records if WORDS in one.getMessage()]
        assert name in record.getMessage() and 'docs/model_zoo.md' in record.getMessage()
        caplog.clear()
