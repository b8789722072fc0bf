"""Rectangles of Label Studio: its JSON export, and predictions that it shows to annotators.

Label Studio counts in percent of the image's width and height. A task has the address of an image
in ``data``, and lists of rectangles in ``annotations`` (made by people) and ``predictions``.

Of a task, the first annotation that was not skipped is read; tasks without one are left out. A
rotated rectangle is read as the upright box around it. JSON-MIN is read, too. Tasks are written
for a project whose images are in its local storage.
"""

import re
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, quote, unquote, urlsplit

from fiber_mmdet.fields import (
    NAME,
    NUMBER,
    OBJECT,
    OBJECTS,
    SIZE,
    TEXT,
    Kind,
    check_record,
    list_of,
    shown,
)
from fiber_mmdet.outputs import write_json
from fiber_mmdet.records import read_json

from .geometry import around_turned
from .image_folder import ImageFolder, Sizes
from .labelled import (
    LabelledBox,
    LabelledImage,
    LabelledSet,
    counted,
    json_files,
    listed,
    part_of_path,
)

TASK_FIELDS = dict(data=OBJECT, annotations=OBJECTS | None)
ANNOTATION_FIELDS = dict(result=OBJECTS)
RESULT_FIELDS = dict(original_width=SIZE, original_height=SIZE, value=OBJECT)
SIDE = Kind('a number of percent', NUMBER.fits)
RECTANGLE_FIELDS = dict(x=SIDE, y=SIDE, width=SIDE, height=SIDE, rotation=NUMBER | None)
NAMES = list_of(NAME)
KEYS = ('rectanglelabels', 'labels')  # of a value: its names
UPLOAD = re.compile(r'[0-9a-f]{8}-')  # before the name of an uploaded file
LOCAL = '/data/local-files/?d='  # where it serves files of its own machine
MODEL_VERSION = 'converted'

FROM_NAME, TO_NAME = 'label', 'image'  # of the usual labelling configuration


def rectangle(
    box: LabelledBox,
    size: tuple[int, int],
    number: int | str | None = None,
    from_name: str = FROM_NAME,
    to_name: str = TO_NAME,
) -> dict[str, Any]:
    """One rectangle as Label Studio writes and reads it: an item of a ``result``.

    Args:
        box: in pixels.
        size: width and height of the image in pixels.
        number: what tells it apart from others of the image; None leaves that to Label Studio.
        from_name: of the ``RectangleLabels`` tag in the labelling configuration.
        to_name: of its ``Image`` tag.

    Returns:
        Plain values, ready for JSON; with ``score`` if the box has one.
    """
    width, height = size
    x1, y1, x2, y2 = map(float, box.corners)
    found: dict[str, Any] = {
        'from_name': from_name,
        'to_name': to_name,
        'type': 'rectanglelabels',
        'original_width': int(width),
        'original_height': int(height),
        'image_rotation': 0,
        'value': {
            'x': 100 * x1 / width,
            'y': 100 * y1 / height,
            'width': 100 * (x2 - x1) / width,
            'height': 100 * (y2 - y1) / height,
            'rotation': 0,
            'rectanglelabels': [box.name],
        },
    }
    if number is not None:
        found['id'] = str(number)
    if box.score is not None:
        found['score'] = float(box.score)
    return found


def rectangles(
    boxes: Iterable[LabelledBox],
    size: tuple[int, int],
    from_name: str = FROM_NAME,
    to_name: str = TO_NAME,
) -> list[dict[str, Any]]:
    """The ``result`` of an annotation or a prediction; see :func:`rectangle`."""
    return [rectangle(box, size, i, from_name, to_name) for i, box in enumerate(boxes, 1)]


def prediction(
    boxes: Sequence[LabelledBox],
    size: tuple[int, int],
    model_version: str,
    from_name: str = FROM_NAME,
    to_name: str = TO_NAME,
) -> dict[str, Any]:
    """A prediction for one image: an item of a task's ``predictions``, or an answer of a backend.

    Args:
        boxes: in pixels, with scores.
        size: width and height of the image in pixels.
        model_version: what Label Studio calls the model.
        from_name: see :func:`rectangle`.
        to_name: see :func:`rectangle`.

    Returns:
        Plain values, ready for JSON. Its score is the mean of those of the boxes, which Label
        Studio sorts tasks by; 0 without boxes.
    """
    scores = [float(box.score) for box in boxes if box.score is not None]
    return {
        'model_version': model_version,
        'score': sum(scores) / len(scores) if scores else 0.0,
        'result': rectangles(boxes, size, from_name, to_name),
    }


# ---------------------------------------------------------------------------- reading
def read(source: Path, folder: ImageFolder) -> LabelledSet:
    """Read a JSON export of Label Studio.

    Args:
        source: the file, or a folder of such files, one for each part.
        folder: of the images.

    Returns:
        The set.

    Raises:
        FileNotFoundError: there is no file, or an image is missing.
        ValueError: a file is malformed; the message names the task and the field.
    """
    files = json_files(source)
    sizes, images, unlabelled, total = Sizes(folder), [], [], 0
    counts: Counter[str] = Counter()
    for path in files:
        part = part_of_path(path.relative_to(source)) if len(files) > 1 else ''
        for number, task in enumerate(read_json(str(path), list, 'a list of tasks')):
            total += 1
            found = task.get('id', number) if isinstance(task, dict) else number
            where = f'{path}: task {found}'
            task = _whole_task(task, where)
            name = _image_name(task['data'], where)
            result = _result(task, where)
            if result is None:
                unlabelled.append(name)
                continue
            file = _find(folder, name, where, part)
            if file is None:
                continue
            said, boxes = None, []
            for i, one in enumerate(result):
                of_one = _boxes(one, f'{where}, result {i}', counts)
                if of_one is not None:
                    said, more = of_one
                    boxes += more
            size = sizes.of(file, said)
            images.append(LabelledImage(folder.path(file), file, *size, tuple(boxes), part))
    folder.refuse_missing(total)
    notes = sizes.notes()
    turned = counts.pop('turned', 0)
    if turned:
        notes.append(
            f'rotated: {counted(turned, "box", "boxes")}. Upright boxes around them are taken'
        )
    if counts:
        kinds = ', '.join(f'{count} {kind}' for kind, count in counts.items())
        notes.append(f'left out what is not a rectangle with a name: {kinds}')
    if unlabelled:
        notes.append(
            f'left out: {counted(len(unlabelled), "task")} without an annotation '
            f'({listed(unlabelled)})'
        )
    names = sorted({box.name for image in images for box in image.boxes})
    return LabelledSet(images, names, notes)


def _whole_task(task: Any, where: str) -> dict:
    """A task as JSON has it; JSON-MIN has the data and the rectangles side by side.

    Raises:
        ValueError: it is neither.
    """
    if isinstance(task, dict) and 'data' not in task:
        lists = [value for value in task.values() if isinstance(value, list)]
        marks = [
            dict(
                one,
                value=one,
                type='rectanglelabels' if any(key in one for key in KEYS) else 'others',
            )
            for value in lists
            for one in value
            if isinstance(one, dict)
        ]
        if marks or any(isinstance(value, str) and '/' in value for value in task.values()):
            data = {key: value for key, value in task.items() if isinstance(value, str)}
            return dict(data=data, annotations=[dict(result=marks)] if marks else [])
    check_record(task, TASK_FIELDS, where)
    return task


def _image_name(data: dict, where: str) -> str:
    """The address of a task's image.

    Raises:
        ValueError: there is none, or several.
    """
    texts = {key: value for key, value in data.items() if TEXT.fits(value)}
    if 'image' in texts:
        return texts['image']
    paths = {key: value for key, value in texts.items() if Path(_path_in(value)).suffix}
    if len(paths) != 1:
        raise ValueError(
            f"{where}: data has no 'image' ({shown(data)}): rename the field that holds the "
            'address of the image'
        )
    return next(iter(paths.values()))


def _path_in(address: str) -> str:
    """The path of a file in an address."""
    parts = urlsplit(address)
    local = parse_qs(parts.query).get('d')
    return local[0] if local else unquote(parts.path)


def _find(folder: ImageFolder, name: str, where: str, part: str) -> str | None:
    """The image, also under the name that it had before it was uploaded."""
    path = _path_in(name)
    found = folder.find(path, where, part=part)
    base = path.rpartition('/')[2]
    if found is None and UPLOAD.match(base):
        folder.missing.pop()
        found = folder.find(UPLOAD.sub('', base, count=1), where, part=part)
    return found


def _result(task: dict, where: str) -> list | None:
    """The rectangles of a task; None if nobody has annotated it."""
    for i, one in enumerate(task.get('annotations') or []):
        check_record(one, ANNOTATION_FIELDS, f'{where}, annotation {i}')
        if not one.get('was_cancelled'):
            return one['result']
    return None


def _boxes(
    one: Any, where: str, counts: Counter
) -> tuple[tuple[float, float], list[LabelledBox]] | None:
    """Size of the image, and the boxes of a result, one for each of its names; None for others."""
    found = one.get('value') if isinstance(one, dict) else None
    value: dict[str, Any] = found if isinstance(found, dict) else {}
    key = next((key for key in KEYS if key in value), None)
    if key is None or 'x' not in value or 'width' not in value:
        counts[str(one.get('type', 'other') if isinstance(one, dict) else 'other')] += 1
        return None
    check_record(one, RESULT_FIELDS, where)
    check_record(value, RECTANGLE_FIELDS, f'{where}, value')
    if not NAMES.fits(value[key]):
        raise NAMES.refuse(where, key, value[key])
    if one.get('image_rotation'):
        raise ValueError(
            f'{where} was drawn on an image turned by {one["image_rotation"]} degrees in Label '
            'Studio: turn the image file, and annotate it again'
        )
    width, height = float(one['original_width']), float(one['original_height'])
    if value['width'] < 0 or value['height'] < 0:
        raise ValueError(f'{where} has a negative width or height: correct or remove it')
    x1, y1 = value['x'] * width / 100, value['y'] * height / 100
    x2 = x1 + value['width'] * width / 100
    y2 = y1 + value['height'] * height / 100
    corners, angle = (x1, y1, x2, y2), value.get('rotation') or 0
    if angle % 360:
        counts['turned'] += 1
        corners = around_turned(corners, (x1, y1), angle)
    return (width, height), [LabelledBox(name, corners) for name in value[key]]


# ---------------------------------------------------------------------------- writing
def write(labelled: LabelledSet, out: Path) -> list[str]:
    """Write ``PART.json``, tasks for the import into a project with local storage.

    Boxes with scores become predictions, to be corrected by people; others become annotations.
    Addresses of images begin with ``/data/local-files/?d=images/``: Label Studio has to be started
    with ``LABEL_STUDIO_LOCAL_FILES_SERVING_ENABLED=true`` and
    ``LABEL_STUDIO_LOCAL_FILES_DOCUMENT_ROOT`` set to ``out``.

    Args:
        labelled: the set, with images whose ``file`` is below ``images``.
        out: the folder.

    Returns:
        What was lost, one sentence each.
    """
    for part in labelled.parts():
        tasks = []
        for image in labelled.of_part(part):
            size = (image.width, image.height)
            task: dict[str, Any] = dict(data=dict(image=LOCAL + quote(f'images/{image.file}')))
            if any(box.score is not None for box in image.boxes):
                task['predictions'] = [prediction(image.boxes, size, MODEL_VERSION)]
            else:
                task['annotations'] = [dict(result=rectangles(image.boxes, size))]
            tasks.append(task)
        write_json(out / f'{part}.json', tasks, indent=1)
    crowds = sum(box.crowd for image in labelled.images for box in image.boxes)
    return [f'crowds or difficult boxes that are no longer marked: {crowds}'] if crowds else []
