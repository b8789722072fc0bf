"""What people have instead of a checkpoint: the page of a login, a pointer, an archive, a photo."""

from pathlib import Path

START = 512
TAR = slice(257, 262)  # where tar writes its name

BEGINNINGS = {
    b'version https://git-lfs': (
        'a pointer of git LFS in its place: fetch it with "git lfs pull", or download it'
    ),
    b'\x1f\x8b': 'a gzip archive: unpack it',
    b'BZh': 'a bzip2 archive: unpack it',
    b'\xfd7zXZ': 'an xz archive: unpack it',
    b'7z\xbc\xaf\x27\x1c': 'a 7z archive: unpack it',
    b'Rar!': 'a rar archive: unpack it',
    b'\x89HDF': 'a file of HDF5',
    b'\xff\xd8\xff': 'an image (JPEG)',
    b'\x89PNG': 'an image (PNG)',
    b'%PDF': 'a PDF',
}
PAGE = (
    'an HTML page, such as hosts send for a login or an error: download the file itself, logged in '
    'if that is needed'
)
PAGES = (b'<!doctype html', b'<html', b'<?xml')


def foreign_kind(path: str | Path) -> str | None:
    """What a file is that cannot be a checkpoint, as the end of "is …".

    Args:
        path: any file.

    Returns:
        None if it may be one: only the beginning is looked at.

    Raises:
        OSError: the file cannot be read.
    """
    start = _start(path)
    if not start:
        return 'empty: download it again'
    if is_page(path):
        return PAGE
    for beginning, kind in BEGINNINGS.items():
        if start.startswith(beginning):
            return kind
    if start[TAR] == b'ustar':
        return 'a tar archive: unpack it'
    return 'a text' if _is_text(start) else None


def is_page(path: str | Path) -> bool:
    """Whether a file is an HTML page."""
    return _start(path).removeprefix(b'\xef\xbb\xbf').lstrip().lower().startswith(PAGES)


def _start(path: str | Path) -> bytes:
    with open(path, 'rb') as file:
        return file.read(START)


def _is_text(start: bytes) -> bool:
    """Whether bytes are the beginning of a text in UTF-8."""
    try:
        text = start.decode('utf-8')
    except UnicodeDecodeError as error:
        if error.start < len(start) - 3:  # not a character that was cut
            return False
        text = start[: error.start].decode('utf-8')
    return all(character.isprintable() or character.isspace() for character in text)
