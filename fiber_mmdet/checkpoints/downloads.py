"""Files behind plain addresses, whose downloads go on where they were interrupted."""

import hashlib
import http.client
import re
import time
from collections.abc import Callable
from pathlib import Path
from urllib.error import HTTPError, URLError
from urllib.parse import unquote, urlsplit
from urllib.request import Request, urlopen

import torch
from filelock import FileLock
from mmengine.dist import barrier, get_local_rank
from tqdm import tqdm

from fiber_mmdet.whole_files import part_of, put_in_place

from .account import ConversionError
from .foreign_files import PAGE, is_page

URL_SCHEMES = ('http', 'https')
# how torch and OpenMMLab name what they publish: swin_t-704ceda3.pth
_CHECKSUM = re.compile(r'-[0-9a-f]{8,}\.\w+')
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


def local_file(source: str | Path) -> Path:
    """The file at a path or behind a URL, which is fetched once, by one process per machine.

    Args:
        source: path, or http(s) URL.

    Returns:
        Its path; of a URL that of :func:`cached_at`.

    Raises:
        ConversionError: the URL cannot be fetched, or leads to a page; another kind of address.
    """
    address = str(source)
    if urlsplit(address).scheme not in URL_SCHEMES:
        if '://' in address:
            raise ConversionError(
                f'{address}: only paths and http(s) addresses are read here: give the path that '
                '"fiber weights get NAME" prints'
            )
        return Path(source)
    path = cached_at(address)
    try:
        if get_local_rank() == 0 and not path.is_file():
            path.parent.mkdir(parents=True, exist_ok=True)
            with FileLock(path.with_name(f'.{path.name}.lock')):
                download(address, path)
                if is_page(path):
                    path.unlink()
                    raise ConversionError(f'{address} leads to {PAGE}')
    except OSError as error:
        raise ConversionError(
            f'{address}: cannot be downloaded ({error}); fetch it yourself and give its path, or '
            f'put it at {path}'
        ) from error
    finally:
        barrier()  # after a failure, too: the others then miss the file, and wait for nothing
    return path


def cached_at(address: str) -> Path:
    """Where torch's cache has the file of an address.

    Differs from torch.hub, which knows files by their names alone: two addresses that end in
    ``pytorch_model.bin`` have a file each. Names that contain a checksum are torch.hub's.

    Args:
        address: http(s) URL.
    """
    name = name_in(address)
    if not _CHECKSUM.search(name):
        name = f'{hashlib.sha256(address.encode()).hexdigest()[:12]}-{name}'
    return Path(torch.hub.get_dir()) / 'checkpoints' / name


def name_in(address: str) -> str:
    """The name of the file that an address leads to."""
    return Path(unquote(urlsplit(address).path)).name or 'file'


def download(address: str, path: Path, before: Callable[[], None] = lambda: None) -> Path:
    """Get the file of an address, once.

    Differs from torch.hub's ``download_url_to_file``: what has arrived is kept, so that a download
    that broke off, or was killed, goes on from there.

    Args:
        address: http(s) URL.
        path: where the file is kept. One process at a time.
        before: called before anything is written.

    Returns:
        The file. A part of it lies beside it until it is whole.

    Raises:
        Refused: the host has something to say instead of sending it.
        OSError: the network or the disk fails.
    """
    if path.is_file():
        return path
    before()
    path.parent.mkdir(parents=True, exist_ok=True)
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
