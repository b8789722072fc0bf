"""Files of weights from their addresses: the first that answers, with the right checksum."""

import hashlib
import re
import shutil
import socket
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tqdm import tqdm

from fiber_mmdet.caches import FULL
from fiber_mmdet.checkpoints.account import ConversionError
from fiber_mmdet.checkpoints.downloads import Refused, download, name_in
from fiber_mmdet.checkpoints.foreign_files import foreign_kind
from fiber_mmdet.text import hub_answers

from .catalogue import KnownWeights

Say = Callable[[str], None]
CHUNK = 1 << 22
STALE = 60  # seconds without a byte after which nobody writes a part of a download any more
KINDS = {'models': 'model', 'spaces': 'space', 'datasets': 'dataset'}
FOLDER_FILES = ['*.json', '*.txt', '*.safetensors']

_HUB = re.compile(
    r'hf://(?:(?P<kind>models|spaces|datasets)/)?(?P<repo>[\w.-]+(?:/[\w.-]+)?)'
    r'(?:@(?P<revision>[^/]+))?(?:/(?P<file>[^/].*))?'
)


class FetchError(ConversionError):
    """Weights that cannot be fetched; the message says why and what to do."""


class WrongFile(FetchError):
    """A file that is not the one that is known; the message compares them."""


class NoWeights(WrongFile):
    """A file that cannot hold any weights, such as a page of a web site."""


def say_aside(line: str) -> None:
    """Print a line where it does not mix with results."""
    print(line, file=sys.stderr, flush=True)


@dataclass(frozen=True)
class HubPlace:
    """A file on the Hugging Face hub.

    Attributes:
        repo: name of the repository.
        kind: 'model', 'space' or 'dataset'.
        revision: branch, tag or commit.
        file: path in the repository; '' for all that a model needs.
    """

    repo: str
    kind: str
    revision: str
    file: str


def hub_place(address: str) -> HubPlace:
    """Read the address of a file on the hub.

    Args:
        address: ``hf://OWNER/REPOSITORY[@REVISION]/FILE``, with ``spaces/`` or ``datasets/`` before
            the owner if it is there; a repository alone stands for a model's folder.

    Raises:
        FetchError: it is none.
    """
    found = _HUB.fullmatch(address)
    if found is None:
        raise FetchError(
            f'{address} is not an address of the Hugging Face hub: write '
            'hf://OWNER/REPOSITORY/FILE, or hf://OWNER/REPOSITORY@REVISION/FILE'
        )
    return HubPlace(
        found['repo'],
        KINDS[found['kind'] or 'models'],
        found['revision'] or 'main',
        found['file'] or '',
    )


def fetch_known(known: KnownWeights, folder: Path, say: Say = say_aside) -> tuple[Path, str, str]:
    """Get the file of known weights, from the first address that has it.

    Args:
        known: the weights.
        folder: where files of plain addresses are kept; those of the hub are in its own cache.
        say: receives what is being done, a line at a time.

    Returns:
        The file, compared with its size and checksum as far as they are known; its address; and its
        sha256, '' for a folder.

    Raises:
        FetchError: no address has it; what each said is listed.
    """
    problems: dict[str, list[str]] = {}  # reason -> addresses
    for address in known.addresses:
        try:
            say(f'{known.name}: fetching {address}{said_size(known.size)}')
            path = fetch(address, folder, known.size)
            checksum = verify(path, known, say) if path.is_file() else ''
        except WrongFile as error:
            remove_fetched(path)
            problems.setdefault(str(error), []).append(address)
        except FetchError as error:
            why = str(error).removeprefix(f'{address}: ')
            problems.setdefault(why, []).append(address)
        else:
            return path, address, checksum
    said = [f'{" and ".join(places)}: {why}' for why, places in problems.items()]
    raise FetchError(f'{known.name} cannot be fetched: {"; ".join(said)}. {_what_then(known)}')


def _what_then(known: KnownWeights) -> str:
    """What users can do if a file cannot be fetched."""
    if all(place.startswith('hf://') and not hub_place(place).file for place in known.addresses):
        return 'If you have its files, give their folder instead of the name'
    instead = '. docs/model_zoo.md says what is public instead' if known.state == 'refused' else ''
    return (
        'If you have the file, or find it elsewhere: '
        f'fiber weights get {known.name} --file PATH{instead}'
    )


def fetch(address: str, folder: Path, size: int | None = None) -> Path:
    """Get one file, or what is there of an earlier time.

    Args:
        address: ``hf://…``, or a plain address.
        folder: where files of plain addresses are kept.
        size: in bytes, if it is known.

    Raises:
        FetchError: it cannot be fetched; the message begins with the address.
    """
    try:
        if address.startswith('hf://'):
            return _from_hub(hub_place(address), size)
        return download(address, folder / name_in(address), lambda: refuse_full_disk(folder, size))
    except FetchError as error:
        raise type(error)(f'{address}: {error}') from error
    except Exception as error:  # each HTTP library has its own
        raise FetchError(f'{address}: {_why(error)}') from error


def _from_hub(place: HubPlace, size: int | None) -> Path:
    """A file or folder of the hub, in its cache."""
    from huggingface_hub import constants, hf_hub_download, snapshot_download

    def get(**options: Any) -> Path:
        options.update(repo_id=place.repo, repo_type=place.kind, revision=place.revision)
        if place.file:
            return Path(hf_hub_download(filename=place.file, **options))
        return Path(snapshot_download(allow_patterns=FOLDER_FILES, **options))

    if place.file:
        try:
            return get(local_files_only=True)
        except (OSError, ValueError):
            pass  # not there yet
    if not hub_answers():
        try:
            return get(local_files_only=True)
        except (OSError, ValueError) as error:
            offline = 'HF_HUB_OFFLINE is set' if constants.HF_HUB_OFFLINE else 'no network'
            raise FetchError(
                f'not in the cache of the hub ({constants.HF_HUB_CACHE}), and {constants.ENDPOINT} '
                f'cannot be reached ({offline})'
            ) from error
    cache = Path(constants.HF_HUB_CACHE)
    remove_stale_parts(cache, place)
    refuse_full_disk(cache, size)
    try:
        return get()
    finally:
        remove_stale_parts(cache, place)


def remove_stale_parts(cache: Path, place: HubPlace) -> None:
    """Remove what downloads of a repository left that were killed.

    The hub's own library no longer goes on with them, and never removes them.

    Args:
        cache: of the hub.
        place: the repository.
    """
    from huggingface_hub.file_download import repo_folder_name

    folder = cache / repo_folder_name(repo_id=place.repo, repo_type=place.kind) / 'blobs'
    # older releases go on with their parts, whose names have no number
    for part in folder.glob('*.*.incomplete'):
        try:
            if time.time() - part.stat().st_mtime > STALE:
                part.unlink()
        except OSError:
            pass  # of another user, or gone


def refuse_full_disk(folder: Path, size: int | None) -> None:
    """Stop before a file is written that the disk has no room for.

    Args:
        folder: where it will be.
        size: in bytes; None if it is not known.

    Raises:
        FetchError: there is not enough room.
    """
    if size is None:
        return
    place = next(one for one in (folder, *folder.parents) if one.exists())
    free = shutil.disk_usage(place).free
    if free < size:
        raise FetchError(
            full_disk(folder, f'{size / 1e9:.1f} GB are needed, {free / 1e9:.1f} free')
        )


def full_disk(folder: Path, detail: str) -> str:
    """What is said about a disk without room."""
    return (
        f'the disk of {folder} is full ({detail}): make room there, or set HF_HOME (downloads) and '
        'FIBER_CACHE (converted weights) to folders on another disk'
    )


def verify(path: Path, known: KnownWeights, say: Say = say_aside) -> str:
    """Compare a file with what is known of it.

    Args:
        path: the file.
        known: its size and checksum, if they are known.
        say: receives what is being done.

    Returns:
        Its sha256.

    Raises:
        WrongFile: it is another one.
        NoWeights: it cannot be any.
    """
    if (kind := foreign_kind(path)) is not None:
        raise NoWeights(f'{path} is {kind}')
    size = path.stat().st_size
    if known.size is not None and size != known.size:
        raise WrongFile(
            f'{path} has {size} bytes, {known.name} has {known.size}: it is '
            + ('not complete' if size < known.size else 'another file')
        )
    found = sha256_of(path)
    if known.sha256 is not None and found != known.sha256:
        raise WrongFile(
            f'{path} has the sha256 {found}, {known.name} has {known.sha256}: it is damaged, or '
            'another file'
        )
    if known.sha256 is None:
        say(f'{known.name}: no checksum of it is known; this file has sha256 {found}')
    return found


def sha256_of(path: Path) -> str:
    """The sha256 of a file, with a progress bar if it is large."""
    total = hashlib.sha256()
    size = path.stat().st_size
    silent = True if size < 1 << 28 else None
    with (
        open(path, 'rb') as file,
        tqdm(total=size, unit='B', unit_scale=True, desc='checksum', disable=silent) as bar,
    ):
        while chunk := file.read(CHUNK):
            total.update(chunk)
            bar.update(len(chunk))
    return total.hexdigest()


def remove_fetched(path: Path) -> None:
    """Remove a file that was fetched, and what it links to in the hub's cache."""
    target = path.resolve()
    for one in (path, target):
        one.unlink(missing_ok=True)


def said_size(size: int | None) -> str:
    """A size for people, after a comma."""
    return '' if size is None else f', {size / 1e9:.1f} GB' if size > 1e8 else f', {size} bytes'


def _status(error: BaseException | None) -> int | None:
    """What the host answered, from an error or what caused it; None if it did not."""
    while error is not None:
        if isinstance(error, Refused):
            return error.status
        status = getattr(getattr(error, 'response', None), 'status_code', None)
        if status is not None:
            return status
        error = error.__cause__
    return None


def _why(error: Exception) -> str:
    """An error of a download in one sentence."""
    status = _status(error)
    if status in (401, 403, 404, 410):
        return f'the host refuses it (HTTP status {status})'
    if status is not None:
        return f'the host does not answer properly (HTTP status {status})'
    if isinstance(error, OSError) and error.errno in FULL:
        return full_disk(Path(error.filename or '.').parent, 'it filled up meanwhile')
    said = ' '.join(str(error).split()) or type(error).__name__
    if isinstance(error, (ConnectionRefusedError, socket.gaierror)):
        return f'it cannot be reached ({said})'
    return f'the download broke off ({said}): run the command again'
