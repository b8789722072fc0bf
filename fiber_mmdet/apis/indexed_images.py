"""Image files of an index: which there are, their names in it, and what became of them."""

import logging
import os
from collections.abc import Iterator, Sequence
from pathlib import Path

from fiber_mmdet.images import ImageError, folders_below, image_endings
from fiber_mmdet.prefix_store import look_at_file
from fiber_mmdet.search.index_files import IndexedFile

from .inputs import ImageLike, OneOrMore, image_path, list_folder

logger = logging.getLogger(__name__)


def image_places(images: OneOrMore[ImageLike]) -> list[Path]:
    """Files and folders as paths.

    Raises:
        ImageError: none, or something else.
        FileNotFoundError: a path leads nowhere.
    """
    given = (
        list(images) if isinstance(images, Sequence) and not isinstance(images, str) else [images]
    )
    paths = [one for one in given if isinstance(one, (str, Path))]
    if not given or len(paths) < len(given):
        raise ImageError('an index is of image files: give paths of files and folders')
    places = [image_path(one) for one in paths]
    for place in places:
        if not place.exists():
            raise FileNotFoundError(f'no image or folder at {str(place)!r}')
    return places


def common_folder(places: Sequence[Path]) -> str:
    """The folder that files and folders are in."""
    folders = [os.path.abspath(place if place.is_dir() else place.parent) for place in places]
    try:
        return os.path.commonpath(folders)
    except ValueError:  # on several drives
        return folders[0]


def name_of(path: Path, root: Path) -> str:
    """The name of a file in an index: relative to its root, or absolute."""
    place = os.path.abspath(path)
    try:
        return str(Path(place).relative_to(root))
    except ValueError:
        return place


def state_of(path: Path, file: IndexedFile) -> str:
    """What became of a file since it was read: '' (nothing), 'changed' or 'gone'.

    A file of another time is compared by its content.
    """
    try:
        facts = path.stat()
        if (facts.st_size, facts.st_mtime_ns) == (file.size, file.modified):
            return ''
        return '' if look_at_file(str(path))[2] == file.content else 'changed'
    except OSError:
        return 'gone'


def image_files(places: Sequence[Path], recursive: bool = False) -> Iterator[Path]:
    """The image files of folders, and files that are named.

    Args:
        places: files and folders.
        recursive: also those in subfolders, except hidden ones; the log names subfolders that
            cannot be listed.

    Raises:
        ImageError: a folder without images.
    """
    endings = image_endings()
    for place in places:
        if not place.is_dir():
            yield place
        elif not recursive:
            yield from list_folder(place)
        else:
            count = 0
            for folder, names in folders_below(place, _warn_of_folder):
                for name in names:
                    if os.path.splitext(name)[1].lower() in endings:
                        count += 1
                        yield Path(folder) / name
            if not count:
                raise ImageError(f'no images in {str(place)!r} and its subfolders')


def _warn_of_folder(error: OSError) -> None:
    logger.warning(
        '%s cannot be listed (%s): its images are left out', error.filename, error.strerror
    )
