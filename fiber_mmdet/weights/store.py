"""The cache of converted models: each known name once, whole, found again without network.

A folder for each name holds ``source.json`` (which file the weights came from) and, for each
precision, the weights in safetensors with the report of the conversion beside them.
"""

import json
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from stat import S_ISDIR

import torch
from mmengine.config import Config
from torch import Tensor

from fiber_mmdet import caches
from fiber_mmdet.checkpoints.account import Conversion, ConversionError
from fiber_mmdet.checkpoints.archive import DamagedFile, safetensors_header
from fiber_mmdet.checkpoints.fitting import fitting_weights
from fiber_mmdet.checkpoints.reading import (
    missing,
    official_weights,
    our_weights,
    read_checkpoint,
)
from fiber_mmdet.checkpoints.tensor_file import write_tensors
from fiber_mmdet.convert import import_weights, skeleton
from fiber_mmdet.outputs import write_json, write_text
from fiber_mmdet.version import __version__
from fiber_mmdet.whole_files import remove_leftovers, replacing

from .catalogue import PACKAGED, KnownWeights, find_known, packaged_file
from .fetch import (
    NoWeights,
    Say,
    WrongFile,
    fetch_known,
    full_disk,
    said_size,
    say_aside,
    sha256_of,
    verify,
)
from .kinds import refuse_other_kind

LAYOUT = 1  # of converted weights: a new number converts all of them again
PRECISIONS = {False: 'float32', True: 'float16'}
RECORD = 'source.json'


class StoreError(ConversionError):
    """Weights that cannot be kept or converted; the message says why and what to do."""


@dataclass(frozen=True)
class Source:
    """The file that the weights of a name came from.

    Attributes:
        sha256: its checksum.
        size: in bytes.
        path: where it was.
        modified: when it was written, in nanoseconds, as the file system has it.
        address: where it was fetched; '' for a file of the user.
        known: whether size and checksum are those of the table.
    """

    sha256: str
    size: int
    path: str
    modified: int
    address: str
    known: bool

    def is_there(self) -> bool:
        """Whether the file is still there, unchanged."""
        try:
            found = Path(self.path).stat()
        except OSError:
            return False
        if S_ISDIR(found.st_mode):  # of the hub's cache, which adds to it
            return True
        return (found.st_size, found.st_mtime_ns) == (self.size, self.modified)


def cache_folder() -> Path:
    """Where converted weights are kept; see :func:`fiber_mmdet.caches.cache_folder`."""
    return caches.cache_folder('weights')


def stored_weights(name: str, half: bool | None = None) -> Path | None:
    """The weights of a name, if they are there already; neither network nor lock is needed.

    Args:
        name: of known weights.
        half: in float16 or in float32; None for either, float32 first.

    Returns:
        The file: converted if it is a model, else as it was published (a folder for some towers).

    Raises:
        UnknownWeights: no such name, or a packaged model whose file is missing.
    """
    known = find_known(name)
    if known.name in PACKAGED:
        return packaged_file(known.name, 'weights.pth')
    source = _read_source(cache_folder() / known.name)
    if source is None:
        return None
    if not known.is_model:
        return Path(source.path) if source.is_there() else None
    for precision in (False, True) if half is None else (half,):
        file = _converted_file(known, source, precision)
        if _is_whole(file):
            return file
    return None


def stored_source(name: str) -> Source | None:
    """Which file the stored weights of a name came from; None if there are none."""
    return _read_source(cache_folder() / find_known(name).name)


def get_weights(
    name: str,
    half: bool | None = None,
    file: str | Path | None = None,
    unverified: bool = False,
    say: Say = say_aside,
) -> Path:
    """The weights of a name, fetched and converted if they are not there yet.

    Args:
        name: of known weights.
        half: see :func:`stored_weights`; None converts to float32.
        file: the published file, if the user has it; nothing is downloaded then.
        unverified: accept a ``file`` of another size or checksum than the table's.
        say: receives what is being done, a line at a time.

    Returns:
        See :func:`stored_weights`.

    Raises:
        UnknownWeights: no such name.
        FetchError: the file cannot be fetched, or is not the one that is known.
        ConversionError, MisfitError: it cannot be read, is of another system, or does not fit the
            config.
        StoreError: the cache cannot be written.
    """
    known = find_known(name)
    if file is None and (found := stored_weights(name, half)) is not None:
        return found
    if known.name in PACKAGED:
        raise StoreError(f'{known.name} is part of this package: it needs no file')
    folder = cache_folder() / known.name
    with _alone(folder, say):
        if file is None and (found := stored_weights(name, half)) is not None:
            return found  # another process was faster
        remove_leftovers(folder)
        if known.is_model and file is None and (other := stored_weights(name)) is not None:
            if half:  # from float32, without the published file
                return _write(known, _need_source(folder), half, *_of_ours(other), say)
        earlier = _read_source(folder)
        source = _source(known, folder, file, unverified, say)
        try:
            if not known.is_model:
                if file is not None:
                    refuse_other_kind(known, source.path)
                return Path(source.path)
            converted = _convert(known, source, say)
        except ValueError:  # of no use: the next time takes another file
            _forget(folder, None if earlier == source else earlier)
            raise
        return _write(known, source, bool(half), *converted, say)


def report_of(weights: Path) -> Path:
    """The report of the conversion that lies beside converted weights."""
    return weights.with_suffix('.txt')


# ------------------------------------------------------------------ the published file
def _source(
    known: KnownWeights, folder: Path, file: str | Path | None, unverified: bool, say: Say
) -> Source:
    """The published file, verified now or earlier; what is known of it is written down."""
    if file is None:
        source = _read_source(folder)
        if source is not None and source.is_there():
            return source
        path, address, checksum = fetch_known(known, folder / 'published', say)
        matches = True
    else:
        path, address, matches = Path(file).expanduser(), '', True
        if not path.is_file():
            raise StoreError(f'{path}: {missing(path)}')
        try:
            checksum = verify(path, known, say)
        except NoWeights:
            raise
        except WrongFile as error:
            if not unverified:
                raise WrongFile(f'{error}. To use it anyway: --unverified') from error
            say(f'{error}; used anyway')
            checksum, matches = sha256_of(path), False
    status = path.stat()
    source = Source(
        checksum, status.st_size, str(path.absolute()), status.st_mtime_ns, address, matches
    )
    with _disk(folder):
        write_json(folder / RECORD, asdict(source), indent=1)
    return source


def _read_source(folder: Path) -> Source | None:
    """What was written down of the published file; None if nothing was, or it cannot be read."""
    try:
        found = Source(**json.loads((folder / RECORD).read_text(encoding='utf-8')))
    except (OSError, ValueError, TypeError):
        return None
    texts, numbers = (found.sha256, found.path, found.address), (found.size, found.modified)
    if all(isinstance(x, str) for x in texts) and all(isinstance(x, int) for x in numbers):
        return found
    return None


def _forget(folder: Path, earlier: Source | None) -> None:
    """Put back what was written down before the published file of now."""
    with _disk(folder):
        if earlier is None:
            (folder / RECORD).unlink(missing_ok=True)
        else:
            write_json(folder / RECORD, asdict(earlier), indent=1)


def _need_source(folder: Path) -> Source:
    source = _read_source(folder)
    assert source is not None
    return source


# ---------------------------------------------------------------------- the conversion
def _converted_file(known: KnownWeights, source: Source, half: bool) -> Path:
    name = f'{source.sha256[:16]}-v{LAYOUT}-{PRECISIONS[half]}.safetensors'
    return cache_folder() / known.name / name


def _is_whole(file: Path) -> bool:
    try:
        return file.is_file() and safetensors_header(file) is not None
    except (OSError, DamagedFile):
        return False


def _convert(known: KnownWeights, source: Source, say: Say) -> tuple[dict[str, Tensor], list[str]]:
    """The weights of a published file under our names, and the report."""
    say(f'{known.name}: converting {source.path}, once')
    checkpoint = read_checkpoint(source.path)
    model = skeleton(Config.fromfile(known.config_file()).model)
    if known.layout == 'ours':
        state = fitting_weights(checkpoint, model, source.path)
        return state, [f'{len(state)} weights of this project, as they are']
    try:
        result: Conversion = import_weights(official_weights(checkpoint), model)[0]
    except ConversionError as error:
        raise ConversionError(f'{source.path}: {error}') from None
    return result.state, list(result.report())


def _of_ours(file: Path) -> tuple[dict[str, Tensor], list[str]]:
    """Weights that were converted earlier, and the report."""
    report = report_of(file)
    lines = report.read_text(encoding='utf-8').splitlines() if report.is_file() else []
    return our_weights(read_checkpoint(file), str(file)), lines


def _write(
    known: KnownWeights,
    source: Source,
    half: bool,
    state: dict[str, Tensor],
    report: list[str],
    say: Say,
) -> Path:
    """Write converted weights and their report, whole or not at all."""
    file = _converted_file(known, source, half)
    rounded = {key: _rounded(value, half) for key, value in state.items()}
    meta = dict(
        name=known.name,
        source=Path(source.path).name,
        source_sha256=source.sha256,
        layout=known.layout,
        precision=PRECISIONS[half],
        fiber_mmdet=__version__,
    )
    with _disk(file.parent):
        write_text(report_of(file), '\n'.join([*report, '']))
        with replacing(file) as part:
            write_tensors(part, rounded, meta)
    say(f'{known.name}: {file}{said_size(file.stat().st_size)}')
    return file


def _rounded(value: Tensor, half: bool) -> Tensor:
    """A weight (…) in the precision of the file; numbers that float16 lacks stay as they are."""
    if not value.is_floating_point():
        return value
    value = value.float()
    if half and bool(value.abs().max() <= torch.finfo(torch.float16).max if value.numel() else 1):
        return value.half()
    return value


# --------------------------------------------------------------------------- the cache
@contextmanager
def _alone(folder: Path, say: Say) -> Iterator[None]:
    """Keep other processes away from the weights of a name."""
    with ExitStack() as stack:
        with _disk(folder):
            stack.enter_context(caches.alone(folder, say, 'getting these weights'))
        yield


@contextmanager
def _disk(folder: Path) -> Iterator[None]:
    """Errors of the disk, with what to do about them."""
    try:
        yield
    except OSError as error:
        full = error.errno in caches.FULL or any(
            f'os error {number})' in str(error) for number in caches.FULL
        )
        why = (
            full_disk(folder, 'converted weights do not fit')
            if full
            else f'{folder} cannot be written ({error}): set FIBER_CACHE to a folder that can'
        )
        raise StoreError(why) from error
