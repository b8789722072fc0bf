"""The pages as a site: all in the navigation, with links that hold, and nothing from the net."""

import functools
import importlib.util
import json
import os
import re
import shutil
import subprocess
import sys
import threading
from collections import Counter
from html.parser import HTMLParser
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
import yaml

from documentation_site.hooks import PAGES, notebook_page, place_in_site, site_text

CHECKOUT = Path(__file__).resolve().parents[1]
SETTINGS = yaml.safe_load((CHECKOUT / 'mkdocs.yml').read_text(encoding='utf-8'))
SOURCES = {
    place_in_site(path): path
    for path in [
        *PAGES,
        *(
            file.relative_to(CHECKOUT).as_posix()
            for ending in ('md', 'ipynb')
            for file in sorted((CHECKOUT / 'docs').rglob('*.' + ending))
            if not file.name.startswith('.')
        ),
    ]
}
needs_site = pytest.mark.skipif(
    importlib.util.find_spec('material') is None,
    reason='needs the extra site: pip install fiber_mmdet[site]',
)


def navigation(entries) -> list[str]:
    """Pages of a part of the navigation, in order."""
    pages = []
    for entry in entries:
        (target,) = entry.values() if isinstance(entry, dict) else (entry,)
        pages += [target] if isinstance(target, str) else navigation(target)
    return pages


def test_every_page_is_in_the_navigation_once():
    assert Counter(navigation(SETTINGS['nav'])) == Counter(list(SOURCES))


def test_the_pages_from_outside_docs_are_watched():
    assert SETTINGS['watch'] == list(PAGES)


@pytest.mark.parametrize(
    'path, link, there',
    [
        ('README.md', '[a page](docs/tasks.md#captions)', '[a page](tasks.md#captions)'),
        ('README.md', '![two\nlines](docs/demo.jpg)', '![two\nlines](demo.jpg)'),
        ('docs/faq.md', '[INSTALL](../INSTALL.md)', '[INSTALL](install.md)'),
        ('docs/extending/metric.md', '[x](../evaluation.md)', '[x](../evaluation.md)'),
        ('docs/extending.md', '[m](extending/metric.md)', '[m](extending/metric.md)'),
        ('configs/README.md', '[tasks](../docs/tasks.md)', '[tasks](tasks.md)'),
        (
            'fiber_mmdet/assets/fiber_mini/README.md',
            '[how](../../../docs/image_text.md#figures)',
            '[how](image_text.md#figures)',
        ),
        ('docs/warm_starts.md', '[`a tool`](../tools/weights.py)', '`tools/weights.py`'),
        ('docs/faq.md', '[notes](quickstart.ipynb)', '[notes](quickstart.md)'),
        (
            'CHANGELOG.md',
            '\n**Title**\n- one\n- two\n  more',
            '\n**Title**\n\n- one\n- two\n  more',
        ),
        ('docs/faq.md', '[here](#place), [there](https://a.b/c.md)', None),
        ('docs/faq.md', '[no such file](../tools/none.py)', None),
        ('docs/faq.md', '```python\na = [x](../INSTALL.md)\n```', None),
    ],
)
def test_text_of_the_site(path, link, there):
    assert site_text(f'See {link}.' if '```' not in link else link, path) == (
        f'See {there}.' if there else f'See {link}.' if '```' not in link else link
    )


def test_a_notebook_becomes_a_page_with_its_outputs():
    cells = [
        dict(cell_type='markdown', source=['# Title\n', 'A text.']),
        dict(cell_type='raw', source='left out'),
        dict(cell_type='code', source='', outputs=[]),
        dict(
            cell_type='code',
            source=['a = 1\n', 'a'],
            outputs=[
                dict(output_type='stream', name='stdout', text=['\x1b[31mred\x1b[0m\n']),
                dict(output_type='execute_result', data={'text/plain': '```'}),
                dict(
                    output_type='display_data',
                    data={'image/png': 'aGk=\n', 'text/plain': '<Image>'},
                ),
                dict(output_type='error', ename='OSError', evalue='gone'),
            ],
        ),
    ]
    assert notebook_page(json.dumps(dict(cells=cells))).split('\n\n') == [
        '# Title\nA text.',
        '```python\na = 1\na\n```',
        '```text\nred\n```',
        '````text\n```\n````',
        '![output](data:image/png;base64,aGk=)',
        '```text\nOSError: gone\n```\n',
    ]


class QuietHandler(SimpleHTTPRequestHandler):
    def log_message(self, *args):
        pass


class Elements(HTMLParser):
    """Counts of the elements of a page's text, and the addresses that it loads."""

    counted = {'h1', 'h2', 'h3', 'ul', 'ol', 'li', 'table', 'tr', 'td', 'img', 'blockquote'}

    def __init__(self, html: str):
        super().__init__()
        self.counts: Counter[str] = Counter()
        self.loaded: list[str] = []
        self.feed(html)

    def handle_starttag(self, tag, attrs):
        if tag in self.counted:
            self.counts[tag] += 1
        if tag not in ('a', 'meta'):
            self.loaded += [value for name, value in attrs if name in ('src', 'href', 'srcset')]


@pytest.fixture(scope='module')
def site(tmp_path_factory):
    """The folder of a site that was built by the documented command."""
    folder = tmp_path_factory.mktemp('site')
    done = subprocess.run(
        [sys.executable, '-m', 'mkdocs', 'build', '--strict', '--site-dir', folder],
        cwd=CHECKOUT,
        env=dict(os.environ, NO_MKDOCS_2_WARNING='1'),  # the theme's, about its own future
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr[-3000:]  # a link, an anchor, a page without a place
    return folder


@needs_site
def test_the_site_has_all_pages(site):
    for page in SOURCES:
        html = (site / page).with_suffix('.html').read_text(encoding='utf-8')
        assert '</article>' in html, page


@needs_site
@pytest.mark.parametrize('page', SOURCES)
def test_a_page_has_the_same_parts_in_the_site(site, page):
    """Python-Markdown, which makes the site, is stricter about lists than CommonMark."""
    markdown_it = pytest.importorskip('markdown_it')
    source = (CHECKOUT / SOURCES[page]).read_text(encoding='utf-8')
    if SOURCES[page].endswith('.ipynb'):
        source = notebook_page(source)
    rendered = markdown_it.MarkdownIt('commonmark').enable('table').render(source)
    html = (site / page).with_suffix('.html').read_text(encoding='utf-8')
    article = re.search(r'<article.*?>(.*)</article>', html, re.DOTALL)[1]
    article = re.sub(r'<td class="linenos">.*?</td>', '', article, flags=re.DOTALL)
    assert Elements(article).counts == Elements(rendered).counts


@needs_site
def test_nothing_is_loaded_from_elsewhere(site):
    for page in site.rglob('*.html'):
        loaded = Elements(page.read_text(encoding='utf-8')).loaded
        assert [url for url in loaded if '//' in url.partition('base64')[0]] == [], page
    for style in site.rglob('*.css'):
        assert not re.search(r'(url\(|@import)\s*["\']?(https?:)?//', style.read_text()), style


@needs_site
def test_reading_and_searching_needs_no_network(site):
    """In a browser: what pages request, and a search, whose code and index are in the site."""
    sync_api = pytest.importorskip('playwright.sync_api', reason='needs the extra browser')
    chromium = shutil.which('chromium') or shutil.which('chromium-browser')
    if not chromium:
        pytest.skip('needs a Chromium')
    handler = functools.partial(QuietHandler, directory=site)
    with ThreadingHTTPServer(('127.0.0.1', 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        address = f'http://127.0.0.1:{server.server_port}/'
        requests = []
        with sync_api.sync_playwright() as playwright:
            browser = playwright.chromium.launch(
                executable_path=chromium, args=['--no-sandbox', '--disable-gpu']
            )
            page = browser.new_page()
            page.on('request', lambda request: requests.append(request.url))
            page.goto(address + 'model_zoo.html#desco')
            heading = page.get_by_role('heading', name='DesCo-FIBER, a public')
            page.wait_for_function('window.scrollY > 100')
            assert 40 < heading.bounding_box()['y'] < 300  # below the bar at the top, in sight
            page.keyboard.press('/')
            page.keyboard.type('okapi')
            found = page.locator('.md-search-result__item').first
            found.wait_for()
            assert 'Categories by what they look like' in found.inner_text()
            browser.close()
        server.shutdown()
    assert len(requests) > 3
    assert [url for url in requests if not url.startswith((address, 'data:', 'blob:'))] == []
