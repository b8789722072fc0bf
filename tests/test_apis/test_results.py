"""Results of the detector: drawn on the image they belong to, and written to files."""

from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from fiber_mmdet.apis import GroundingResult, draw_result
from fiber_mmdet.outputs import OutputError
from fiber_mmdet.text import parse_prompt

GREY = 90
PROMPT = parse_prompt('a red circle, a blue star and a red circle')
RESULT = GroundingResult(
    boxes=np.array([[20, 20, 90, 90], [200, 120, 300, 200], [30, 150, 80, 200]], np.float32),
    scores=np.array([0.9, 0.7, 0.5], np.float32),
    labels=np.array([0, 1, 0]),
    phrases=PROMPT.phrases,
    spans=PROMPT.spans,
    caption=PROMPT.caption,
    image_size=(240, 320),
)


def blank(size=(240, 320)):
    return np.full((*size, 3), GREY, np.uint8)


def test_image_and_result_stay_as_they_are():
    image = blank()
    drawing = draw_result(image, RESULT, score_thr=0.95)
    assert (image == GREY).all() and len(RESULT) == 3
    assert (drawing[:576] == GREY).all() and drawing[576:].min() < 200  # a grey caption on white
    assert (draw_result(image, RESULT)[:576] != GREY).any()


def test_drawings_are_written(tmp_path):
    path = tmp_path / 'new' / 'drawing.png'
    drawing = RESULT.draw(blank(), path)
    np.testing.assert_array_equal(np.asarray(Image.open(path)), drawing)
    with pytest.raises(ValueError, match='drawing.xyz|extension'):
        RESULT.draw(blank(), tmp_path / 'drawing.xyz')


def test_files_are_not_written_onto_the_image(tmp_path):
    path = tmp_path / 'scene.png'
    Image.fromarray(blank()).save(path)
    before, result = path.read_bytes(), replace(RESULT, image=str(path))
    for write in (
        lambda: result.draw(path=path),
        lambda: RESULT.draw(path, path=path),
        lambda: RESULT.draw(Image.open(path), path=path),
        lambda: result.save_json(path),
    ):
        with pytest.raises(OutputError, match='is read as well and would be lost'):
            write()
    assert path.read_bytes() == before


@pytest.mark.parametrize('name', ['found', 'found.', 'found.json'])
def test_a_drawing_needs_an_ending(tmp_path, name):
    with pytest.raises(OutputError, match="write to 'found.jpg'"):
        RESULT.draw(blank(), tmp_path / name)


@pytest.mark.parametrize('name', ['a red\ncircle', 'a\ttab', 'half \ud83d', 'a\u2028line', ''])
def test_names_that_cannot_be_written_are_drawn(name):
    result = replace(RESULT, phrases=(name, 'a blue star', name))
    assert draw_result(blank(), result).shape == draw_result(blank(), RESULT).shape


def test_a_line_break_inside_a_phrase(tmp_path):
    prompt = parse_prompt('a red\ncircle . a star', custom_entities=True)
    assert prompt.phrases == ('a red\ncircle', 'a star')
    result = replace(RESULT.above(0.7), phrases=prompt.phrases, spans=prompt.spans)
    result = replace(result, caption=prompt.caption, labels=np.arange(2))
    result.draw(blank(), tmp_path / 'a.png')
    assert len(str(result).splitlines()) == 3


def test_images_that_do_not_fit():
    with pytest.raises(ValueError, match='320x240.*10x20'):
        draw_result(blank((20, 10)), RESULT)
    with pytest.raises(ValueError, match='uint8'):
        draw_result(blank().astype(float), RESULT)
    with pytest.raises(ValueError, match='as pixels'):
        RESULT.draw()
