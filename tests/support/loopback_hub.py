"""A Hugging Face hub and a plain web server on the loopback interface, which fail when told to."""

import hashlib
import json
import threading
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import unquote

COMMIT = '0123456789' * 4
PIECE = 1 << 16


@dataclass
class Served:
    """A file of the server.

    Attributes:
        content: its bytes, or where they lie.
        refuse: answer with this HTTP status instead.
        break_off: how many downloads to end after half of what they asked for.
        corrupt: send its last byte wrong.
        stall: send half, then nothing more until ``released`` is set.
        ranges: whether parts can be asked for.
    """

    content: bytes | Path
    refuse: int | None = None
    break_off: int = 0
    corrupt: bool = False
    stall: bool = False
    ranges: bool = True
    released: threading.Event = field(default_factory=threading.Event)
    sent_half: threading.Event = field(default_factory=threading.Event)

    @property
    def size(self) -> int:
        content = self.content
        return content.stat().st_size if isinstance(content, Path) else len(content)

    @property
    def sha256(self) -> str:
        content = self.content
        read = content.read_bytes() if isinstance(content, Path) else content
        return hashlib.sha256(read).hexdigest()

    def pieces(self, begin: int):
        """Its bytes from a place on."""
        if isinstance(self.content, bytes):
            yield self.content[begin:]
            return
        with open(self.content, 'rb') as file:
            file.seek(begin)
            while piece := file.read(PIECE):
                yield piece


class LoopbackHub:
    """The server; used as ``with LoopbackHub() as hub``.

    Files of the hub are answered as the real one does: a HEAD or GET of
    ``/OWNER/REPO/resolve/REVISION/FILE`` leads to another address, which serves ranges; what is not
    there has the hub's error codes.

    Attributes:
        files: path on the server -> file.
        requests: method, path and range of every request for a content.
    """

    def __init__(self) -> None:
        self.files: dict[str, Served] = {}
        self.requests: list[tuple[str, str, str | None]] = []
        self._server = ThreadingHTTPServer(('127.0.0.1', 0), type('H', (_Handler,), dict(hub=self)))
        self._server.daemon_threads = True

    def __enter__(self) -> 'LoopbackHub':
        threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True).start()
        return self

    def __exit__(self, *error) -> None:
        self.stop()

    def stop(self) -> None:
        """No network any more."""
        for file in self.files.values():
            file.released.set()
        self._server.shutdown()
        self._server.server_close()

    @property
    def url(self) -> str:
        return f'http://127.0.0.1:{self._server.server_address[1]}'

    def add(self, repo: str, file: str, content: bytes | Path, kind: str = '') -> Served:
        """Put a file into a repository; ``kind`` is '', 'spaces/' or 'datasets/'."""
        return self.put(f'/{kind}{repo}/resolve/main/{file}', content)

    def put(self, path: str, content: bytes | Path) -> Served:
        """Serve a file at a plain path."""
        self.files[path] = Served(content)
        return self.files[path]

    def environment(self, folder: Path) -> dict[str, str]:
        """Variables for a process whose only hub is this one, with caches in a folder."""
        return dict(
            HF_ENDPOINT=self.url,
            HF_HUB_OFFLINE='0',
            HF_HOME=str(folder / 'hf'),
            HF_HUB_CACHE=str(folder / 'hf' / 'hub'),
            HF_HUB_DISABLE_XET='1',
            FIBER_CACHE=str(folder / 'fiber'),
            no_proxy='127.0.0.1',
        )

    def contents_sent(self) -> int:
        """How often the content of a file was asked for."""
        return sum(method == 'GET' for method, *_ in self.requests)


class _Handler(BaseHTTPRequestHandler):
    protocol_version = 'HTTP/1.1'
    hub: LoopbackHub

    def log_message(self, *args) -> None:
        pass

    def do_HEAD(self) -> None:
        self._answer(False)

    def do_GET(self) -> None:
        self._answer(True)

    def _answer(self, body: bool) -> None:
        path = unquote(self.path.partition('?')[0]).replace(f'/resolve/{COMMIT}/', '/resolve/main/')
        if path.startswith('/api/'):
            return self._list(path)
        content = path.startswith('/content')
        file = self.hub.files.get(path.removeprefix('/content'))
        if file is None:
            known = any(path.partition('/resolve/')[0] + '/' in other for other in self.hub.files)
            code = 'EntryNotFound' if known else 'RepoNotFound'
            return self._end(404, {'X-Error-Code': code, 'X-Repo-Commit': COMMIT})
        if file.refuse is not None:
            return self._end(file.refuse, {})
        if '/resolve/' in path and not content:
            return self._end(
                302,
                {
                    'Location': f'{self.hub.url}/content{self.path}',
                    'X-Repo-Commit': COMMIT,
                    'X-Linked-Etag': f'"{file.sha256}"',
                    'X-Linked-Size': str(file.size),
                },
            )
        wanted = self.headers.get('Range')
        self.hub.requests.append((self.command, path, wanted))
        begin = int(wanted[6:].partition('-')[0]) if wanted and file.ranges else 0
        if begin >= file.size > 0:
            return self._end(416, {})
        self.send_response(206 if begin else 200)
        self.send_header('Content-Length', str(file.size - begin))
        self.send_header('ETag', f'"{file.sha256}"')
        if content:
            self.send_header('X-Repo-Commit', COMMIT)
        if begin:
            self.send_header('Content-Range', f'bytes {begin}-{file.size - 1}/{file.size}')
        self.end_headers()
        if body:
            self._send(file, begin)

    def _send(self, file: Served, begin: int) -> None:
        half = begin + (file.size - begin) // 2
        place = begin
        for piece in file.pieces(begin):
            if (file.break_off or file.stall) and place + len(piece) > half:
                self.wfile.write(piece[: max(half - place, 0)])
                self.wfile.flush()
                file.sent_half.set()
                if file.break_off:
                    file.break_off -= 1
                    self.close_connection = True
                    return
                file.released.wait(60)
                piece, place = piece[max(half - place, 0) :], max(half, place)
            place += len(piece)
            if file.corrupt and place == file.size:
                piece = piece[:-1] + bytes([piece[-1] ^ 1])
            try:
                self.wfile.write(piece)
            except OSError:
                return  # the client was killed

    def _list(self, path: str) -> None:
        """What a repository holds, as the hub's interface tells it."""
        repo, tree, rest = path.removeprefix('/api/models/').partition('/tree/')
        repo = repo.partition('/revision/')[0]
        begin = f'/{repo}/resolve/main/'
        files = {
            name.removeprefix(begin): file
            for name, file in self.hub.files.items()
            if name.startswith(begin)
        }
        if not files:
            return self._end(404, {'X-Error-Code': 'RepoNotFound'})
        if not tree:
            siblings = [dict(rfilename=name) for name in files]
            return self._end(200, {}, dict(id=repo, sha=COMMIT, siblings=siblings, tags=[]))
        folder = rest.partition('/')[2]  # after the revision
        entries = [
            dict(type='file', path=name, size=file.size, oid=file.sha256)
            for name, file in files.items()
            if name.startswith(f'{folder}/' if folder else '')
        ]
        if not entries:
            return self._end(404, {'X-Error-Code': 'EntryNotFound'})
        self._end(200, {}, entries)

    def _end(self, status: int, headers: dict[str, str], content: object = None) -> None:
        body = b'' if content is None else json.dumps(content).encode()
        self.send_response(status)
        for name, value in {**headers, 'Content-Length': str(len(body))}.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != 'HEAD':
            self.wfile.write(body)
