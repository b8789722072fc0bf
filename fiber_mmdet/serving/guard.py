"""What stands in front of every request: host names, a password, the size of bodies, headers."""

import base64
import binascii
import json
import secrets
from collections.abc import Awaitable, Callable, MutableMapping, Sequence
from typing import Any
from urllib.parse import urlsplit

from .limits import MB, Limits

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]

# Paths that programs ask, with HTTP Basic; people log in on the page.
PROGRAMS = ('/api', '/health', '/setup', '/predict')
LOOPBACK = ('localhost', '127.0.0.1', '::1')
# The page loads nothing from elsewhere, and no other page may show it in a frame.
HEADERS = {
    b'content-security-policy': (
        b"default-src 'self'; script-src 'self' 'unsafe-inline' 'unsafe-eval'; "
        b"style-src 'self' 'unsafe-inline'; img-src 'self' data: blob:; font-src 'self' data:; "
        b"connect-src 'self'; frame-ancestors 'self'"
    ),
    b'referrer-policy': b'same-origin',
    b'x-content-type-options': b'nosniff',
}


class Guard:
    """An ASGI application around another.

    Args:
        app: the other.
        limits: bodies may have ``max_mb`` in base64, and a megabyte for the rest.
        auth: user and password; None for none.
        names: host names by which it may be asked; None for any. A server on the loopback address
            names its own, so that no page of the web can reach it under another (DNS rebinding).
    """

    def __init__(
        self,
        app: Callable[[Message, Receive, Send], Awaitable[None]],
        limits: Limits,
        auth: tuple[str, str] | None = None,
        names: Sequence[str] | None = None,
    ) -> None:
        self.app = app
        self.most = int(limits.max_mb * MB * 4 / 3 + MB)
        self.said = f'the request is too large: images may have {limits.max_mb:g} MB'
        self.auth = auth
        self.names = names

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        """Pass a request on, or refuse it."""
        if scope['type'] != 'http':
            await self.app(scope, receive, send)
            return
        headers = {name.lower(): value.decode('latin-1') for name, value in scope['headers']}
        if self.names is not None and _host(headers.get(b'host', '')) not in self.names:
            await _refuse(send, 421, f'this server answers to {", ".join(self.names)} only')
            return
        path = scope['path']
        programs = any(path == start or path.startswith(f'{start}/') for start in PROGRAMS)
        if self.auth and programs and not self._known(headers.get(b'authorization', '')):
            await _refuse(send, 401, 'wrong or no user and password (HTTP Basic)')
            return
        length = headers.get(b'content-length', '0')
        if not length.isdecimal() or int(length) > self.most:
            await _refuse(send, 413, self.said)
            return
        await self.app(scope, self._counted(receive), _with_headers(send))

    def _known(self, authorization: str) -> bool:
        assert self.auth is not None
        kind, _, said = authorization.partition(' ')
        try:
            given = base64.b64decode(said, validate=True)
        except (binascii.Error, ValueError):
            return False
        right = ':'.join(self.auth).encode()
        return kind.lower() == 'basic' and secrets.compare_digest(given, right)

    def _counted(self, receive: Receive) -> Receive:
        """A body without a length in front is counted while it is read."""
        total = 0

        async def counted() -> Message:
            nonlocal total
            message = await receive()
            total += len(message.get('body', b''))
            if total > self.most:
                from starlette.exceptions import HTTPException

                raise HTTPException(413, self.said)
            return message

        return counted


def _host(header: str) -> str:
    """The name in a Host header, without its port."""
    try:
        return urlsplit(f'//{header}').hostname or ''
    except ValueError:
        return ''


def _with_headers(send: Send) -> Send:
    async def sent(message: Message) -> None:
        if message['type'] == 'http.response.start':
            message['headers'] = [*message.get('headers', ()), *HEADERS.items()]
        await send(message)

    return sent


async def _refuse(send: Send, status: int, why: str) -> None:
    body = json.dumps(dict(error=why)).encode()
    headers = [(b'content-type', b'application/json'), (b'content-length', b'%d' % len(body))]
    if status == 401:
        headers.append((b'www-authenticate', b'Basic realm="FIBER"'))
    await send(dict(type='http.response.start', status=status, headers=headers))
    await send(dict(type='http.response.body', body=body))
