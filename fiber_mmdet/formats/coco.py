"""COCO json: one file for each part, as the datasets of this project read it."""

from pathlib import Path
from typing import Any

from fiber_mmdet.fields import NUMBER
from fiber_mmdet.outputs import write_json

from .coco_file import BOX_FIELDS, read_coco
from .image_folder import ImageFolder, Sizes
from .labelled import LabelledBox, LabelledImage, LabelledSet, json_files, part_of_path

SCORED_FIELDS = dict(BOX_FIELDS, score=NUMBER | None)


def read(source: Path, folder: ImageFolder) -> LabelledSet:
    """Read a set in COCO's format.

    Args:
        source: a json file, or a folder with one for each part.
        folder: of the images.

    Returns:
        The set. The part of a file is in its name or in that of its folder; one file alone is not
        divided.

    Raises:
        FileNotFoundError: there is no such file, or an image is missing.
        ValueError: a file is malformed; the message names the record.
    """
    files = json_files(source)
    images: list[LabelledImage] = []
    names: dict[str, None] = {}
    sizes, total = Sizes(folder), 0
    for path in files:
        content = read_coco(str(path), str(path), box_fields=SCORED_FIELDS)
        below = path.relative_to(source).as_posix() if len(files) > 1 else ''
        part = part_of_path(below) or (path.stem if below else '')
        categories = {one['id']: one['name'] for one in content['categories']}
        used = {box['category_id'] for box in content['annotations']}
        groups = {one.get('supercategory') for one in content['categories']}
        for number, name in categories.items():  # exports add categories that only group others
            if number in used and not name.strip():
                raise ValueError(
                    f'{path}: category {number} has a blank name and is annotated: give it a name'
                )
            if number in used or name not in groups and name.strip():
                names[name] = None
        boxes: dict[Any, list[LabelledBox]] = {}
        for one in content['annotations']:
            x, y, w, h = map(float, one['bbox'])
            boxes.setdefault(one['image_id'], []).append(
                LabelledBox(
                    categories[one['category_id']],
                    (x, y, x + w, y + h),
                    one.get('score'),
                    bool(one.get('iscrowd') or one.get('ignore')),
                )
            )
        for image in content['images']:
            total += 1
            where = f'{path}: image {image["id"]}'
            file = folder.find(image['file_name'], where, part=part)
            if file is None:
                continue
            size = sizes.of(file, (image['width'], image['height']))
            own = tuple(boxes.get(image['id'], ()))
            images.append(LabelledImage(folder.path(file), file, *size, own, part))
    folder.refuse_missing(total)
    return LabelledSet(images, list(names), sizes.notes())


def content_of(images: list[LabelledImage], names: list[str] | tuple[str, ...]) -> dict[str, Any]:
    """The content of a COCO json: plain values, numbered from 1.

    Args:
        images: with their boxes; scores become a field ``score`` of annotations.
        names: of the categories, in their order.
    """
    number = {name: i for i, name in enumerate(names, 1)}
    annotations: list[dict[str, Any]] = []
    for i, image in enumerate(images, 1):
        for box in image.boxes:
            x1, y1, x2, y2 = box.corners
            one: dict[str, Any] = dict(
                id=len(annotations) + 1,
                image_id=i,
                category_id=number[box.name],
                bbox=[_short(x1), _short(y1), _short(x2 - x1), _short(y2 - y1)],
                area=_short((x2 - x1) * (y2 - y1)),
                iscrowd=int(box.crowd),
            )
            if box.score is not None:
                one['score'] = box.score
            annotations.append(one)
    return dict(
        images=[
            dict(id=i, file_name=image.file, width=image.width, height=image.height)
            for i, image in enumerate(images, 1)
        ],
        annotations=annotations,
        categories=[dict(id=i, name=name) for name, i in number.items()],
    )


def _short(value: float) -> float:
    """Without the noise of a conversion: 12.000000000000002 is 12."""
    value = round(value, 6)
    return int(value) if value == int(value) else value


def write(labelled: LabelledSet, out: Path) -> list[str]:
    """Write ``annotations/PART.json``; the images are in ``PART``.

    Args:
        labelled: the set, with images whose ``file`` is below ``PART``.
        out: the folder.

    Returns:
        What was lost: nothing.
    """
    for part in labelled.parts():
        content = content_of(labelled.of_part(part), tuple(labelled.names))
        write_json(out / 'annotations' / f'{part}.json', content)
    return []
