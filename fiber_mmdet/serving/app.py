"""The page, the API and Label Studio's backend as one web application, and running it."""

import logging
import os
import signal
import socket
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from fiber_mmdet.host import need_extra

from .api import CALLS, answer, from_form, from_json, health, json_object
from .guard import LOOPBACK, Guard
from .image_addresses import ImageAddresses
from .label_studio import LabelStudioBackend
from .limits import NotServed, RequestError
from .models import ServedModels

logger = logging.getLogger(__name__)

WEB = 'a server'


def need_web() -> None:
    """Fail early where the web packages are missing.

    Raises:
        MissingExtra: they are not installed.
    """
    for module in ('fastapi', 'uvicorn', 'python_multipart', 'gradio'):
        need_extra(module, 'web', WEB)


def create_app(
    models: ServedModels,
    addresses: ImageAddresses | None = None,
    page: bool = True,
    auth: tuple[str, str] | None = None,
    loopback: bool = True,
) -> Guard:
    """An ASGI application that answers programs and people.

    Args:
        models: to be asked.
        addresses: where images of Label Studio's tasks may come from; None: in the tasks only.
        page: also show the web page.
        auth: user and password, for programs and people; None for none.
        loopback: it is reachable from this machine only, so answer to its names only.

    Raises:
        MissingExtra: the web packages are not installed.
    """
    fastapi = need_extra('fastapi', 'web', WEB)
    app = fastapi.FastAPI(openapi_url=None, docs_url=None, redoc_url=None)
    _add_calls(app, models, LabelStudioBackend(models, addresses or ImageAddresses()))
    if page:
        _add_page(app, models, auth)
    return Guard(app, models.limits, auth, LOOPBACK if loopback else None)


def _add_calls(app: Any, models: ServedModels, backend: LabelStudioBackend) -> None:
    from starlette.concurrency import run_in_threadpool
    from starlette.exceptions import HTTPException
    from starlette.requests import Request
    from starlette.responses import JSONResponse, Response

    def failed(request: Request, error: Exception) -> Response:
        status, said = 500, 'something went wrong here; the log of the server says what'
        if isinstance(error, RequestError):
            status, said = error.status, ' '.join(str(error).split())
        elif isinstance(error, HTTPException):
            status, said = error.status_code, str(error.detail)
        else:
            logger.exception('%s %s', request.method, request.url.path, exc_info=error)
        retry = {'Retry-After': '5'} if status == 503 else None
        return JSONResponse(dict(error=said), status, retry)

    async def call(request: Request) -> Response:
        name = request.path_params['call']
        if name not in CALLS:
            raise NotServed(f'there is no /api/{name}: ask {", ".join(CALLS)} or health')
        if request.method != 'POST':
            raise HTTPException(405, f'/api/{name} is asked with POST')
        if request.headers.get('content-type', '').startswith('multipart/form-data'):
            async with request.form(max_files=1, max_fields=1000) as form:
                sent = form.get('image')
                if sent is None or isinstance(sent, str):
                    raise RequestError('the form has no file `image`: curl -F image=@photo.jpg')
                texts = {key: form.getlist(key) for key in form if key != 'image'}
                asked: dict[str, Any] = from_form(name, texts)  # type: ignore[arg-type]
                content, file = await sent.read(), sent.filename or 'image'
        else:
            asked, content, file = from_json(await request.body())
        return JSONResponse(await run_in_threadpool(answer, models, name, asked, content, file))

    async def api_health(request: Request) -> Response:
        return JSONResponse(health(models))

    async def label_studio_health(request: Request) -> Response:
        return JSONResponse(backend.health())

    async def setup(request: Request) -> Response:
        return JSONResponse(backend.setup(json_object(await request.body())))

    async def predict(request: Request) -> Response:
        asked = json_object(await request.body())
        return JSONResponse(await run_in_threadpool(backend.predict, asked))

    app.add_route('/api/health', api_health, methods=['GET'])
    app.add_route('/api/{call}', call, methods=['GET', 'POST'])
    app.add_route('/health', label_studio_health, methods=['GET'])
    app.add_route('/setup', setup, methods=['POST'])
    app.add_route('/predict', predict, methods=['POST'])
    for kind in (RequestError, HTTPException, Exception):
        app.add_exception_handler(kind, failed)


def _add_page(app: Any, models: ServedModels, auth: tuple[str, str] | None) -> None:
    # Gradio asks its makers for a newer version, and tells them that it runs, unless told not to
    os.environ.update(GRADIO_ANALYTICS_ENABLED='False', HF_HUB_DISABLE_TELEMETRY='1')
    gradio = need_extra('gradio', 'web', WEB)
    from .page import build_page, looks

    gradio.mount_gradio_app(
        app,
        build_page(models),
        path='/',
        auth=auth,
        max_file_size=int(1e6 * models.limits.max_mb),
        show_error=False,
        footer_links=[],
        run_history=False,
        enable_monitoring=False,
        ssr_mode=False,
        mcp_server=False,
        **looks(),
    )


@contextmanager
def upload_folder() -> Iterator[str]:
    """A folder of its own for what people upload in the page, removed at the end."""
    before = os.environ.get('GRADIO_TEMP_DIR')
    with tempfile.TemporaryDirectory(prefix='fiber-serve-', ignore_cleanup_errors=True) as folder:
        os.environ['GRADIO_TEMP_DIR'] = os.path.realpath(folder)
        try:
            yield folder
        finally:
            if before is None:
                del os.environ['GRADIO_TEMP_DIR']
            else:
                os.environ['GRADIO_TEMP_DIR'] = before


def is_loopback(host: str) -> bool:
    """Whether a host is this machine, as this machine alone can reach it."""
    return host in LOOPBACK or host.startswith('127.')


def listen(host: str, port: int) -> socket.socket:
    """A socket for :func:`run`.

    Args:
        host: address or name of this machine.
        port: 0 for one that is free.

    Raises:
        OSError: the port is taken, or there is no such host.
    """
    family = socket.AF_INET6 if ':' in host else socket.AF_INET
    try:
        return socket.create_server((host, port), family=family, backlog=128)
    except (OSError, OverflowError) as error:
        said = getattr(error, 'strerror', None) or str(error)
        raise OSError(
            f'cannot listen at {host}:{port} ({said}): choose another --port or --host'
        ) from error


def _end(number: int, _: object) -> None:
    raise SystemExit(128 + number)


def run(app: Guard, at: socket.socket) -> None:
    """Answer requests until Ctrl-C or SIGTERM, which ends the process by ``SystemExit``."""
    uvicorn = need_extra('uvicorn', 'web', WEB)
    # uvicorn sends itself the signal once more at its end: uploads have to be removed by then
    signal.signal(signal.SIGTERM, _end)
    config = uvicorn.Config(app, log_level='warning', timeout_graceful_shutdown=3)
    uvicorn.Server(config).run(sockets=[at])
