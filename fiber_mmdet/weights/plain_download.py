"""Downloads from plain addresses, which go on where they were interrupted."""

import http.client
import time
from collections.abc import Callable
from pathlib import Path
from urllib.error import HTTPError, URLError
from urllib.parse import unquote, urlsplit
from urllib.request import Request, urlopen

from tqdm import tqdm

from fiber_mmdet.whole_files import part_of, put_in_place

CHUNK = 1 << 20
TIMEOUT = 30  # seconds without a byte
TRIES = 4  # in a row without a byte


class Refused(OSError):
    """An answer other than the file.

    Args:
        status: of HTTP.
        reason: as the host puts it.
    """

    def __init__(self, status: int, reason: str) -> None:
        super().__init__(f'{status} {reason}')
        self.status = status


def download(address: str, folder: Path, before: Callable[[], None] = lambda: None) -> Path:
    """Get the file of an address, once.

    Differs from torch.hub's ``download_url_to_file``: what has arrived is kept, so that a download
    that broke off, or was killed, goes on from there.

    Args:
        address: http(s) URL.
        folder: where the file is kept, under its name in the address. One process at a time.
        before: called before anything is written.

    Returns:
        The file. A part of it lies beside it until it is whole.

    Raises:
        Refused: the host has something to say instead of sending it.
        OSError: the network or the disk fails.
    """
    path = folder / (Path(unquote(urlsplit(address).path)).name or 'file')
    if path.is_file():
        return path
    before()
    folder.mkdir(parents=True, exist_ok=True)
    part = part_of(path, 'download')
    failures = 0
    while True:
        begin = part.stat().st_size if part.exists() else 0
        try:
            if _go_on(address, part, begin):
                break
            problem: OSError = ConnectionError('the connection was closed before the end')
        except HTTPError as error:
            if error.code == 416 and begin:  # the part is no beginning of this file
                part.unlink()
                continue
            raise Refused(error.code, error.reason) from error
        except (URLError, TimeoutError, ConnectionError, http.client.HTTPException) as error:
            reason = getattr(error, 'reason', error)
            problem = reason if isinstance(reason, OSError) else ConnectionError(str(reason))
        grown = part.exists() and part.stat().st_size > begin
        failures = 0 if grown else failures + 1
        if failures >= TRIES or isinstance(problem, ConnectionRefusedError):
            raise problem
        time.sleep(0.2 * failures)
    put_in_place(part, path)
    return path


def _go_on(address: str, part: Path, begin: int) -> bool:
    """Add what follows the first ``begin`` bytes; whether the file is complete."""
    headers = {'User-Agent': 'fiber_mmdet', 'Accept-Encoding': 'identity'}
    if begin:
        headers['Range'] = f'bytes={begin}-'
    with urlopen(Request(address, headers=headers), timeout=TIMEOUT) as answer:
        if begin and answer.status != 206:
            begin = 0  # the host sends the whole file
        length = answer.headers.get('Content-Length')
        total = None if length is None else begin + int(length)
        with (
            open(part, 'r+b' if begin else 'wb') as file,
            tqdm(
                total=total,
                initial=begin,
                unit='B',
                unit_scale=True,
                desc=part.name.split('.')[1],
                disable=None,
            ) as bar,
        ):
            file.seek(begin)
            file.truncate()
            while chunk := answer.read(CHUNK):
                file.write(chunk)
                bar.update(len(chunk))
            return total is None or file.tell() == total
