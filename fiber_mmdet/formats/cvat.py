"""CVAT: the xml of "CVAT for images 1.1".

Corners are in pixels from the upper left corner, with decimals; nothing is lost. A rotated box is
read as the upright one around it. Annotations of videos have tracks instead, and are refused.
"""

from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from xml.sax.saxutils import escape, quoteattr

from fiber_mmdet.outputs import write_text

from .geometry import around_turned
from .image_folder import ImageFolder, Sizes
from .labelled import LabelledBox, LabelledImage, LabelledSet, counted, part_of_path
from .xml_files import Element, read_xml

SIDES = ('xtl', 'ytl', 'xbr', 'ybr')
SHAPES = ('polygon', 'polyline', 'points', 'ellipse', 'cuboid', 'mask', 'skeleton', 'tag')
FILE = 'annotations.xml'


def read(source: Path, folder: ImageFolder) -> LabelledSet:
    """Read a set that CVAT exported.

    Args:
        source: the xml file, or a folder with ``annotations.xml``.
        folder: of the images.

    Returns:
        The set; ``subset`` is the part.

    Raises:
        FileNotFoundError: there is no such file, or an image is missing.
        ValueError: the file is malformed; the message names its line.
    """
    path = source / FILE if source.is_dir() else source
    root = read_xml(path, 'annotations')
    track = root.find('track')
    if track is not None:
        raise ValueError(
            f'{track.where}: <track> belongs to a video: export the task as "CVAT for images 1.1"'
        )
    names = _labels(root)
    listed_names = bool(names)
    sizes, images, turned = Sizes(folder), [], 0
    others: Counter[str] = Counter()
    elements = list(root.all('image'))
    for one in elements:
        name, part = one.attribute('name'), one.attributes.get('subset', '')
        if '/' in part or '\\' in part or part in ('.', '..'):
            raise ValueError(  # files and folders get this name
                f"{one.where}: 'subset' of <image> is {part!r}: it must be a name such as train, "
                'not a path'
            )
        part = part_of_path(part) or ('' if part == 'default' else part)
        file = folder.find(name, one.where, part=part)
        if file is None:
            continue
        said = (one.number_attribute('width'), one.number_attribute('height'))
        width, height = sizes.of(file, said)
        boxes = []
        for child in one.children:
            if child.tag != 'box':
                others[child.tag] += child.tag in SHAPES
                continue
            box, is_turned = _box(child)
            turned += is_turned
            boxes.append(box)
            if box.name not in names:
                if listed_names:
                    raise ValueError(
                        f'{child.where}: the label {box.name!r} is not among those of the task '
                        f'({", ".join(names)}): correct it, or add it to <labels>'
                    )
                names[box.name] = None
        images.append(LabelledImage(folder.path(file), file, width, height, tuple(boxes), part))
    folder.refuse_missing(len(elements))
    notes = sizes.notes()
    if turned:
        notes.append(
            f'rotated: {counted(turned, "box", "boxes")}. Upright boxes around them are taken'
        )
    if +others:
        shapes = ', '.join(f'{count} {shape}' for shape, count in (+others).items())
        notes.append(f'left out what is not a box: {shapes}')
    return LabelledSet(images, list(names) if listed_names else sorted(names), notes)


def _labels(root: Element) -> dict[str, None]:
    """The labels of the task or project, in their order."""
    found: dict[str, None] = {}
    waiting = [child for child in root.children if child.tag == 'meta']
    while waiting:
        one = waiting.pop(0)
        if one.tag == 'label':
            found[one.words('name')] = None
        elif one.tag in ('meta', 'task', 'project', 'job', 'labels'):
            waiting += one.children
    return found


def _box(one: Element) -> tuple[LabelledBox, bool]:
    """A box, and whether it was rotated."""
    name = one.attribute('label')
    if not name.strip():
        raise ValueError(f"{one.where}: 'label' of <box> is blank: give it a name")
    x1, y1, x2, y2 = (one.number_attribute(side) for side in SIDES)
    if x2 < x1 or y2 < y1:
        raise ValueError(
            f'{one.where}: the box of {name!r} has xbr or ybr below xtl or ytl: correct or remove '
            'it'
        )
    angle = one.number_attribute('rotation') if 'rotation' in one.attributes else 0.0
    if not angle % 360:
        return LabelledBox(name, (x1, y1, x2, y2)), False
    centre = ((x1 + x2) / 2, (y1 + y2) / 2)
    return LabelledBox(name, around_turned((x1, y1, x2, y2), centre, angle)), True


# ---------------------------------------------------------------------------- writing
def write(labelled: LabelledSet, out: Path) -> list[str]:
    """Write ``annotations.xml``, which a CVAT task with the same images imports.

    Args:
        labelled: the set, with images whose ``file`` is below ``images``.
        out: the folder.

    Returns:
        What was lost, one sentence each.
    """
    write_text(out / FILE, '\n'.join(_lines(labelled)) + '\n')
    crowds = sum(box.crowd for image in labelled.images for box in image.boxes)
    return [f'crowds or difficult boxes that are no longer marked: {crowds}'] if crowds else []


def _lines(labelled: LabelledSet) -> Iterator[str]:
    yield '<?xml version="1.0" encoding="utf-8"?>'
    yield '<annotations>'
    yield '  <version>1.1</version>'
    yield '  <meta><task><labels>'
    for name in labelled.names:
        yield f'    <label><name>{escape(name)}</name></label>'
    yield '  </labels></task></meta>'
    for number, image in enumerate(labelled.images):
        yield (
            f'  <image id="{number}" name={quoteattr(image.file)} subset={quoteattr(image.part)} '
            f'width="{image.width}" height="{image.height}">'
        )
        for box in image.boxes:
            sides = ' '.join(f'{side}="{n:.10g}"' for side, n in zip(SIDES, box.corners))
            yield (
                f'    <box label={quoteattr(box.name)} source="manual" occluded="0" {sides} '
                'z_order="0"></box>'
            )
        yield '  </image>'
    yield '</annotations>'
