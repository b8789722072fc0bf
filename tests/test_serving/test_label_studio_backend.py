"""Label Studio's backend, with requests as Label Studio sends them; where images may come from."""

import base64
import threading
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

pytest.importorskip('fastapi', reason='the extra "web" is not installed')
pytest.importorskip('gradio', reason='the extra "web" is not installed')
from starlette.testclient import TestClient

from fiber_mmdet.serving import Limits, RequestError
from fiber_mmdet.serving.app import create_app
from fiber_mmdet.serving.image_addresses import ImageAddresses
from fiber_mmdet.serving.label_studio import read_labelling

CONFIG = """
<View>
  <!-- shapes -->
  <Header value="What is there?"/>
  <View style="display: flex"><Image name="img" value="$photo" zoom="true"/></View>
  <RectangleLabels name="shape" toName="img" model_score_threshold="0.4">
    <Label value="Ring" background="red" predicted_values="red ring, blue ring"/>
    <Label value="star"/>
  </RectangleLabels>
</View>
"""


def asked(*addresses, **more):
    """A request of Label Studio 1.x for tasks with these images."""
    tasks = [
        dict(id=number, data=dict(photo=address), meta={}, annotations=[], predictions=[])
        for number, address in enumerate(addresses, 11)
    ]
    params = dict(login=None, password=None, context=None)
    return {
        'tasks': tasks,
        'project': '3.1700000000',
        'label_config': CONFIG,
        'model_version': None,
        'params': params,
        **more,
    }


@contextmanager
def files_server(files):
    """A server of files by path on the loopback interface, and the requests it had."""
    seen = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            seen.append((self.path, self.headers.get('Authorization')))
            content = files.get(self.path)
            if isinstance(content, str):
                self.send_response(302)
                self.send_header('Location', content)
                self.end_headers()
                return
            self.send_response(404 if content is None else 200)
            self.end_headers()
            self.wfile.write(content or b'')

        def log_message(self, *_):
            pass

    server = ThreadingHTTPServer(('127.0.0.1', 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f'http://127.0.0.1:{server.server_port}', seen
    finally:
        server.shutdown()
        server.server_close()


@pytest.fixture
def client(models, tmp_path, scenes):
    """A client of a backend that reads local files."""
    (tmp_path / 'one.png').write_bytes(scenes[0])
    app = create_app(models, ImageAddresses(local_files=tmp_path), page=False)
    return TestClient(app, 'http://127.0.0.1:9090')


def test_a_backend_is_added(client):
    assert client.get('/health').json()['status'] == 'UP'
    setup = dict(
        project='3.1700000000', schema=CONFIG, hostname='http://localhost:8080', access_token='abc'
    )
    assert 'fiber-mini' in client.post('/setup', json=setup).json()['model_version']
    answer = client.post('/setup', json=dict(setup, schema='<View><Text name="t"/></View>'))
    assert answer.status_code == 400 and 'no <RectangleLabels>' in answer.json()['error']


def test_rectangles_in_percent_with_the_names_of_the_project(client, models, scenes):
    data = 'data:image/png;base64,' + base64.b64encode(scenes[1]).decode()
    answer = client.post('/predict', json=asked('/data/local-files/?d=one.png', data)).json()
    assert len(answer['results']) == 2
    for found, content in zip(answer['results'], scenes):
        pixels = models.read(content, '').pixels
        expected = models.detector.inferencer(
            pixels, ['red ring', 'blue ring', 'star'], score_thr=0.4
        )
        height, width = pixels.shape[:2]
        assert len(found['result']) == len(expected)
        for one, box, name, score in zip(
            found['result'], expected.exclusive_boxes, expected.names, expected.scores
        ):
            assert (one['from_name'], one['to_name']) == ('shape', 'img')
            assert one['type'] == 'rectanglelabels' and one['original_width'] == width
            value = one['value']
            assert value['rectanglelabels'] == ['star' if name == 'star' else 'Ring']
            assert value['x'] == pytest.approx(100 * box[0] / width, abs=1e-3)
            assert value['height'] == pytest.approx(100 * (box[3] - box[1]) / height, abs=1e-3)
            assert one['score'] == pytest.approx(float(score), abs=1e-5)
        assert found['model_version'] == answer['model_version']
    assert sum(len(found['result']) for found in answer['results'])


def test_one_image_that_cannot_be_read_does_not_stop_the_others(client):
    answer = client.post('/predict', json=asked('none.png', 'one.png')).json()
    lost, found = answer['results']
    assert lost['result'] == [] and "task 11: there is no file 'none.png'" in lost['error']
    assert 'error' not in found
    answer = client.post('/predict', json=asked('none.png'))
    assert answer.status_code == 400 and 'task 11' in answer.json()['error']


@pytest.mark.parametrize(
    'request_, said',
    [
        ({}, "no 'tasks'"),
        (dict(tasks=[5], label_config=CONFIG), 'task 0 is 5'),
        (dict(tasks=[dict(id=1, data={})], label_config=CONFIG), 'task 1 has photo None'),
        (dict(tasks=[dict(id=1, data={})]), 'no label_config'),
        (asked('one.png', label_config='<View>'), 'label_config, line 1'),
        (asked('one.png', label_config='<!DOCTYPE a [<!ENTITY b "c">]><View/>'), 'entity'),
        (asked(*['one.png'] * 101), 'at most 100'),
    ],
)
def test_malformed_requests(client, request_, said):
    answer = client.post('/predict', json=request_)
    assert 400 <= answer.status_code < 500 and said in answer.json()['error']


def test_the_labelling_configuration():
    found = read_labelling(CONFIG)
    assert (found.from_name, found.to_name, found.field) == ('shape', 'img', 'photo')
    assert found.labels == {'red ring': 'Ring', 'blue ring': 'Ring', 'star': 'star'}
    assert found.score_thr == 0.4
    for config, said in (
        (CONFIG.replace('name="img"', 'name="other"'), '<Image name="img">'),
        (CONFIG.replace('toName="img"', ''), 'no toName'),
        (
            '<View><Image name="i" value="$i"/><RectangleLabels name="a" toName="i"/></View>',
            'Label',
        ),
        (CONFIG.replace('"0.4"', '"much"'), "'much' must be a number"),
    ):
        with pytest.raises(RequestError, match=said):
            read_labelling(config)


# -------------------------------------------------------------------- where images come from
def test_only_named_hosts_are_asked_and_only_the_first_gets_the_token(scenes):
    with files_server({'/a.png': scenes[0]}) as (other, other_seen):
        files = {'/data/upload/1.png': scenes[0], '/there': f'{other}/a.png', '/loop': '/loop'}
        with files_server(files) as (studio, seen):
            alone = ImageAddresses([studio], token='secret')
            assert alone.fetch('/data/upload/1.png') == (scenes[0], '1.png')
            assert alone.fetch(f'{studio}/data/upload/1.png')[0] == scenes[0]
            assert seen == [('/data/upload/1.png', 'Token secret')] * 2
            for address, said in (
                (f'{other}/a.png', f'--image-host {other}'),
                (f'{studio}/there', f'--image-host {other}'),
                (f'{studio}/loop', 'from one address to the next'),
                (f'{studio}/none', 'answers 404'),
                (studio.replace('http://', 'http://127.0.0.1:1@'), 'must look like'),
                ('http://[', 'no address'),
                ('ftp://127.0.0.1/a.png', 'storage that is not read'),
                ('s3://bucket/a.png', 'storage that is not read'),
            ):
                with pytest.raises(RequestError, match=said):
                    alone.fetch(address)
            assert not other_seen
            both = ImageAddresses([studio, other], token='secret')
            assert both.fetch(f'{studio}/there')[0] == scenes[0]
            assert other_seen == [('/a.png', None)]


def test_downloads_are_limited():
    with files_server({'/a.png': bytes(1_000_001)}) as (studio, _):
        with pytest.raises(RequestError, match='more than 1 MB'):
            ImageAddresses([studio], limits=Limits(max_mb=1)).fetch(f'{studio}/a.png')
    with pytest.raises(RequestError, match='cannot be fetched'):
        ImageAddresses(['http://127.0.0.1:1']).fetch('http://127.0.0.1:1/a.png')


def test_local_files_stay_below_their_folder(tmp_path, scenes):
    inside, outside = tmp_path / 'in', tmp_path / 'out'
    for folder in (inside / 'deep', outside):
        folder.mkdir(parents=True)
        (folder / 'a b.png').write_bytes(scenes[0])
    (inside / 'link.png').symlink_to(outside / 'a b.png')
    files = ImageAddresses(local_files=inside)
    for address in ('deep/a b.png', '/data/local-files/?d=deep/a%20b.png'):
        assert files.fetch(address) == (scenes[0], 'a b.png')
    assert files.fetch(str(inside / 'deep' / 'a b.png'))[0] == scenes[0]
    for address in (
        '../out/a b.png',
        str(outside / 'a b.png'),
        '/data/local-files/?d=../out/a%20b.png',
        'link.png',
        '/etc/passwd',
        'a\0b',
    ):
        with pytest.raises(RequestError, match='not below the folder'):
            files.fetch(address)
    with pytest.raises(RequestError, match='there is no file'):
        files.fetch('deep')
    with pytest.raises(RequestError, match='--local-files DIR'):
        ImageAddresses().fetch('deep/a.png')


def test_places_are_checked_when_the_server_starts(tmp_path):
    with pytest.raises(ValueError, match='no such folder'):
        ImageAddresses(local_files=tmp_path / 'none')
    for host in ('localhost:8080', 'ftp://a', 'http://', 'http://user@a', 'http://a:x'):
        with pytest.raises(ValueError, match='--image-host'):
            ImageAddresses([host])
