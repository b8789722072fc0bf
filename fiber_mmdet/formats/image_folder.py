"""The images that annotations name, found in a folder and nowhere else."""

from pathlib import Path, PurePosixPath

from PIL import Image

from fiber_mmdet.images import folders_below, image_endings, open_image

from .labelled import counted, listed, part_of_path

SHOWN = 3
SIDEWAYS = (5, 6, 7, 8)  # EXIF orientations that exchange width and height
ORIENTATION = 0x0112


class ImageFolder:
    """The image files of a folder and its subfolders.

    Annotations name images in many ways: below the folder, below another one, by absolute paths of
    the computer on which they were made. An image is looked for by its path below the folder, then
    by the longest end of the path that is unique in it. So nothing outside the folder is ever read.

    Args:
        root: the folder.

    Raises:
        FileNotFoundError: there is no such folder, or no image in it.
    """

    def __init__(self, root: str | Path) -> None:
        self.root = Path(root)
        if not self.root.is_dir():
            raise FileNotFoundError(f'no folder {self.root}: give the folder of the images')
        endings = image_endings()
        self.files: list[str] = []
        for folder, names in folders_below(self.root):
            below = Path(folder).relative_to(self.root).as_posix()
            for name in names:
                if Path(name).suffix.lower() in endings:
                    self.files.append(name if below == '.' else f'{below}/{name}')
        if not self.files:
            raise FileNotFoundError(f'no image in {self.root}: give the folder of the images')
        self._known = set(self.files)
        self._by_name: dict[str, list[str]] = {}
        self._by_stem: dict[str, list[str]] = {}
        for file in self.files:
            path = PurePosixPath(file)
            self._by_name.setdefault(path.name, []).append(file)
            self._by_stem.setdefault(path.stem, []).append(file)
        self.missing: list[str] = []

    def below(self, path: Path) -> str:
        """A path as this class names files, if it is in the folder; otherwise as it is."""
        try:
            return path.relative_to(self.root).as_posix()
        except ValueError:
            return path.as_posix()

    def has(self, file: str) -> bool:
        """Whether a path below the folder is an image."""
        return file in self._known

    def path(self, file: str) -> Path:
        """Where a file of the folder is."""
        return self.root / file

    def find(self, name: str, where: str, stem: bool = False, part: str = '') -> str | None:
        """The image that an annotation names, as a path below the folder.

        Args:
            name: as the annotation has it.
            where: the annotation's place, for the error.
            stem: whether an image of another ending will do.
            part: of the set; of several images, that in a folder of this part is meant.

        Returns:
            The path; None if there is no such image, which :meth:`refuse_missing` reports.

        Raises:
            ValueError: several images have that name.
        """
        name = name.replace('\\', '/')
        if name in self._known:
            return name
        wanted = PurePosixPath(name)
        found = self._by_name.get(wanted.name, [])
        if not found and stem:
            found = self._by_stem.get(wanted.stem, []) or self._by_stem.get(wanted.name, [])
        for length in range(2, len(wanted.parts) + 1):
            end = wanted.parts[-length:-1]
            close = [one for one in found if PurePosixPath(one).parts[-length:-1] == end]
            found = close or found
        if len(found) > 1 and part:
            found = [one for one in found if part_of_path(one) == part] or found
        if len(found) > 1:
            raise ValueError(
                f'{where} names the image {name!r}, which could be {found[0]} or {found[1]} in '
                f'{self.root}: give files different names, or write the path below that folder'
            )
        if not found:
            self.missing.append(f'{where}: {name}')
            return None
        return found[0]

    def refuse_missing(self, of: int) -> None:
        """Raise an error if images were not found.

        Args:
            of: number of images that were looked for.

        Raises:
            FileNotFoundError: naming the first ones.
        """
        if self.missing:
            shown = '; '.join(self.missing[:SHOWN]) + '; …' * (len(self.missing) > SHOWN)
            raise FileNotFoundError(
                f'{len(self.missing)} of {of} images are not in {self.root} ({shown}): give '
                'their folder with --images, or remove their annotations'
            )

    def size(self, file: str) -> tuple[int, int]:
        """Width and height of an image as it is stored, in pixels.

        Raises:
            ImageError: it cannot be read.
        """
        return self.stored(file)[0]

    def stored(self, file: str) -> tuple[tuple[int, int], bool]:
        """Width and height as stored, and whether viewers show the image on its side (EXIF).

        Raises:
            ImageError: it cannot be read.
        """
        path = self.path(file)
        with open_image(path.read_bytes(), str(path)) as image:
            return image.size, _sideways(image)


def _sideways(image: Image.Image) -> bool:
    try:
        return image.getexif().get(ORIENTATION) in SIDEWAYS
    except Exception:  # damaged EXIF says nothing
        return False


class Sizes:
    """Sizes of images, compared with those that their annotations say.

    Args:
        folder: of the images.
    """

    def __init__(self, folder: ImageFolder) -> None:
        self.folder = folder
        self.turned: list[str] = []
        self.other: list[str] = []

    def of(self, file: str, said: tuple[float, float] | None) -> tuple[int, int]:
        """Width and height of an image.

        Args:
            file: below the folder.
            said: as annotated; None, or a size of 0, if it is not.

        Returns:
            What is annotated, or else that of the file.
        """
        size, sideways = self.folder.stored(file)
        if said is None or min(said) < 1:
            return size
        annotated = (int(said[0]), int(said[1]))
        if annotated != size:
            if sideways and annotated == size[::-1]:
                self.turned.append(file)
            else:
                wide = f'{size[0]}x{size[1]}, annotated {annotated[0]}x{annotated[1]}'
                self.other.append(f'{file} ({wide})')
        return annotated

    def notes(self) -> list[str]:
        """What is to be said about the sizes."""
        said = []
        if self.turned:
            said.append(
                f'annotated upright but stored on their side: {counted(len(self.turned), "image")} '
                f'({listed(self.turned)}). Set color_type="color" in load_photo of the config, so '
                'that they are turned when they are read'
            )
        if self.other:
            said.append(
                f'of another size than annotated: {counted(len(self.other), "image")} '
                f'({listed(self.other)}). The boxes may belong to other images'
            )
        return said
