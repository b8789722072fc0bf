"""Overviews: what is drawn is what the inferencer says."""

import numpy as np
import pytest

from fiber_mmdet.apis import ImageTextInferencer, MissingHead
from fiber_mmdet.apis.overview import overview
from fiber_mmdet.visualization.cards import RIGHT, WRONG, Claim
from fiber_mmdet.visualization.overview import WIDTH, draw_overview
from fiber_scenes import CaptionMarks
from image_text_model import make_config

GREY = np.full((50, 100, 3), 90, np.uint8)


def count(drawing, color):
    return int((drawing == color).all(-1).sum())


def test_right_and_wrong_answers_are_told(ask, scenes):
    questions = ['how many rings?', 'is there a star?']
    answers = [answer.answer for answer in ask.answer(scenes[0], questions)]
    drawing, found = overview(ask, scenes[0], questions, [answers[0], 'none of them'])
    assert [record['right'] for record in found['questions']] == [True, False]
    assert [record['answer'] for record in found['questions']] == answers
    assert count(drawing, RIGHT) and count(drawing, WRONG) and drawing.shape[1] == WIDTH
    one = overview(ask, scenes[0], questions[0], answers[0])[1]
    assert [record['right'] for record in one['questions']] == [True]
    with pytest.raises(ValueError, match='1 true answers for 2 questions'):
        overview(ask, scenes[0], questions, answers[:1])


def test_what_is_marked_in_a_caption_is_looked_for(ask, scenes):
    def mark(caption, truth):
        assert truth == ['a ring']
        return CaptionMarks(((0, len(caption.split()[0]), False),), 'a ring')

    caption = ask.caption(scenes[0])
    drawing, found = overview(ask, scenes[0], captions=['a ring'], mark_caption=mark)
    assert found['caption'] == dict(text=caption, captions=['a ring'], right=False)
    assert [phrase['phrase'] for phrase in found['attention']['phrases']] == [caption.split()[0]]
    assert count(drawing, WRONG)


def test_phrases_of_a_given_text(ask, scenes):
    _, found = overview(ask, scenes[0], text='a red ring beside two blue stars')
    phrases = [phrase['phrase'] for phrase in found['attention']['phrases']]
    assert phrases == ['a red ring', 'two blue stars']
    maps = ask.attention(scenes[0], 'a red ring beside two blue stars', phrases)
    np.testing.assert_allclose(found['attention']['phrases'][1]['looks'], maps.looks[1], atol=1e-5)


def test_what_the_model_has_no_head_for(tiny_scenes, scenes):
    ask = ImageTextInferencer(make_config(tiny_scenes, heads=('itm',)), 'random', 'cpu')
    _, found = overview(ask, scenes[0], text='a ring')
    assert found['caption'] is None and not found['questions']
    with pytest.raises(ValueError, match='nothing to show'):
        overview(ask, scenes[0])
    with pytest.raises(MissingHead, match='answering questions'):
        overview(ask, scenes[0], 'what?')


def test_parts_of_the_drawing():
    """Panels stand below the rest, and are cut into rows; nothing needs to be there."""
    plain = draw_overview(GREY)
    answered = draw_overview(GREY, 'photo', ['what?'] * 12, [Claim('a dog', True)] * 12)
    heights = [
        draw_overview(GREY, text='words', phrases=['word'] * n, looks=np.ones((n, 2, 2))).shape[0]
        for n in (0, 1, 5, 6)
    ]
    assert answered.shape[0] > plain.shape[0] == heights[0]
    assert heights[0] < heights[1] == heights[2] < heights[3]
