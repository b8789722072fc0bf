"""YOLO: a text file for each image, a line for each box in fractions of the image; ``data.yaml``.

A line is ``class x_center y_center width height``. With a sixth number it is a prediction with its
score; longer lines are polygons, of which the box is taken. Labels are looked for as Ultralytics
does, in a folder ``labels`` in place of ``images``, or beside the image; an image without a file
has no object. The names are those of ``data.yaml`` (or another yaml with ``names``), or of
``classes.txt`` or ``obj.names``, one per line.
"""

from collections.abc import Sequence
from pathlib import Path, PurePosixPath
from typing import Any

from fiber_mmdet.fields import is_whole, shown
from fiber_mmdet.outputs import write_text
from fiber_mmdet.records import opened, read_lines, read_numbered_lines

from .image_folder import ImageFolder
from .labelled import LabelledBox, LabelledImage, LabelledSet, counted, listed, part_of_path

LISTS = ('classes.txt', 'obj.names', 'predefined_classes.txt')
KEYS = dict(train='train', val='val', valid='val', test='test')  # of data.yaml -> part
ROUNDING = 0.01  # how far fractions may lie outside of the image, of boxes at its edge


def read(source: Path, folder: ImageFolder) -> LabelledSet:
    """Read a set in YOLO's format.

    Args:
        source: folder of the set, or its yaml.
        folder: of the images; labels are looked for in the same tree.

    Returns:
        The set.

    Raises:
        FileNotFoundError: no names, no label file at all, or a list of images, or one that it
            names, is missing.
        ValueError: a file is malformed; the message names its line.
    """
    names, names_in, parts = _header(source, folder)
    folder.refuse_missing(len(parts) + len(folder.missing))
    images, polygons, empty = [], 0, []
    for file in folder.files:
        part = parts.get(file) if parts else part_of_path(file)
        if part is None:
            continue
        labels = _labels_of(folder.path(file), file)
        width, height = folder.size(file)
        boxes: list[LabelledBox] = []
        if labels is None:
            empty.append(file)
        else:
            for where, line in read_lines(str(labels)):
                box, polygon = _box(line, where, names, names_in, (width, height))
                polygons += polygon
                boxes.append(box)
        images.append(LabelledImage(folder.path(file), file, width, height, tuple(boxes), part))
    if len(empty) == len(images):
        raise FileNotFoundError(
            f'no label file for any of the {len(images)} images in {folder.root}: they belong '
            "into a folder 'labels' in place of 'images', or beside the images"
        )
    notes = [f'of polygons, the boxes around them are taken: {polygons}'] if polygons else []
    if empty:
        notes.append(
            f'taken for images without an object: {counted(len(empty), "image")} without a label '
            f'file ({listed(empty)})'
        )
    others = len(folder.files) - len(images)
    if others:
        notes.append(f'left out: {counted(others, "image")} in no part that the yaml names')
    return LabelledSet(images, names, notes)


def find_yaml(folder: Path) -> Path | None:
    """The yaml of a set: ``data.yaml``, or the only other one that has ``names``."""
    usual = [folder / 'data.yaml', folder / 'dataset.yaml', folder / 'data.yml']
    for path in usual:
        if path.is_file():
            return path
    others = [*sorted(folder.glob('*.yaml')), *sorted(folder.glob('*.yml'))]
    others = [path for path in others if 'names' in _yaml(path)]
    return others[0] if len(others) == 1 else None


def find_list(folder: Path) -> Path | None:
    """The list of names of a set without a yaml."""
    places = [folder, folder / 'labels', *sorted(folder.glob('*/'))]
    return next(
        (place / name for place in places for name in LISTS if (place / name).is_file()), None
    )


def _header(source: Path, folder: ImageFolder) -> tuple[list[str], str, dict[str, str]]:
    """The names, the file that lists them, and image -> part as far as the yaml says."""
    path = source if source.is_file() else find_yaml(source)
    if path is None:
        listed_in = find_list(source)
        if listed_in is None:
            raise FileNotFoundError(
                f'no data.yaml in {source} that says the names (names: [cat, dog]): write one'
            )
        return read_numbered_lines(str(listed_in)), listed_in.name, {}
    content = _yaml(path)
    if 'names' not in content:
        raise ValueError(f"{path} has no 'names': add a list of names, names: [cat, dog]")
    names = content['names']
    if isinstance(names, dict):
        if not all(map(is_whole, names)) or sorted(names) != list(range(len(names))):
            raise ValueError(
                f'{path} has names {shown(names)}: numbers must go from 0 without a gap'
            )
        names = [names[number] for number in range(len(names))]
    if not isinstance(names, list) or not names:
        raise ValueError(f'{path} has names {shown(names)}: it must be a list, [cat, dog]')
    names = [str(name) for name in names]
    if not all(name.strip() for name in names):
        raise ValueError(f'{path} has names {shown(names)}: none may be blank')
    parts: dict[str, str] = {}
    for key, part in KEYS.items():
        for entry in _entries(content.get(key), f'{path} has {key}'):
            files = _files_of(entry, content.get('path'), path.parent, folder)
            if files is None:
                raise FileNotFoundError(
                    f'{path} has {key} {entry!r}, but there is no such list of images: restore it, '
                    'or remove it from the yaml'
                )
            for file in files:
                parts.setdefault(file, part)
    return names, path.name, parts


def _yaml(path: Path) -> dict[str, Any]:
    import yaml

    with opened(str(path)) as file:
        try:
            content = yaml.safe_load(file)
        except (yaml.YAMLError, RecursionError, ValueError) as error:
            said = ' '.join(str(error).split())
            raise ValueError(f'{path} is not a yaml file ({said}): correct it') from error
    return content if isinstance(content, dict) else {}


def _entries(value: Any, where: str) -> list[str]:
    if value is None:
        return []
    values = value if isinstance(value, list) else [value]
    if not all(isinstance(one, str) for one in values):
        raise ValueError(f'{where} {shown(value)}: it must be a folder, or a list of folders')
    return values


def _files_of(entry: str, root: Any, beside: Path, folder: ImageFolder) -> list[str] | None:
    """The images of a folder, or of a list in a text file, that the yaml names.

    None if there is no such list; a folder may be absent, as that of the test split often is.
    Only those in the folder of images count, whatever paths a stranger's yaml contains. Paths of
    the computer on which it was made, and exports that begin with a wrong "../", are read by
    their end.
    """
    ends = [PurePosixPath(entry.replace('\\', '/'))]
    if isinstance(root, str):
        ends.insert(0, PurePosixPath(root.replace('\\', '/')) / ends[0])
    inside = {PurePosixPath(file): file for file in folder.files}
    for end in ends:
        steps = [step for step in end.parts if step not in ('.', '..', '/')]
        for begin in range(len(steps)):
            tail = PurePosixPath(*steps[begin:])
            if tail.suffix == '.txt':
                if (beside / tail).is_file():
                    return [
                        file
                        for where, line in read_lines(str(beside / tail))
                        if (file := folder.find(line.strip(), where))
                    ]
                continue
            found = [file for path, file in inside.items() if tail in path.parents]
            if found:
                return found
    return None if ends[0].suffix == '.txt' else []


def _labels_of(image: Path, file: str) -> Path | None:
    """The label file of an image."""
    steps = list(PurePosixPath(file).parts[:-1])
    places = [image.with_suffix('.txt')]
    root = image.parents[len(steps)]
    for i in reversed(range(len(steps))):
        if steps[i] == 'images':
            swapped = [*steps[:i], 'labels', *steps[i + 1 :]]
            places.insert(0, root.joinpath(*swapped, f'{image.stem}.txt'))
            break
    else:  # the folder of images itself was given
        if root.name == 'images':
            places.insert(0, root.parent.joinpath('labels', *steps, f'{image.stem}.txt'))
        places.append(root.joinpath('labels', *steps, f'{image.stem}.txt'))
    return next((place for place in places if place.is_file()), None)


def _box(
    line: str, where: str, names: Sequence[str], names_in: str, size: tuple[int, int]
) -> tuple[LabelledBox, bool]:
    """A box, and whether it was a polygon."""
    words = line.split()
    try:
        label, *numbers = [float(word) for word in words]
    except ValueError:
        raise ValueError(
            f'{where} is {shown(line)}: it must be numbers, class x_center y_center width height'
        ) from None
    polygon = len(numbers) >= 6 and len(numbers) % 2 == 0
    if not polygon and len(numbers) not in (4, 5):
        raise ValueError(
            f'{where} has {len(words)} numbers: it must have 5, class x_center y_center width '
            'height, or those of a polygon'
        )
    if not label.is_integer() or not 0 <= label < len(names):
        raise ValueError(
            f'{where} has the class {words[0]}: it must be a number from 0 to {len(names) - 1}, '
            f'for the {counted(len(names), "name")} of {names_in}'
        )
    if polygon:
        xs, ys = numbers[::2], numbers[1::2]
        edges = (min(xs), min(ys), max(xs), max(ys))
    else:
        x, y, w, h = numbers[:4]
        if w < 0 or h < 0:
            raise ValueError(f'{where} has a negative width or height: correct or remove the line')
        edges = (x - w / 2, y - h / 2, x + w / 2, y + h / 2)
    fractions = edges if polygon else (*edges, *numbers[4:])
    if not all(-ROUNDING <= one <= 1 + ROUNDING for one in fractions):
        raise ValueError(
            f'{where} is {shown(line)}: numbers after the class must be fractions of the image, '
            'and the box inside it. Correct or remove the line'
        )
    x1, y1, x2, y2 = (min(max(edge, 0.0), 1.0) for edge in edges)
    width, height = size
    score = numbers[4] if len(numbers) == 5 else None
    corners = (x1 * width, y1 * height, x2 * width, y2 * height)
    return LabelledBox(names[int(label)], corners, score), polygon


# ---------------------------------------------------------------------------- writing
def write(labelled: LabelledSet, out: Path) -> list[str]:
    """Write ``labels/PART`` and ``data.yaml``; the images are in ``images/PART``.

    Args:
        labelled: the set, with images whose ``file`` is below ``images/PART``.
        out: the folder.

    Returns:
        What was lost, one sentence each.
    """
    import yaml

    number = {name: i for i, name in enumerate(labelled.names)}
    crowds, outside = 0, 0
    for image in labelled.images:
        lines = []
        for box in image.boxes:
            x1, x2 = (min(max(x / image.width, 0), 1) for x in box.corners[::2])
            y1, y2 = (min(max(y / image.height, 0), 1) for y in box.corners[1::2])
            crowds += box.crowd
            outside += not box.crowd and (x2 <= x1 or y2 <= y1)
            if box.crowd or x2 <= x1 or y2 <= y1:
                continue
            numbers = [(x1 + x2) / 2, (y1 + y2) / 2, x2 - x1, y2 - y1]
            if box.score is not None:
                numbers.append(box.score)
            lines.append(' '.join([str(number[box.name]), *(f'{n:.9g}' for n in numbers)]))
        path = out / 'labels' / image.part / Path(image.file).with_suffix('.txt')
        write_text(path, ''.join(f'{line}\n' for line in lines))
    content = {part: f'images/{part}' for part in labelled.parts()}
    header = dict(content, names=dict(enumerate(labelled.names)))
    write_text(out / 'data.yaml', yaml.safe_dump(header, sort_keys=False, allow_unicode=True))
    notes = []
    if crowds:
        notes.append(f'left out: crowds or difficult boxes, which YOLO cannot mark: {crowds}')
    if outside:
        notes.append(f'left out: boxes outside their image or without a size: {outside}')
    return notes
