"""A set of labelled images read in one format, divided, and written in another with its images."""

import os
import shutil
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TypeVar

from fiber_mmdet.outputs import OutputError, distinct_name
from fiber_mmdet.whole_files import put_in_place, replacing

from .division import divide
from .equal_images import ImagePrint, groups_of_alike, groups_of_equal, image_print
from .image_folder import ImageFolder
from .kinds import FORMATS, Format, folder_of_images, recognise
from .labelled import LabelledImage, LabelledSet, counted, listed

PARTS = ('train', 'val', 'test')
Item = TypeVar('Item')
Progress = Callable[[Sequence[Item], str], Iterable[Item]]


def _quietly(items: Sequence[Item], what: str) -> Iterable[Item]:
    return items


@dataclass
class Conversion:
    """What became of a set.

    Attributes:
        labelled: the set as written.
        source: name of the format that was read.
        target: name of the format that was written.
        notes: what was left out, assumed or lost, one sentence each.
    """

    labelled: LabelledSet
    source: str
    target: str
    notes: list[str] = field(default_factory=list)

    def table(self) -> dict[str, dict[str, int]]:
        """Part -> images, images without a box, boxes, and boxes of each name."""
        found = {}
        for part in self.labelled.parts():
            images = self.labelled.of_part(part)
            boxes = Counter(box.name for image in images for box in image.boxes)
            found[part] = {
                'images': len(images),
                'without a box': sum(not image.boxes for image in images),
                'boxes': boxes.total(),
                **{name: boxes[name] for name in self.labelled.names},
            }
        return found


def convert_data(
    source: str | Path,
    out: str | Path,
    source_format: str | None = None,
    target_format: str = 'coco',
    images: str | Path | None = None,
    split: Sequence[float] | None = None,
    seed: int = 0,
    link: bool = False,
    progress: Progress = _quietly,
) -> Conversion:
    """Convert a set of labelled images.

    ``out`` appears when everything is in it. Until then, images are collected in a hidden folder
    beside it, where a run that was interrupted goes on.

    Args:
        source: annotation file, or folder of the set.
        out: folder to write, which must not exist or be empty.
        source_format: one of ``FORMATS``; None recognises it.
        target_format: one of ``FORMATS``.
        images: folder of the images; None looks where such sets have it.
        split: shares of train, val and test (or of the first two), which divide the whole set
            anew. Equal images go into one part. None keeps the parts of the source; one that is
            not divided becomes ``train``.
        seed: of the division.
        link: make symbolic links to the images instead of copies.
        progress: wraps long loops, called with a list and what is done with its items.

    Returns:
        What became of the set.

    Raises:
        OutputError: ``out`` is not empty, or lies inside the source.
        FileNotFoundError: files or images are missing.
        ValueError: a file is malformed; the message names its place.
    """
    source, out = Path(source).expanduser(), Path(out).expanduser()
    kind = source_format or recognise(source)
    if not source.exists():
        raise FileNotFoundError(f'no file or folder {source}: check the path')
    folder_path = Path(images).expanduser() if images else folder_of_images(source)
    _check_out(out, [source, folder_path])
    labelled = FORMATS[kind].read(source, ImageFolder(folder_path))
    if not labelled.images:
        raise ValueError(f'{source} has no labelled image: is it the right file?')
    notes = list(labelled.notes)
    if split is not None:
        labelled, more = _divided(labelled, split, seed, progress)
        notes += more
    else:
        named = [replace(image, part=image.part or 'train') for image in labelled.images]
        labelled = replace(labelled, images=named)
    target = FORMATS[target_format]
    labelled, more = _renamed(labelled, target)
    notes += more
    scores = sum(box.score is not None for image in labelled.images for box in image.boxes)
    if scores and not target.scores:
        notes.append(f'lost: {counted(scores, "score")}, which {target.title} cannot hold')
    sources = {target.folder(i.part) + '/' + i.file: i.path for i in labelled.images}
    part_folder = out.with_name(f'.{out.name}.part')
    _place(sources, part_folder, link, progress)
    notes += target.write(labelled, part_folder)
    if out.is_dir():
        out.rmdir()  # empty
    put_in_place(part_folder, out)
    return Conversion(labelled, kind, target_format, notes)


def _check_out(out: Path, inputs: Iterable[Path]) -> None:
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise OutputError(f'{out} is there already: choose another folder, or remove it')
    for folder in inputs:
        folder = folder.resolve()
        if folder.is_dir() and folder in [out.resolve(), *out.resolve().parents]:
            raise OutputError(
                f'{out} lies in {folder}, which is read: its files would be taken for the '
                "source's next time. Choose a folder outside"
            )


def _divided(
    labelled: LabelledSet, split: Sequence[float], seed: int, progress: Progress
) -> tuple[LabelledSet, list[str]]:
    """The set in new parts."""
    if not 2 <= len(split) <= len(PARTS) or min(split) < 0 or split[0] <= 0:
        raise ValueError(
            f'the split {" ".join(map(str, split))} must be two or three shares, of train, val '
            'and test, such as 0.8 0.1 0.1'
        )
    images = list(labelled.images)
    prints: list[tuple[int, ImagePrint]] = [
        (i, image_print(images[i].path)) for i in progress(range(len(images)), 'comparing images')
    ]
    groups = groups_of_equal(prints)
    parts = divide(
        [{box.name for i in group for box in images[i].boxes} for group in groups],
        [len(group) for group in groups],
        split,
        seed,
    )
    part_of = {i: PARTS[part] for group, part in zip(groups, parts) for i in group}
    notes = []
    equal = [group for group in groups if len(group) > 1]
    if equal:
        named = listed(' = '.join(images[i].file for i in group) for group in equal)
        notes.append(f'equal images, kept in one part: {counted(len(equal), "group")} ({named})')
    apart = [group for group in groups_of_alike(prints) if len({part_of[i] for i in group}) > 1]
    if apart:
        named = listed(
            ' ~ '.join(f'{images[i].file} ({part_of[i]})' for i in group) for group in apart
        )
        notes.append(
            f'images in different parts that look alike but are not equal: '
            f'{counted(len(apart), "group")} ({named}). If they are copies, remove all but one'
        )
    own = [replace(image, part=part_of[i]) for i, image in enumerate(images)]
    return replace(labelled, images=own), notes


def _renamed(labelled: LabelledSet, target: Format) -> tuple[LabelledSet, list[str]]:
    """The set with names of files that differ in the folders of the target."""
    taken: dict[tuple[str, Path], set[str]] = {}
    images: list[LabelledImage] = []
    changed = []
    for image in labelled.images:
        folder = target.folder(image.part)
        file = Path(image.file)
        steps = file.parts
        if len(steps) > 1 and steps[0] in (image.part, 'images', 'JPEGImages'):
            file = Path(*steps[1:])  # the folder of images has its name already
            if len(file.parts) > 1 and file.parts[0] == image.part:
                file = Path(*file.parts[1:])
        names = taken.setdefault((folder, file.parent), set())
        name = distinct_name(file.stem if target.stems else file.name, names)
        if target.stems:
            name += file.suffix
        found = file.with_name(name).as_posix()
        if found != file.as_posix():
            changed.append(f'{image.file} is {found}')
        images.append(replace(image, file=found))
    notes = []
    if changed:
        notes.append(
            f'renamed, since others have the name: {counted(len(changed), "image")} '
            f'({listed(changed)})'
        )
    return replace(labelled, images=images), notes


def _place(sources: dict[str, Path], folder: Path, link: bool, progress: Progress) -> None:
    """Put images into a folder; those that are there stay, what does not belong there goes."""
    folder.mkdir(parents=True, exist_ok=True)
    kept = {folder / name for name in sources}
    for path in folder.rglob('*'):
        if not path.is_dir() and path not in kept:
            path.unlink()
    for name in progress(list(sources), 'images'):
        place, origin = folder / name, sources[name]
        if link:
            if not place.is_symlink():
                place.unlink(missing_ok=True)
                place.parent.mkdir(parents=True, exist_ok=True)
                os.symlink(origin.resolve(), place)
        elif place.is_symlink() or not _same(place, origin):
            place.unlink(missing_ok=True)
            with replacing(place) as part:
                shutil.copy2(origin, part)


def _same(place: Path, origin: Path) -> bool:
    """Whether a copy of a file is there, by its size and time."""
    if not place.is_file():
        return False
    here, there = place.stat(), origin.stat()
    return (here.st_size, int(here.st_mtime)) == (there.st_size, int(there.st_mtime))
