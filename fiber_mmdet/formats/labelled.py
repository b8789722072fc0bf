"""What all formats say about labelled images: names and boxes in pixels."""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePath, PurePosixPath

# what folders and files of the parts of a set are called
PARTS = dict(
    train='train',
    training='train',
    val='val',
    valid='val',
    validation='val',
    dev='val',
    test='test',
    testing='test',
)


@dataclass(frozen=True)
class LabelledBox:
    """A box with its name.

    Attributes:
        name: of what it frames.
        corners: x1, y1, x2, y2 in pixels from the image's upper left corner; x2 and y2 are the far
            edges, so that the width is x2 - x1.
        score: of a prediction, 0 to 1; None for the truth.
        crowd: whether it is neither to be found nor missed, as COCO's ``iscrowd`` and Pascal VOC's
            ``difficult``.
    """

    name: str
    corners: tuple[float, float, float, float]
    score: float | None = None
    crowd: bool = False


@dataclass(frozen=True)
class LabelledImage:
    """An image with its boxes.

    Attributes:
        path: of the image file.
        file: its path below the folder of images, with "/".
        width: in pixels.
        height: in pixels.
        boxes: in the order of the file that they were read from.
        part: 'train', 'val' or another part of the set; '' if the set is not divided.
    """

    path: Path
    file: str
    width: int
    height: int
    boxes: tuple[LabelledBox, ...] = ()
    part: str = ''


@dataclass
class LabelledSet:
    """A set of labelled images.

    Attributes:
        images: in the order of their files.
        names: all names, also those without a box, in the order of the file that lists them.
        notes: what the reader left out or had to assume, one sentence each.
    """

    images: Sequence[LabelledImage]
    names: Sequence[str]
    notes: list[str] = field(default_factory=list)

    def parts(self) -> list[str]:
        """The parts that the images are divided into, in the order of a training."""
        found = {image.part for image in self.images}
        usual = [part for part in ('train', 'val', 'test') if part in found]
        return usual + sorted(found.difference(usual))

    def of_part(self, part: str) -> list[LabelledImage]:
        """The images of a part."""
        return [image for image in self.images if image.part == part]


def part_of_path(path: str | PurePath) -> str:
    """The part of a set that the name of a file, or of a folder around it, says; '' for none.

    ``train/1.jpg``, ``valid/_annotations.json`` and ``instances_val2017.json`` say one.
    """
    path = PurePosixPath(path)
    for name in (path.stem, *reversed(path.parts[:-1])):
        words = re.findall('[a-z]+', name.lower())
        found = {PARTS[word] for word in words if word in PARTS}
        if len(found) == 1:
            return found.pop()
    return ''


def find_json_files(source: Path) -> list[Path]:
    """The json files of a set: in its folder, in ``annotations``, or one in each part's folder."""
    if source.is_file():
        return [source]
    for pattern in ('annotations/*.json', '*.json', '*/*.json'):
        found = sorted(source.glob(pattern))
        if found:
            return found
    return []


def json_files(source: Path) -> list[Path]:
    """:func:`find_json_files`, of which there has to be one.

    Raises:
        FileNotFoundError: there is none.
    """
    files = find_json_files(source)
    if not files:
        raise FileNotFoundError(f'no json file in {source}: give the annotation file')
    return files


def counted(number: int, one: str, many: str = '') -> str:
    """A number with its noun: "1 box", "2 boxes"."""
    return f'{number} {one if number == 1 else many or one + "s"}'


def listed(names: Iterable[str], most: int = 3) -> str:
    """The first few of some names."""
    names = list(names)
    return ', '.join(names[:most]) + ', …' * (len(names) > most)
