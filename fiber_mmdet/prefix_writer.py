"""Writing the image prefixes of a dataset to a folder, shard by shard; see :mod:`.prefix_store`."""

import hashlib
import zlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

import numpy as np

from .outputs import write_json
from .prefix_store import (
    AGAIN,
    MANIFEST,
    CachedImage,
    Manifest,
    PrefixCacheError,
    read_index,
    read_manifest,
    refuse_changed_file,
    refuse_other_model,
    refuse_other_transforms,
    shard,
)
from .whole_files import remove_leftovers, replacing

Parts = Mapping[str, np.ndarray]


@dataclass
class ImageEntry:
    """The prefixes of an image, before they are written.

    Attributes:
        path: as the dataset names it.
        facts: what :func:`look_at_file` said before it was read.
        height, width: of the image as it was read, in pixels.
        copies: the parts of its prefix and, if there is one, of the mirrored one.
    """

    path: str
    facts: tuple[int, int, str]
    height: int
    width: int
    copies: list[Parts] = field(default_factory=list)


def fingerprint_of_names(paths: Iterable[str]) -> str:
    """A fingerprint of a list of images."""
    lines = '\n'.join(paths).encode('utf-8', 'surrogateescape')
    return hashlib.blake2b(lines, digest_size=16).hexdigest()


class PrefixWriter:
    """Writes a cache, or goes on with one that was interrupted.

    Args:
        folder: empty, not there, or with a cache of the same manifest.
        manifest: what the cache is made of.
        paths: the images, in order, as :func:`key_of` has them.

    Attributes:
        pending: numbers of the shards that are to be written.

    Raises:
        PrefixCacheError: the folder has other files, or a cache made of something else.
    """

    def __init__(self, folder: str | Path, manifest: Manifest, paths: Sequence[str]) -> None:
        self.folder, self.manifest, self.paths = Path(folder), manifest, list(paths)
        if (self.folder / MANIFEST).is_file():
            self.manifest = self._same_cache(read_manifest(folder), manifest)
        else:
            if self.folder.is_dir() and any(
                not file.name.startswith('.') for file in self.folder.iterdir()
            ):
                raise PrefixCacheError(
                    f'{folder} has files that are no cache of prefixes: name an empty folder'
                )
            self.folder.mkdir(parents=True, exist_ok=True)
            write_json(self.folder / MANIFEST, asdict(manifest), indent=1)
        remove_leftovers(self.folder)
        self.pending = [n for n in range(self.manifest.shards) if not self._is_done(n)]

    def _same_cache(self, there: Manifest, wanted: Manifest) -> Manifest:
        """The manifest of a cache that is gone on with."""
        folder = str(self.folder)
        refuse_other_transforms(folder, there.transforms, wanted.transforms)
        refuse_other_model(folder, dict(there.made_with, source=there.source), wanted.made_with)
        for key, what in (
            ('names', f'other images ({there.images}, of {", ".join(there.datasets)})'),
            ('dtype', f'{there.dtype} numbers'),
            ('mirrored', f'{"" if there.mirrored else "no "}mirrored copies'),
        ):
            if getattr(there, key) != getattr(wanted, key):
                raise PrefixCacheError(f'{folder} has a cache of {what}: {AGAIN}')
        return there

    def _is_done(self, number: int) -> bool:
        """Whether a shard is there, whole, and of the images as they are."""
        if not shard(self.folder, number, 'json').is_file():
            return False
        try:
            numbers = np.load(shard(self.folder, number, 'npy'), mmap_mode='r', allow_pickle=False)
            layouts, images = read_index(self.folder, number)
            for image in images:
                refuse_changed_file(str(self.folder), image)
        except (OSError, ValueError, EOFError):
            return False
        counts = [sum(int(np.prod(shape)) for shape in layout.values()) for layout in layouts]
        total = sum(counts[image.layout] for image in images) * (1 + self.manifest.mirrored)
        return [image.path for image in images] == self.images_of(number) and total == len(numbers)

    def images_of(self, number: int) -> list[str]:
        """The images of a shard."""
        per_shard = self.manifest.per_shard
        return self.paths[number * per_shard : (number + 1) * per_shard]

    def write(self, number: int, images: Sequence[ImageEntry]) -> None:
        """Write a shard, whole or not at all.

        Args:
            number: of the shard.
            images: those of :meth:`images_of`, encoded.

        Raises:
            OSError: it cannot be written.
            PrefixCacheError: a prefix has numbers that the dtype cannot hold.
        """
        layouts: list[dict[str, tuple[int, ...]]] = []
        entries, pieces, start = [], [], 0
        for image in images:
            layout = {name: part.shape for name, part in image.copies[0].items()}
            if layout not in layouts:
                layouts.append(layout)
            checksums = []
            first = start
            for copy in image.copies:
                numbers = np.concatenate([part.ravel() for part in copy.values()])
                with np.errstate(over='ignore'):
                    numbers = numbers.astype(self.manifest.dtype)
                if not np.isfinite(numbers).all():
                    raise PrefixCacheError(
                        f'the prefix of {image.path} has numbers that are not finite in '
                        f'{self.manifest.dtype}: write it without --half, or look at the weights'
                    )
                checksums.append(zlib.crc32(numbers.data))
                pieces.append(numbers)
                start += len(numbers)
            entries.append(
                CachedImage(
                    image.path,
                    *image.facts,
                    image.height,
                    image.width,
                    layouts.index(layout),
                    first,
                    checksums,
                )
            )
        index = shard(self.folder, number, 'json')
        index.unlink(missing_ok=True)  # a renewed shard is not there until it is whole
        with replacing(shard(self.folder, number, 'npy')) as part, open(part, 'wb') as file:
            np.save(file, np.concatenate(pieces), allow_pickle=False)
        rows = [list(asdict(entry).values()) for entry in entries]
        write_json(index, dict(layouts=layouts, images=rows))
