"""A server in this process, and a Chromium that looks at its page.

``python tests/support/served_page.py docs/serve.png`` makes the picture of docs/serving.md.
"""

import os
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

CHROMIUM = '/usr/bin/chromium'
PATIENCE = 60_000  # milliseconds that a page may take on a busy machine


@contextmanager
def serving(models: Any, **options: Any) -> Iterator[str]:
    """Serve models, and give the address of the page.

    Args:
        models: a ``ServedModels``.
        **options: of ``create_app``.
    """
    import uvicorn

    from fiber_mmdet.serving.app import create_app, listen, upload_folder

    with upload_folder(), listen('127.0.0.1', 0) as at:
        config = uvicorn.Config(
            create_app(models, **options), log_level='warning', timeout_graceful_shutdown=1
        )
        server = uvicorn.Server(config)
        thread = threading.Thread(target=server.run, kwargs=dict(sockets=[at]), daemon=True)
        thread.start()
        try:
            yield f'http://127.0.0.1:{at.getsockname()[1]}'
        finally:
            server.should_exit = True
            thread.join(30)


@contextmanager
def browser() -> Iterator[Any]:
    """A headless Chromium."""
    from playwright.sync_api import sync_playwright

    # the sandbox cannot start as root
    options = ['--no-sandbox'] if os.geteuid() == 0 else []
    with sync_playwright() as play:
        chromium = play.chromium.launch(executable_path=CHROMIUM, args=options, timeout=PATIENCE)
        try:
            yield chromium
        finally:
            chromium.close()


def open_page(chromium: Any, address: str, **options: Any) -> tuple[Any, list[str]]:
    """The page, loaded, and the list of all addresses that it asks, which grows."""
    page = chromium.new_page(**options)
    page.set_default_timeout(PATIENCE)
    asked: list[str] = []
    page.on('request', lambda request: asked.append(request.url))
    page.goto(address)
    return page, asked


def main() -> int:
    """Draw the page with the packaged models; the exit code."""
    from fiber_mmdet.apis import FIBERInferencer, ImageTextInferencer
    from fiber_mmdet.serving import ServedModels
    from fiber_mmdet.serving.models import NamedModel

    models = ServedModels(
        NamedModel(FIBERInferencer(device='cpu'), 'fiber-mini', True),
        NamedModel(ImageTextInferencer(device='cpu'), 'fiber-mini-vl', True),
    )
    size = dict(width=1280, height=1160)
    with serving(models) as address, browser() as chromium:
        page, _ = open_page(chromium, address, viewport=size)
        page.wait_for_selector('#detections table')
        page.fill(
            '#prompt textarea',
            sys.argv[2]
            if len(sys.argv) > 2
            else 'a red ring . a yellow star . a purple cross . a heart',
        )
        page.click('#find')  # so that it says what was kept
        page.wait_for_selector('#find-status :text("image kept")')
        page.wait_for_timeout(3000)  # for the drawing
        page.screenshot(path=Path(sys.argv[1]), full_page=False)
    return 0


if __name__ == '__main__':
    sys.exit(main())
