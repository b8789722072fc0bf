"""Pascal VOC: an xml file for each image.

Layouts that are read: that of VOC (``Annotations``, ``JPEGImages``, ``ImageSets/Main/train.txt``),
xml files beside their images, folders ``train``, ``valid`` and ``test``. Written is that of VOC.

Corners are whole pixels counted from 1, both inclusive, as in the published set: ``xmin`` 1 is the
left edge, ``xmax`` is the right edge. Many tools count from 0 instead. A set in which any corner is
0 is read that way.
"""

from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from xml.sax.saxutils import escape

from fiber_mmdet.outputs import write_text
from fiber_mmdet.records import read_lines

from .image_folder import ImageFolder, Sizes
from .labelled import LabelledBox, LabelledImage, LabelledSet, counted, listed, part_of_path
from .xml_files import Element, read_xml

LISTS = 'ImageSets/Main'
SIDES = ('xmin', 'ymin', 'xmax', 'ymax')


def read(source: Path, folder: ImageFolder) -> LabelledSet:
    """Read a set in Pascal VOC's format.

    Args:
        source: folder with xml files anywhere below it.
        folder: of the images.

    Returns:
        The set; ``difficult`` objects are crowds. Images without an xml file are left out.

    Raises:
        FileNotFoundError: there is no xml file, or an image is missing.
        ValueError: a file is malformed; the message names its line.
    """
    files = sorted(source.rglob('*.xml')) if source.is_dir() else [source]
    if not files:
        raise FileNotFoundError(f'no xml file in {source}: give the folder of the annotations')
    chosen = _image_sets(source)
    sizes, images, from_zero, unlisted = Sizes(folder), [], False, []
    for path in files:
        root = read_xml(path, 'annotation')
        said = root.find('filename')
        name = said.text.strip() if said is not None and said.text.strip() else path.stem
        beside = folder.below(path.parent / Path(name).name)
        part = _listed_part(path, source, chosen) if chosen else part_of_path(folder.below(path))
        file = _find(folder, (beside, name, path.stem), f'{path}', part)
        if file is None:
            continue
        boxes = [_box(one) for one in root.all('object')]
        from_zero |= any(min(box.corners[:2]) < 1 for box in boxes)
        width, height = sizes.of(file, _size(root))
        images.append(LabelledImage(folder.path(file), file, width, height, tuple(boxes), part))
        if chosen and not part:
            unlisted.append(file)
    folder.refuse_missing(len(files))
    if not from_zero:
        images = [replace(image, boxes=tuple(map(_from_zero, image.boxes))) for image in images]
    notes = sizes.notes()
    if from_zero:
        notes.append('corners are 0 in some files: they are read as counted from 0, not from 1')
    unlabelled = set(folder.files) - {image.file for image in images}
    if unlabelled:
        notes.append(
            f'left out: {counted(len(unlabelled), "image")} without an xml file '
            f'({listed(sorted(unlabelled))})'
        )
    if unlisted:
        notes.append(
            f'in no list of {LISTS}: {counted(len(unlisted), "image")} ({listed(unlisted)})'
        )
    names = sorted({box.name for image in images for box in image.boxes})
    return LabelledSet(images, names, notes)


def _find(folder: ImageFolder, names: tuple[str, str, str], where: str, part: str) -> str | None:
    """The image: beside the xml file, by the name that it says, or by that of the xml file."""
    beside, name, stem = names
    if folder.has(beside):
        return beside
    found = folder.find(name, where, part=part)
    if found is None:  # xml files are often copied together with their old <filename>
        folder.missing.pop()
        found = folder.find(stem, where, stem=True, part=part)
        if found is None:
            folder.missing[-1] = f'{where}: {name}'
    return found


def _size(root: Element) -> tuple[float, float] | None:
    size = root.find('size')
    return None if size is None else (size.number('width'), size.number('height'))


def _box(one: Element) -> LabelledBox:
    """An object, with its corners as written."""
    name = one.words('name')
    frame = one.need('bndbox')
    x1, y1, x2, y2 = (frame.number(side) for side in SIDES)
    if x2 < x1 or y2 < y1:
        said = f'{x1:g}, {y1:g}, {x2:g}, {y2:g}'
        raise ValueError(
            f'{frame.where}: <bndbox> of {name!r} is {said}: xmax and ymax must not be below xmin '
            'and ymin. Correct or remove the object'
        )
    difficult = one.find('difficult')
    crowd = difficult is not None and difficult.text.strip() == '1'
    return LabelledBox(name, (x1, y1, x2, y2), crowd=crowd)


def _from_zero(box: LabelledBox) -> LabelledBox:
    x1, y1, x2, y2 = box.corners
    return replace(box, corners=(x1 - 1, y1 - 1, x2, y2))


def _image_sets(source: Path) -> dict[str, str]:
    """Line of a list -> part. Lines are paths below ``Annotations`` without their ending."""
    found: dict[str, str] = {}
    for part in ('train', 'val', 'test'):
        path = source / LISTS / f'{part}.txt'
        if path.is_file():
            for _, line in read_lines(str(path)):
                found.setdefault(line.strip(), part)
    for line, part in [*found.items()]:  # some lists have other folders, or more columns
        found.setdefault(Path(line).name, part)
        found.setdefault(Path(line.split()[0]).name, part)
    return found


def _listed_part(path: Path, source: Path, chosen: Mapping[str, str]) -> str:
    """The part of an xml file; '' if no list has it."""
    below = path.relative_to(source).with_suffix('')
    if below.parts[0] == 'Annotations':
        below = below.relative_to('Annotations')
    return chosen.get(below.as_posix()) or chosen.get(below.name, '')


# ---------------------------------------------------------------------------- writing
def write(labelled: LabelledSet, out: Path) -> list[str]:
    """Write ``Annotations`` and ``ImageSets``; the images are there.

    Args:
        labelled: the set, with images whose ``file`` is below ``JPEGImages``.
        out: the folder.

    Returns:
        What was lost, one sentence each: corners are rounded to whole pixels.
    """
    for image in labelled.images:
        write_text(out / 'Annotations' / Path(image.file).with_suffix('.xml'), _xml(image))
    for part in labelled.parts():
        stems = [Path(image.file).with_suffix('').as_posix() for image in labelled.of_part(part)]
        write_text(out / LISTS / f'{part}.txt', '\n'.join(stems) + '\n')
    uneven = sum(
        any(side != int(side) for side in box.corners)
        for image in labelled.images
        for box in image.boxes
    )
    return [f'rounded to whole pixels: {counted(uneven, "box", "boxes")}'] if uneven else []


def _xml(image: LabelledImage) -> str:
    return '\n'.join(
        [
            '<annotation>',
            '  <folder>JPEGImages</folder>',
            f'  <filename>{escape(image.file)}</filename>',
            '  <size>',
            f'    <width>{image.width}</width>',
            f'    <height>{image.height}</height>',
            '    <depth>3</depth>',
            '  </size>',
            *(line for box in image.boxes for line in _object(box)),
            '</annotation>\n',
        ]
    )


def _object(box: LabelledBox) -> Iterator[str]:
    yield '  <object>'
    yield f'    <name>{escape(box.name)}</name>'
    yield f'    <difficult>{int(box.crowd)}</difficult>'
    yield '    <bndbox>'
    x1, y1, x2, y2 = map(round, box.corners)
    for side, value in zip(SIDES, (x1 + 1, y1 + 1, max(x2, x1 + 1), max(y2, y1 + 1))):
        yield f'      <{side}>{value}</{side}>'
    yield '    </bndbox>'
    yield '  </object>'
