"""Models of a server: what is computed once, who waits, what is refused."""

import threading
import time
from concurrent.futures import ThreadPoolExecutor
from unittest.mock import patch

import numpy as np
import pytest

from fiber_mmdet.serving import Busy, Limits, RequestError, ServedModels, TooLarge
from fiber_mmdet.serving.kept import Kept
from fiber_mmdet.serving.limits import Turns
from fiber_mmdet.serving.models import Times
from served_models import png

PROMPT = 'a purple square . a white square . a star'


def test_an_image_is_encoded_once_and_a_threshold_costs_nothing(models, scenes):
    find = models.detector.inferencer
    backbone = find.model.backbone
    image = models.read(scenes[0], 'scene.png')
    with (
        patch.object(backbone, 'encode_image', wraps=backbone.encode_image) as encode,
        patch.object(backbone, 'fuse', wraps=backbone.fuse) as fuse,
    ):
        result, first = models.find(image, PROMPT)
        _, second = models.find(models.read(scenes[0], 'renamed.png'), 'a heart')
        assert (encode.call_count, fuse.call_count) == (1, 2)
        again, third = models.find(image, PROMPT)
        assert (encode.call_count, fuse.call_count) == (1, 2)
    assert first.image and first.prompt and second.image is None and second.prompt
    assert third == Times(None, None) and again is result
    assert str(Times(0.8123, 0.095)) == 'image 812 ms, prompt 95 ms'
    assert str(second).startswith('image kept, prompt ')
    alone = find(image.pixels, PROMPT, score_thr=0.4)
    assert len(alone) and result.above(0.4).to_dict() == alone.to_dict()


def test_other_tasks_encode_an_image_once_too(models, scenes):
    ask = models.image_text.inferencer
    image = models.read(scenes[0], 'scene.png')
    encode = ask.model.encode_image
    with patch.object(ask.model, 'encode_image', side_effect=encode) as encoded:
        answers, _ = models.ask(image, ['what color is the star?', 'is there a heart?'])
        caption, times = models.caption(image)
        matches, _ = models.match(image, [caption, 'nothing of the kind'])
        maps, _ = models.attention(image, 'a purple square', ['purple square'])
    assert encoded.call_count == 1 and times.image is None
    assert [one['answer'] for one in answers] == [
        ask.answer(image.pixels, one['question']).answer for one in answers
    ]
    assert [one['match'] for one in matches] == sorted((m['match'] for m in matches), reverse=True)
    assert [phrase.words for phrase in maps.phrases] == ['purple square']
    assert models.caption(image) == (caption, Times(None, None))


def test_clients_at_a_time_get_answers_about_their_own_images(models, scenes):
    prompts = ['square . heart . star', 'circle . ring . cross . square']

    def ask(number: int) -> dict:
        image = models.read(scenes[number % 3], f'{number % 3}.png')
        return models.find(image, prompts[number % 2])[0].to_dict()

    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(ask, range(12)))
    find = models.detector.inferencer
    for number, one in enumerate(found[:6]):
        image = models.read(scenes[number % 3], 'again.png')
        assert one == find(image.pixels, prompts[number % 2], score_thr=0).to_dict()
        assert one == found[number + 6]


def test_too_many_are_told_to_come_back(models, scenes):
    models.turns = Turns(1)
    inside, go = threading.Event(), threading.Event()
    image = models.read(scenes[0], 'a.png')
    find = models.detector.inferencer
    encode = find.encode

    def slow(pixels):
        inside.set()
        assert go.wait(60)
        return encode(pixels)

    with patch.object(find, 'encode', side_effect=slow), ThreadPoolExecutor(2) as pool:
        first = pool.submit(models.find, image, 'a star')
        assert inside.wait(60)
        second = pool.submit(models.find, image, 'a ring')
        while models.turns._places._value:
            time.sleep(0.01)  # until the second waits
        with pytest.raises(Busy, match='1 requests are waiting'):
            models.find(image, 'a heart')
        go.set()
        assert first.result(60) and second.result(60)
    assert models.find(image, 'a heart')  # places are given back


@pytest.mark.parametrize(
    'prompt, options, said',
    [
        (' ', {}, 'empty'),
        ('star ' * 900, {}, 'at most 4000'),
        ('a star', dict(phrases='a moon'), 'moon'),
        (['star'], dict(chunked_size=0), 'chunked_size 0'),
        ('a star ' * 300, {}, 'tokens'),
    ],
)
def test_prompts_that_cannot_be_read(models, scenes, prompt, options, said):
    with pytest.raises(RequestError, match=said):
        models.find(models.read(scenes[0], 'a.png'), prompt, **options)


def test_texts_are_limited(models, scenes):
    image = models.read(scenes[0], 'a.png')
    with pytest.raises(TooLarge, match='6 questions: at most 5'):
        models.ask(image, ['is there a star?'] * 6)
    with pytest.raises(RequestError, match='no texts'):
        models.match(image, [' ', ''])
    with pytest.raises(RequestError, match='moon'):
        models.attention(image, 'a star', ['moon'])


def test_images_are_limited_before_they_are_decoded(models, scenes):
    with pytest.raises(TooLarge, match='big.png has 1001x1000 pixels'):
        models.read(png(np.zeros((1000, 1001, 3), np.uint8)), 'big.png')
    with pytest.raises(TooLarge, match='long.png has more than 1 MB'):
        models.read(bytes(1_000_001), 'long.png')
    for content in (b'', b'<svg/>', scenes[0][:200]):
        with pytest.raises(RequestError, match="'broken.png' cannot be read"):
            models.read(content, 'broken.png')


def test_a_server_of_one_model_says_what_it_lacks(packaged, scenes):
    detector, image_text = (ServedModels(packaged[0]), ServedModels(image_text=packaged[1]))
    assert detector.tasks == ['find'] and 'find' not in image_text.tasks
    image = detector.read(scenes[0], 'a.png')
    with pytest.raises(RequestError, match='answering questions: this server has no image-text'):
        detector.ask(image, ['why?'])
    with pytest.raises(RequestError, match='no detector'):
        image_text.find(image, 'a star')


def test_the_least_recently_used_is_dropped_at_the_limit():
    kept = Kept(100)
    for name in 'abc':
        kept.put(name, name.upper(), 40)
    assert kept.get('a') is None and kept.get('b') == 'B' and kept.size == 80
    kept.put('d', 'D', 30)  # 'c' was used before 'b'
    assert (kept.get('b'), kept.get('c'), kept.get('d'), kept.size) == ('B', None, 'D', 70)
    kept.put('b', 'whole', 101)
    assert kept.get('b') is None and kept.size == 30 and len(kept) == 1


def test_images_beyond_the_cache_are_encoded_again(packaged, scenes):
    models = ServedModels(*packaged, limits=Limits(cache_mb=0.001))
    image = models.read(scenes[0], 'a.png')
    for _ in range(2):
        assert models.find(image, 'a star')[1].image is not None


def test_limits_have_to_be_positive():
    with pytest.raises(ValueError, match='--max-mb 0 must be more than 0'):
        Limits(max_mb=0)
