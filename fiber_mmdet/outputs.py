"""What tools and inferencers write: never onto what they read, never half, never two onto one."""

import json
import shutil
import unicodedata
from collections import Counter
from collections.abc import Container, Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .whole_files import replacing

if TYPE_CHECKING:
    import numpy as np


LONGEST_SIDE = dict(JPEG=65500, WEBP=16383)  # in pixels, by Pillow's names of the formats


class OutputError(ValueError):
    """A place where nothing can be written; the message says why and what to do."""


@contextmanager
def writing(path: str | Path, inputs: Iterable[str | Path | None] = ()) -> Iterator[Path]:
    """Write a file beside its place; it appears there, whole, when the block ends without an error.

    What is neither a file nor a folder, such as ``/dev/null``, is written in place.

    Args:
        path: the file; folders are made.
        inputs: files that must not be overwritten.

    Yields:
        The path to write to, with another ending. A link stays a link, and permissions stay.

    Raises:
        OutputError: the path is empty, a folder, or one of the inputs.
        OSError: it cannot be written; what was there before is unchanged.
    """
    place = output_path(path)
    refuse_inputs([place], inputs)
    if place.exists() and not place.is_file():
        yield place
        return
    try:
        target = place.resolve() if place.is_symlink() else place
        with replacing(target) as part:
            yield part
            if target.exists():
                shutil.copymode(target, part)
    except OSError as error:
        if error.errno is None:
            raise
        # the name of the temporary file says nothing to anybody
        raise OSError(error.errno, f'cannot be written ({error.strerror})', str(place)) from error


def output_path(path: str | Path) -> Path:
    """The path of a file to write, with ``~`` expanded.

    Raises:
        OutputError: it is empty, or a folder.
    """
    if isinstance(path, str) and not path.strip():
        raise OutputError('the file to write has no name: say where to write')
    try:
        place = Path(path).expanduser()
    except RuntimeError as error:  # ~ of nobody
        raise OutputError(f'{str(path)!r} is not a path to write to: {error}') from error
    if place.is_dir():
        raise OutputError(f'{str(place)!r} is a folder: name a file in it')
    return place


def refuse_inputs(
    outputs: Iterable[str | Path | None],
    inputs: Iterable[str | Path | None],
    remedy: str = 'choose another file to write',
) -> None:
    """Refuse to write onto what is read, under whatever name, or two things onto one.

    Args:
        outputs: files to be written; None is left out.
        inputs: files that are read; None is left out.
        remedy: the end of the message.

    Raises:
        OutputError: an output is one of the inputs, or of the other outputs.
    """
    places = [Path(path).expanduser() for path in outputs if path is not None]
    sources = [Path(path).expanduser() for path in inputs if path is not None]
    names = {source.resolve() for source in sources}
    files = {file for file in map(_file_of, sources) if file}
    seen: set[Path] = set()
    for place in places:
        if place.resolve() in names or _file_of(place) in files:
            raise OutputError(f'{str(place)!r} is read as well and would be lost: {remedy}')
        if place.resolve() in seen:
            raise OutputError(f'{str(place)!r} would be written twice: {remedy}')
        seen.add(place.resolve())


def _file_of(path: Path) -> tuple[int, int] | None:
    """Device and number of an ordinary file, the same for all its names; None for others."""
    try:
        status = path.stat()
    except (OSError, ValueError):
        return None
    return (status.st_dev, status.st_ino) if path.is_file() and status.st_ino else None


def distinct_names(paths: Sequence[Path]) -> list[str]:
    """Names, without endings, of what is written for each of several files.

    Args:
        paths: the files.

    Returns:
        The stem of each file; its whole name, or that and a number, where others would get the
        same, also in a file system that does not distinguish small letters from capitals.
    """
    names = [path.stem for path in paths]
    whole = [False] * len(paths)
    while True:
        count = Counter(map(_folded, names))
        again = [i for i, name in enumerate(names) if count[_folded(name)] > 1 and not whole[i]]
        if not again:
            break
        for i in again:
            names[i], whole[i] = paths[i].name, True
    taken: set[str] = set()
    count = Counter(map(_folded, names))
    alone = {name for name, number in count.items() if number == 1}
    return [name if _folded(name) in alone else distinct_name(name, taken, alone) for name in names]


def distinct_name(name: str, taken: set[str], others: Container[str] = ()) -> str:
    """The name, with a number before its ending if it is taken.

    Args:
        name: of a file.
        taken: names that are taken, to which it is added.
        others: further names that are taken.
    """
    stem, ending = Path(name).stem, Path(name).suffix
    number, found = 1, name
    while _folded(found) in taken or _folded(found) in others:
        number += 1
        found = f'{stem} ({number}){ending}'
    taken.add(_folded(found))
    return found


def _folded(name: str) -> str:
    return unicodedata.normalize('NFC', name).casefold()


def write_text(path: str | Path, text: str, inputs: Iterable[str | Path | None] = ()) -> Path:
    """Write UTF-8 text; see :func:`writing`.

    Half characters (lone surrogates), as in names of files that are not UTF-8, are written as json
    escapes them, ``\\udcff``.

    Returns:
        The path, with ``~`` expanded.

    Raises:
        OutputError, OSError: see :func:`writing`.
    """
    with writing(path, inputs) as part:
        with open(part, 'wb') as file:
            file.write(text.encode('utf-8', errors='backslashreplace'))
    return output_path(path)


def write_json(
    path: str | Path,
    content: Any,
    inputs: Iterable[str | Path | None] = (),
    **options: Any,
) -> Path:
    """Write plain Python as UTF-8 JSON; see :func:`writing`.

    Args:
        path: the file.
        content: what to write.
        inputs: files that must not be overwritten.
        **options: of ``json.dumps``.

    Returns:
        The path, with ``~`` expanded.

    Raises:
        OutputError, OSError: see :func:`writing`.
    """
    text = json.dumps(content, **{'ensure_ascii': False, **options})
    return write_text(path, text + '\n', inputs)


def image_format(path: str | Path) -> str:
    """The format that the ending of a file to write stands for, by Pillow's name.

    Raises:
        OutputError: no ending, or one that no image format has.
    """
    from PIL import Image

    place = output_path(path)
    endings = Image.registered_extensions()
    found = endings.get(place.suffix.lower())
    if found is None or found not in Image.SAVE:
        stem = Path(place.name.rstrip('.') or 'drawing').stem
        said = f'has the ending {place.suffix!r}' if place.suffix else 'has no ending'
        raise OutputError(
            f'{str(place)!r} {said}, which does not say the format of the image: '
            f'write to {stem + ".jpg"!r} or {stem + ".png"!r}'
        )
    return found


def write_image(
    path: str | Path,
    pixels: 'np.ndarray',
    inputs: Iterable[str | Path | None] = (),
    **options: Any,
) -> Path:
    """Write an image in the format of its ending; see :func:`writing`.

    Args:
        path: the file.
        pixels: (H, W, 3) uint8 RGB.
        inputs: files that must not be overwritten.
        **options: of Pillow's ``save``.

    Returns:
        The path, with ``~`` expanded.

    Raises:
        OutputError: the ending is of no image format, the drawing is too large for it, or see
            :func:`writing`.
        OSError: see :func:`writing`.
    """
    from PIL import Image

    kind = image_format(path)
    height, width = pixels.shape[:2]
    if max(height, width) > LONGEST_SIDE.get(kind, max(height, width)):
        raise OutputError(
            f'{str(path)!r}: a drawing of {width}x{height} pixels is too large for {kind} (at most '
            f'{LONGEST_SIDE[kind]} a side): write to a file that ends in .png'
        )
    with writing(path, inputs) as part:
        Image.fromarray(pixels).save(part, format=kind, **options)
    return output_path(path)
