"""Images that a task of Label Studio names: in the address itself, on named hosts, in one folder.

Whoever may send tasks could otherwise let this server read any file, or ask any machine that it
reaches. So nothing is read but what the one who started it has named.
"""

from collections.abc import Sequence
from pathlib import Path
from time import monotonic
from typing import Any
from urllib.parse import parse_qs, unquote, urljoin, urlsplit

from fiber_mmdet.host import need_extra

from .api import decode_base64
from .limits import MB, Limits, RequestError, TooLarge

LOCAL_FILES = '/data/local-files/'
MOST_REDIRECTS = 3
PATIENCE = 30.0  # seconds for one image
PORTS = dict(http=80, https=443)


class ImageAddresses:
    """Where images may come from.

    Args:
        hosts: addresses of servers, ``http://localhost:8080``. The first is Label Studio's: what
            it keeps itself (``/data/upload/…``) is fetched there, with ``token``.
        local_files: folder of the images that ``/data/local-files/?d=…`` and paths name; None
            for none.
        token: a legacy token of Label Studio's; '' for none.
        limits: of the server.

    Raises:
        ValueError: a host that is no address of a server, or no such folder.
    """

    def __init__(
        self,
        hosts: Sequence[str] = (),
        local_files: str | Path | None = None,
        token: str = '',
        limits: Limits | None = None,
    ) -> None:
        self.limits = limits or Limits()
        self.token = token
        self.hosts = [_origin(host, f'--image-host {host}') for host in hosts]
        self.folder = None
        if local_files is not None:
            self.folder = Path(local_files).expanduser().resolve()
            if not self.folder.is_dir():
                raise ValueError(f'--local-files {local_files}: there is no such folder')

    def fetch(self, address: str) -> tuple[bytes, str]:
        """The content of an image, and its name.

        Raises:
            RequestError: the address is not among what is allowed, or there is no image.
        """
        if address.startswith('data:'):
            content = decode_base64(address, 'the image')
            self.limits.check_file(len(content), 'the image')
            return content, 'image'
        parts = _parts(address)
        if parts.scheme in PORTS:
            return self._download(address)
        if parts.scheme and '://' in address:
            raise RequestError(
                f'{address!r} is of a storage that is not read: let Label Studio serve its images '
                'by http (in the storage\'s settings, "Use pre-signed URLs"), or copy them'
            )
        local = parse_qs(parts.query).get('d') if parts.path.startswith(LOCAL_FILES) else None
        if local:
            return self._read(local[0])
        if address.startswith('/data/') and self.hosts:
            return self._download(urljoin(self.hosts[0], address))
        return self._read(unquote(parts.path) if address.startswith('/data/') else address)

    # ------------------------------------------------------------- local files
    def _read(self, name: str) -> tuple[bytes, str]:
        if self.folder is None:
            raise RequestError(
                f'{name!r} is a local file: start the server with --local-files DIR (the folder '
                'that it is in), or, for what Label Studio keeps, --image-host http://HOST:PORT'
            )
        try:
            path = (self.folder / name).resolve()
            inside = path.is_relative_to(self.folder)
        except (
            OSError,
            ValueError,
            RuntimeError,
        ):  # NUL, names that are too long, circles of links
            inside = False
        if not inside:
            raise RequestError(f'{name!r} is not below the folder of --local-files')
        if not path.is_file():
            raise RequestError(f'there is no file {name!r} in the folder of --local-files')
        self.limits.check_file(path.stat().st_size, repr(name))
        return path.read_bytes(), path.name

    # ------------------------------------------------------------------- hosts
    def _download(self, address: str) -> tuple[bytes, str]:
        httpx = need_extra('httpx', 'web', 'images by http')
        deadline = monotonic() + PATIENCE
        try:
            # no proxies or credentials of the environment
            with httpx.Client(timeout=10.0, trust_env=False, follow_redirects=False) as client:
                for _ in range(MOST_REDIRECTS + 1):
                    place = self._allowed(address)
                    headers = {'Accept-Encoding': 'identity'}
                    if self.token and place == self.hosts[0]:
                        headers['Authorization'] = f'Token {self.token}'
                    with client.stream('GET', address, headers=headers) as response:
                        if not response.is_redirect:
                            return self._content(response, address, deadline)
                        address = urljoin(address, response.headers.get('location', ''))
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            said = str(error) or type(error).__name__
            raise RequestError(f'{address!r} cannot be fetched: {said}') from error
        raise RequestError(f'{address!r} leads from one address to the next')

    def _allowed(self, address: str) -> str:
        """The server of an address.

        Raises:
            RequestError: it is not among ``hosts``.
        """
        try:
            place = _origin(address, repr(address))
        except ValueError as error:
            raise RequestError(str(error)) from error
        if place not in self.hosts:
            raise RequestError(
                f'images from {place} are not fetched: whoever started this server can allow it '
                f'with --image-host {place}'
            )
        return place

    def _content(self, response: Any, address: str, deadline: float) -> tuple[bytes, str]:
        if response.status_code != 200:
            hint = ''
            if response.status_code in (401, 403):
                hint = ' (set the environment variable LABEL_STUDIO_API_KEY to your token)'
            raise RequestError(f'{address!r} answers {response.status_code}{hint}')
        content = bytearray()
        for part in response.iter_raw():
            content += part
            if len(content) > self.limits.max_mb * MB:
                raise TooLarge(f'{address!r} has more than {self.limits.max_mb:g} MB')
            if monotonic() > deadline:
                raise RequestError(f'{address!r} takes more than {PATIENCE:.0f} seconds')
        return bytes(content), Path(_parts(address).path).name or 'image'


def _parts(address: str) -> Any:
    try:
        return urlsplit(address)
    except ValueError as error:
        raise RequestError(f'{address!r} is no address: {error}') from error


def _origin(address: str, name: str) -> str:
    """Scheme, host and port of an address, in one form.

    Raises:
        ValueError: it has no host, a user, or another scheme; the message calls it ``name``.
    """
    try:
        parts = urlsplit(address)
        port = parts.port
    except ValueError as error:
        raise ValueError(f'{name} is no address: {error}') from error
    if parts.scheme not in PORTS or not parts.hostname or parts.username is not None:
        raise ValueError(f'{name} must look like http://localhost:8080 or https://example.org')
    host = f'[{parts.hostname}]' if ':' in parts.hostname else parts.hostname
    return f'{parts.scheme}://{host}:{port or PORTS[parts.scheme]}'
