"""The JSON API: answers, and one clear line for each request that cannot be answered."""

import base64
import json

import pytest

pytest.importorskip('fastapi', reason='the extra "web" is not installed')
pytest.importorskip('gradio', reason='the extra "web" is not installed')
from starlette.testclient import TestClient

from fiber_mmdet.serving import ServedModels
from fiber_mmdet.serving.app import create_app

PROMPT = 'a purple square . a white square . a star'
URL = 'http://127.0.0.1:7860'


@pytest.fixture
def client(models):
    """A client of a server without the page."""
    return TestClient(create_app(models, page=False), URL, raise_server_exceptions=False)


def test_finding_by_form_and_by_json(client, models, scenes):
    files = dict(image=('scene.png', scenes[0]))
    data = dict(prompt=PROMPT, score_thr='0.3', tokens_positive='null')
    first = client.post('/api/find', files=files, data=data).json()
    times = first.pop('milliseconds')
    expected = models.detector.inferencer(models.read(scenes[0], '').pixels, PROMPT, score_thr=0.3)
    assert first == json.loads(json.dumps(dict(expected.to_dict(), image='scene.png')))
    assert first['detections'] and times['image'] > 0 and times['prompt'] > 0
    image = base64.b64encode(scenes[0]).decode()
    for text in (image, f'data:image/png;base64,{image}'):
        asked = dict(image=text, prompt=PROMPT, score_thr=0.3)
        again = client.post('/api/find', json=asked).json()
        assert again.pop('milliseconds') == dict(image=None, prompt=None)
        assert again == dict(first, image='image')


def test_prompts_in_all_forms(client, scenes):
    files = dict(image=('scene.png', scenes[0]))
    whole = client.post(
        '/api/find', files=files, data=dict(prompt='the red ring', tokens_positive='-1')
    ).json()
    assert whole['phrases'] == ['the red ring']
    names = client.post(
        '/api/find', files=files, data=dict(prompt=['ring', 'star'], chunked_size='1')
    ).json()
    assert names['phrases'] == ['ring', 'star']
    marked = client.post(
        '/api/find', files=files, data=dict(prompt='a ring by a star', phrases=['star', 'ring'])
    ).json()
    assert marked['phrases'] == ['star', 'ring']
    spans = client.post(
        '/api/find', files=files, data=dict(prompt='a ring by a star', tokens_positive='[[[2, 6]]]')
    ).json()
    assert spans['phrases'] == ['ring']


def test_the_other_calls(client, models, scenes):
    files = dict(image=('scene.png', scenes[0]))
    pixels = models.read(scenes[0], '').pixels
    ask = models.image_text.inferencer
    questions = ['what color is the star?', 'is there a heart?']
    found = client.post('/api/ask', files=files, data=dict(questions=questions)).json()
    assert [one['question'] for one in found['answers']] == questions
    assert found['answers'][0]['answer'] == ask.answer(pixels, questions[0]).answer
    caption = client.post('/api/caption', files=files).json()['caption']
    assert caption == ask.caption(pixels)
    texts = ['a blue moon', caption]
    matches = client.post('/api/match', files=files, data=dict(texts=texts)).json()['matches']
    assert matches[0]['match'] >= matches[1]['match']
    assert {one['text'] for one in matches} == set(texts)
    maps = client.post('/api/attention', files=files, data=dict(text='a star')).json()
    assert [one['phrase'] for one in maps['phrases']] == ['a', 'star']


@pytest.mark.parametrize(
    'change, status, said',
    [
        (dict(image=None), 400, "no 'image'"),
        (dict(image='%'), 400, 'image is not base64'),
        (dict(image='data:text/html,hello'), 400, 'send base64'),
        (dict(image=base64.b64encode(b'hello').decode()), 400, "'image' cannot be read"),
        (dict(image=base64.b64encode(bytes(1_000_001)).decode()), 413, 'more than 1 MB'),
        (dict(prompt=5), 400, 'prompt 5: it must be text'),
        (dict(prompt='\ud800'), 400, 'it must be text'),
        (dict(prompts='a'), 400, "Did you mean 'prompt'"),
        (dict(score_thr='high'), 400, "score_thr 'high': it must be a number"),
        (dict(tokens_positive=[[0, 2]]), 400, 'tokens_positive'),
        (dict(tokens_positive=[[[0, 99]]]), 400, '99'),
    ],
)
def test_requests_that_cannot_be_answered(client, scenes, change, status, said):
    asked = dict(image=base64.b64encode(scenes[0]).decode(), prompt='a star')
    answer = client.post('/api/find', content=json.dumps(dict(asked, **change)))
    assert answer.status_code == status
    (error,) = answer.json().values()
    assert said in error and '\n' not in error


def test_other_places_and_bodies(client, scenes):
    for body in (b'', b'[]', b'{"image": ', b'[' * 100_000):
        answer = client.post('/api/find', content=body)
        assert answer.status_code == 400 and 'request' in answer.json()['error']
    answer = client.post('/api/find', files=dict(photo=scenes[0]), data=dict(prompt='a star'))
    assert answer.status_code == 400 and 'no file `image`' in answer.json()['error']
    answer = client.post('/api/fnd')
    assert answer.status_code == 404 and 'find, ask' in answer.json()['error']
    assert client.get('/api/find').status_code == 405
    assert client.get('/nowhere').json() == dict(error='Not Found')


def test_faults_of_the_server_are_not_told(client, models, scenes, caplog):
    models.find = None
    answer = client.post('/api/find', files=dict(image=scenes[0]), data=dict(prompt='a star'))
    assert answer.status_code == 500 and 'NoneType' not in answer.text
    assert 'NoneType' in caplog.text


def test_health_says_what_is_served(client):
    found = client.get('/api/health').json()
    assert found['models'] == {'detector': 'fiber-mini', 'image-text': 'fiber-mini-vl'}
    assert found['tasks'] == ['find', 'ask', 'caption', 'match', 'attention']
    assert set(found['versions']) >= {'fiber_mmdet', 'torch', 'mmdet'}
    assert found['limits']['max_mb'] == 1


# ----------------------------------------------------------------------- the guard
def test_bodies_are_limited_with_and_without_a_length(client):
    answer = client.post('/api/find', content=bytes(3_000_000))
    assert answer.status_code == 413 and 'images may have 1 MB' in answer.json()['error']
    parts = (bytes(100_000) for _ in range(30))
    answer = client.post('/api/find', content=parts)
    assert answer.status_code == 413 and 'images may have 1 MB' in answer.json()['error']


def test_other_names_of_this_machine_are_refused(models):
    inside = create_app(models, page=False)
    for name, status in (
        ('localhost:7860', 200),
        ('[::1]:7860', 200),
        ('evil.example', 421),
        ('127.0.0.1.evil.example', 421),
        ('[', 421),
    ):
        client = TestClient(inside, URL)
        assert client.get('/health', headers=dict(host=name)).status_code == status
    outside = TestClient(create_app(models, page=False, loopback=False), URL)
    assert outside.get('/health', headers=dict(host='my.host')).status_code == 200


def test_a_password_is_asked_of_programs(models):
    client = TestClient(create_app(models, page=False, auth=('ann', 'süß:1')), URL)
    for path in ('/api/health', '/health'):
        answer = client.get(path)
        assert answer.status_code == 401 and 'Basic' in answer.headers['www-authenticate']
        for said in ('Basic %', 'Bearer x', f'Basic {base64.b64encode(b"ann:1").decode()}'):
            assert client.get(path, headers=dict(authorization=said)).status_code == 401
        right = base64.b64encode('ann:süß:1'.encode()).decode()
        assert client.get(path, headers=dict(authorization=f'Basic {right}')).status_code == 200
    assert client.post('/predict', json={}).status_code == 401


def test_the_page_of_one_model_has_the_tabs_that_it_can_answer(packaged):
    tabs = []
    for models in (ServedModels(packaged[0]), ServedModels(image_text=packaged[1])):
        config = TestClient(create_app(models), URL).get('/config').json()
        parts = config['components']
        tabs.append([one['props']['label'] for one in parts if one['type'] == 'tabitem'])
        assert config['analytics_enabled'] is False
    assert tabs == [['Find'], ['Questions', 'Captions', 'Matching', 'Attention']]


def test_people_log_in_on_the_page(models):
    client = TestClient(create_app(models, auth=('ann', 'secret')), URL)
    assert client.get('/config').status_code == 401
    assert client.post('/gradio_api/upload', files=dict(files=b'a')).status_code == 401
    assert client.post('/login', data=dict(username='ann', password='x')).status_code == 400
    assert client.post('/login', data=dict(username='ann', password='secret')).status_code == 200
    assert client.get('/config').status_code == 200


def test_answers_forbid_pages_to_load_from_elsewhere(client):
    headers = client.get('/health').headers
    assert "default-src 'self'" in headers['content-security-policy']
    assert headers['x-content-type-options'] == 'nosniff'
