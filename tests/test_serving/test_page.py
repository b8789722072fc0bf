"""The web page in a real browser: what people do with it, and that it asks nobody else."""

import io
import json
import re
import threading
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

pytest.importorskip('fastapi', reason='the extra "web" is not installed')
pytest.importorskip('gradio', reason='the extra "web" is not installed')
pytest.importorskip('playwright', reason='the extra "browser" is not installed')

from fiber_mmdet.apis import demo_image
from fiber_mmdet.serving import Limits, ServedModels
from served_page import CHROMIUM, PATIENCE, browser, open_page, serving

pytestmark = [
    pytest.mark.processes,
    pytest.mark.skipif(not Path(CHROMIUM).exists(), reason=f'no Chromium at {CHROMIUM}'),
]

CHIPS = '#detections .chip'
SHAPES = 'circle . square . heart . cross . star . ring'


@pytest.fixture(scope='module')
def page_and_requests(packaged):
    """The page of both packaged models, and what it asked."""
    models = ServedModels(*packaged, limits=Limits(max_mb=1, max_megapixels=1))
    with serving(models) as address, browser() as chromium:
        yield open_page(chromium, address, viewport=dict(width=1400, height=1100))


@pytest.fixture(scope='module')
def page(page_and_requests):
    """The page, one for the tests of this file; each of them also works as the first one."""
    page_and_requests[0].wait_for_selector(CHIPS)  # of the example
    return page_and_requests[0]


def seen(page, place):
    """What Playwright waits for: assertions about a part of the page."""
    from playwright.sync_api import expect

    expect.set_options(timeout=PATIENCE)
    return expect(page.locator(place))


def upload(page, name, content):
    """Drop a file onto the photo, where nothing is said about the one before any more."""
    if page.is_visible('#photo button[aria-label="Remove Image"]'):
        page.click('#photo button[aria-label="Remove Image"]')
        seen(page, '#find-status').to_have_text('')
        seen(page, CHIPS).to_have_count(0)
    file = dict(name=name, mimeType='image/png', buffer=content)
    page.set_input_files('#photo input[type=file]', file)


def answered(page, asked):
    """Wait until nothing is asked for a second; how often the models were asked until then."""
    count = -1
    while count != (count := sum('/queue/join' in url for url in asked)):
        page.wait_for_timeout(1000)
    return count


def boxes(page):
    """Phrases of the boxes in the table."""
    return [chip.inner_text() for chip in page.query_selector_all(CHIPS)]


def test_the_page_opens_with_an_answer(page):
    page.wait_for_selector(f'{CHIPS}:text-is("a red ring")')
    seen(page, '#find-status').to_contain_text(re.compile(r'image \d+ ms'))
    seen(page, '#drawing img').to_be_visible()
    assert 'generated scenes only' in page.inner_text('body')


def test_another_prompt_keeps_the_image(page):
    page.fill('#prompt textarea', 'a ring . a star')
    page.click('#find')
    page.wait_for_selector('#find-status :text-matches("image kept, prompt \\\\d+ ms")')
    for phrase in ('a ring', 'a star'):
        page.wait_for_selector(f'{CHIPS}:text-is("{phrase}")')


def test_the_threshold_changes_the_boxes_without_the_model(page):
    before = len(boxes(page))
    page.fill('#threshold input[type=number]', '0.05')
    page.keyboard.press('Tab')
    page.wait_for_selector('#find-status :text("image kept, prompt kept")')
    page.locator(CHIPS).nth(before).wait_for()
    page.fill('#threshold input[type=number]', '1')
    page.keyboard.press('Tab')
    page.wait_for_selector('#find-status :text("Nothing scores 1 or more")')
    seen(page, CHIPS).to_have_count(0)
    page.fill('#threshold input[type=number]', '0.4')
    page.keyboard.press('Tab')
    page.wait_for_selector(CHIPS)


def test_an_uploaded_image_is_looked_at_and_the_file_is_the_result(page, scenes):
    page.fill('#prompt textarea', SHAPES)
    upload(page, 'my <b>scene.png', scenes[1])
    page.wait_for_selector('#find-status :text-matches("image \\\\d+ ms")')
    page.wait_for_selector(CHIPS)
    with page.expect_download() as download:
        page.click('#detections a')
    found = json.loads(Path(download.value.path()).read_text())
    assert found['image'] == 'my <b>scene.png'
    assert [one['phrase'] for one in found['detections']] == boxes(page)
    assert set(found) >= {'width', 'height', 'caption', 'phrases', 'detections'}


def test_a_photo_is_looked_at_once(page, page_and_requests, scenes):
    asked = page_and_requests[1]
    page.fill('#prompt textarea', SHAPES)
    before = answered(page, asked)
    upload(page, 'my <b>scene.png', scenes[2])
    page.wait_for_selector(CHIPS)
    assert answered(page, asked) == before + 1
    page.click('.gallery-item')  # the example
    seen(page, '#photo img').to_have_attribute('src', re.compile('/scene.png$'))
    assert answered(page, asked) == before + 2


@pytest.mark.parametrize(
    'name, content, said',
    [
        ('broken.png', b'no image at all', "'broken.png' cannot be read as an image"),
        ('huge.png', None, 'huge.png has 2000x2000 pixels, more than 1 million'),
    ],
)
def test_bad_files_give_a_line(page, name, content, said):
    if content is None:
        file = io.BytesIO()
        Image.new('RGB', (2000, 2000)).save(file, 'PNG')
        content = file.getvalue()
    upload(page, name, content)
    page.locator('#find-status .problem', has_text=said).wait_for()
    seen(page, CHIPS).to_have_count(0)


def test_a_file_that_is_too_large_gives_a_line(page):
    upload(page, 'large.png', bytes(1_200_000))
    page.wait_for_selector(':text("exceed the maximum")')


def test_addresses_of_files_are_not_fetched(page, monkeypatch):
    from gradio import processing_utils

    fetched = []

    async def fetch(url, cache_dir):
        fetched.append(url)
        raise ValueError('fetched')

    monkeypatch.setattr(processing_utils, 'async_ssrf_protected_download', fetch)
    said = page.evaluate(
        """async () => {
            const photo = {path: 'http://192.0.2.1/a.png', meta: {_type: 'gradio.FileData'}};
            const find = window.gradio_config.dependencies.find(one => one.inputs.length == 5);
            const asked = {data: [photo, 'a star', false, 0.5, 8], fn_index: find.id,
                           session_hash: 'stranger'};
            await fetch('/gradio_api/queue/join', {method: 'POST', body: JSON.stringify(asked),
                        headers: {'Content-Type': 'application/json'}});
            const answer = await fetch('/gradio_api/queue/data?session_hash=stranger');
            return await answer.text();
        }"""
    )
    assert 'process_completed' in said and '"success":false' in said.replace(' ', '')
    assert not fetched


def test_a_photo_is_remarked_upon(page):
    file = io.BytesIO()
    noise = np.random.default_rng(0).integers(0, 256, (9, 9, 3), dtype=np.uint8)
    Image.fromarray(noise).resize((200, 200), Image.Resampling.BICUBIC).save(file, 'PNG')
    upload(page, 'photo.png', file.getvalue())
    page.wait_for_selector('#find-status :text("looks like a photo")')


def test_the_other_tabs(page):
    upload(page, 'scene.png', Path(demo_image()).read_bytes())
    page.wait_for_selector(CHIPS)
    page.click('button[role=tab]:has-text("Questions")')
    page.fill('#questions textarea', 'what color is the star?')
    page.click('#ask')
    page.wait_for_selector('#answers td :text("yellow")')
    seen(page, '#ask-status').to_contain_text(re.compile(r'image \d+ ms'))
    page.click('button[role=tab]:has-text("Captions")')
    page.click('#describe')
    page.wait_for_selector('#caption .caption')
    seen(page, '#caption-status').to_contain_text('image kept')
    page.click('button[role=tab]:has-text("Matching")')
    page.fill('#texts textarea', 'a green moon\na large red ring')
    page.click('#match')
    page.wait_for_selector('#matches .bar')
    page.click('button[role=tab]:has-text("Attention")')
    page.click('#look')
    page.wait_for_selector('#maps img')
    # nothing of it stays beside another photo
    page.click('#photo button[aria-label="Remove Image"]')
    for place in ('#ask-status', '#answers', '#caption', '#matches'):
        seen(page, place).to_have_text('')
    seen(page, '#maps img').to_have_count(0)
    page.click('button[role=tab]:has-text("Find")')


def test_a_late_answer_is_not_shown_beside_another_photo(page, scenes, monkeypatch):
    ask, begun, let, answered = ServedModels.ask, *(threading.Event() for _ in range(3))

    def late(*asked):
        begun.set()
        assert let.wait(60)
        found = ask(*asked)
        answered.set()
        return found

    page.fill('#prompt textarea', SHAPES)
    upload(page, 'before.png', scenes[0])
    page.wait_for_selector(CHIPS)
    page.click('button[role=tab]:has-text("Questions")')
    page.fill('#questions textarea', 'what color is the star?')
    with monkeypatch.context() as slow:
        slow.setattr(ServedModels, 'ask', late)
        page.click('#ask')
        assert begun.wait(60)
        page.click('#photo button[aria-label="Remove Image"]')
        file = dict(name='after.png', mimeType='image/png', buffer=scenes[1])
        page.set_input_files('#photo input[type=file]', file)
        seen(page, '#photo img').to_have_attribute('src', re.compile('/after.png$'))
        let.set()
        assert answered.wait(60)
        page.wait_for_timeout(1000)
        seen(page, '#answers').to_have_text('')
    page.click('#ask')
    page.wait_for_selector('#answers td')
    page.click('button[role=tab]:has-text("Find")')


def test_nobody_else_is_asked(page, page_and_requests):
    page.wait_for_timeout(500)
    asked = [url for url in page_and_requests[1] if not url.startswith(('data:', 'blob:'))]
    assert asked and {url.split('/')[2].partition(':')[0] for url in asked} == {'127.0.0.1'}
