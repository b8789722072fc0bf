"""The formats by name, and which of them files are in."""

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType

from . import coco, cvat, label_studio, voc, yolo
from .image_folder import ImageFolder
from .labelled import LabelledSet, find_json_files
from .xml_files import root_tag


@dataclass(frozen=True)
class Format:
    """A format.

    Attributes:
        title: its name in messages.
        module: that reads and writes it.
        folder: of the images of a part, below the folder that is written.
        stems: whether two images of a folder must differ in more than their ending.
        scores: whether it can hold scores.
    """

    title: str
    module: ModuleType
    folder: Callable[[str], str]
    stems: bool = False
    scores: bool = False

    def read(self, source: Path, images: ImageFolder) -> LabelledSet:
        """Read a set; see ``read`` of the format's module."""
        return self.module.read(source, images)

    def write(self, labelled: LabelledSet, out: Path) -> list[str]:
        """Write a set; see ``write`` of the format's module."""
        return self.module.write(labelled, out)


FORMATS = {
    'coco': Format('COCO json', coco, lambda part: part, scores=True),
    'voc': Format('Pascal VOC', voc, lambda part: 'JPEGImages', stems=True),
    'yolo': Format('YOLO', yolo, lambda part: f'images/{part}', stems=True, scores=True),
    'labelstudio': Format('Label Studio JSON', label_studio, lambda part: 'images', scores=True),
    'cvat': Format('CVAT for images 1.1', cvat, lambda part: 'images'),
}


def recognise(source: Path) -> str:
    """The name of the format that a file, or a folder of files, is in.

    Raises:
        FileNotFoundError: there is no such file or folder.
        ValueError: it is none of ``FORMATS``, or several.
    """
    if not source.exists():
        raise FileNotFoundError(f'no file or folder {source}: check the path')
    found = _of_file(source) if source.is_file() else _of_folder(source)
    if len(found) == 1:
        return found[0]
    if found:
        raise ValueError(f'{source} holds {" and ".join(found)}: say which, with --from')
    raise ValueError(
        f'{source} is in no known format ({", ".join(FORMATS)}): give the file or folder of the '
        'annotations, or say which it is with --from'
    )


def _of_file(path: Path) -> list[str]:
    ending = path.suffix.lower()
    if ending == '.json':
        return _of_json(path)
    if ending == '.xml':
        tag = root_tag(path)
        return dict(annotations=['cvat'], annotation=['voc']).get(tag or '', [])
    return ['yolo'] if ending in ('.yaml', '.yml') else []


def _of_json(path: Path) -> list[str]:
    """By the first character: a list of tasks, or an object."""
    try:
        with open(path, encoding='utf-8-sig') as file:
            begin = file.read(1 << 16).lstrip()
    except (OSError, ValueError):
        return []
    if begin.startswith('['):
        try:  # whole, if it is short
            content = json.loads(begin)
        except ValueError:
            content = [{}]
        return ['labelstudio'] if content and isinstance(content[0], dict) else []
    if not begin.startswith('{'):
        return []
    keys = ('"images"', '"annotations"', '"categories"', '"info"', '"licenses"')
    return ['coco'] if any(key in begin for key in keys) else []


def _of_folder(folder: Path) -> list[str]:
    found = set()
    if yolo.find_yaml(folder) or yolo.find_list(folder):
        found.add('yolo')
    if (folder / cvat.FILE).is_file():
        found.update(_of_file(folder / cvat.FILE))
    first = next((path for path in sorted(folder.rglob('*.xml')) if path.name != cvat.FILE), None)
    if first is not None:
        found.update(_of_file(first))
    for path in find_json_files(folder)[:1]:
        found.update(_of_json(path))
    return [name for name in FORMATS if name in found]


def folder_of_images(source: Path) -> Path:
    """Where the images are, if nobody says: the folder of the annotations, or the one above it."""
    folder = source if source.is_dir() else source.parent
    return folder.parent if folder.name.lower() in ('annotations', 'labels') else folder
