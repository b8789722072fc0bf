"""What a bulk job is given: a folder, a list, tables or shards, on this machine or in a store."""

import logging
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from fiber_mmdet.apis.run_journal import digest
from fiber_mmdet.host import need_extra
from fiber_mmdet.images import image_endings

from .places import (
    FoundFile,
    SourceError,
    absolute,
    file_at,
    files_below,
    is_address,
    is_folder,
    joined,
    last_name,
    read_bytes,
)
from .tables import open_table, text_values

logger = logging.getLogger(__name__)

LISTS = ('.txt', '.lst', '.list')
TABLES = ('.parquet', '.pq')
SHARDS = ('.tar', '.tar.gz', '.tgz')
IMAGE_COLUMNS = ('image', 'path', 'image_path', 'file_name', 'filename', 'url', 'jpg', 'img')


@dataclass(frozen=True)
class Source:
    """Images to look at.

    Attributes:
        place: a folder, an image, a list (``.txt``, a path per line), a table (``.parquet``), a
            shard (``.tar``), a folder of tables or shards, or names in braces,
            ``shards/{000..012}.tar``; a path, or an address such as ``s3://bucket/folder``.
        root: folder that names in a list or table are below; None for that of the list or table.
        image_column: of tables; None takes the first of ``IMAGE_COLUMNS`` that there is.
        text_from: where the text that belongs to an image is: a column of the table, or the ending
            of a shard's member (``txt``; ``json:caption`` for a key in it); None for no texts.
        block_size: images in a block of a folder or list. Row groups of tables and shards are
            blocks by themselves.
    """

    place: str
    root: str | None = None
    image_column: str | None = None
    text_from: str | None = None
    block_size: int = 128

    def blocks(self) -> Iterator[dict[str, Any]]:
        """The blocks, in an order that depends on names alone.

        Raises:
            SourceError: nothing that is known.
            FileNotFoundError, OSError: it is not there, or cannot be listed.
            MissingExtra: a table or an object store without pyarrow, shards without webdataset.
        """
        if self.block_size < 1:
            raise SourceError(f'a block has one image or more, not {self.block_size}')
        place = self.place if is_address(self.place) else str(Path(self.place).expanduser())
        if not self.place.strip():
            raise SourceError('the place of the images is empty')
        if '{' in place and '}' in place:
            yield from self._of_files(self._in_braces(place))
        elif is_folder(place):
            yield from self._of_folder(place)
        elif _ends(place, LISTS):
            yield from self._of_list(place)
        else:
            yield from self._of_files([file_at(place)])

    def _in_braces(self, place: str) -> list[FoundFile]:
        expand = need_extra('braceexpand', 'shards', 'names in braces').braceexpand
        return [file_at(one) for one in expand(place)]

    def _of_folder(self, folder: str) -> Iterator[dict[str, Any]]:
        found, endings = files_below(folder), tuple(image_endings())
        images = [one for one in found if _ends(one.name, endings)]
        if images:
            left = len(found) - len(images)
            if left:
                logger.warning('%s: left out %d files, not images by their ending', folder, left)
            yield from self._of_names(folder, images)
            return
        others = [one for one in found if _ends(one.name, (*TABLES, *SHARDS))]
        if not others:
            raise SourceError(
                f'{folder}: no images (endings {", ".join(sorted(endings))}), tables '
                f'({", ".join(TABLES)}) or shards ({", ".join(SHARDS)})'
            )
        yield from self._of_files(
            [FoundFile(joined(folder, one.name), *one[1:]) for one in others], folder
        )

    def _of_files(self, files: Sequence[FoundFile], folder: str = '') -> Iterator[dict[str, Any]]:
        """Blocks of tables, shards, or a single image."""
        names = [one.name for one in files]
        if all(_ends(name, TABLES) for name in names):
            for one in files:
                yield from self._of_table(one)
        elif all(_ends(name, SHARDS) for name in names):
            need_extra('webdataset', 'shards', 'a shard')
            for one in files:
                yield dict(
                    kind='shard',
                    file=absolute(one.name),
                    name=_stem(one.name, folder),
                    text_from=self.text_from,
                    stamp=_stamp([one]),
                )
        elif len(files) == 1 and _ends(names[0], tuple(image_endings())):
            place = files[0].name
            where = place[: len(place) - len(last_name(place))]
            yield from self._of_names(where, [files[0]._replace(name=last_name(place))])
        else:
            raise SourceError(
                f'{self.place}: must be images, lists ({", ".join(LISTS)}), tables '
                f'({", ".join(TABLES)}) or shards ({", ".join(SHARDS)}), all of one kind'
            )

    def _of_list(self, place: str) -> Iterator[dict[str, Any]]:
        try:
            text = read_bytes(place).decode('utf-8-sig', errors='surrogateescape')
        except UnicodeDecodeError as error:
            raise SourceError(f'{place} is not a list: a text file, a path per line') from error
        lines = (line.strip() for line in text.split('\n'))
        names = _once((line for line in lines if line), place)
        if not names:
            raise SourceError(f'{place} is empty: write a path of an image per line')
        yield from self._of_names(self._root(place), [FoundFile(name, 0, 0) for name in names])

    def _root(self, place: str) -> str:
        if self.root is not None:
            return self.root
        return place[: len(place) - len(last_name(place))]

    def _of_names(
        self, root: str, files: Sequence[FoundFile], texts: Sequence[str | None] | None = None
    ) -> Iterator[dict[str, Any]]:
        if texts is None and self.text_from is not None:
            raise SourceError(
                f'{self.place}: texts ({self.text_from!r}) come from tables and shards; files of '
                'images have none'
            )
        root = absolute(root)
        for begin in range(0, len(files), self.block_size):
            some = files[begin : begin + self.block_size]
            block = dict(
                kind='files',
                root=root,
                names=[_below(root, one.name) for one in some],
                stamp=_stamp(some),
            )
            own = {} if texts is None else dict(texts=texts[begin : begin + self.block_size])
            yield dict(block, **own)

    def _of_table(self, file: FoundFile) -> Iterator[dict[str, Any]]:
        """Blocks of a parquet file: its paths as of a list, or its row groups of images."""
        types = need_extra('pyarrow', 'tables', 'a parquet file').types
        with open_table(file.name) as table:
            column = self._column(table.schema_arrow.names, file.name)
            kind = table.schema_arrow.field(column).type
            if types.is_string(kind) or types.is_large_string(kind):
                wanted = [column, *([self.text_from] if self.text_from else [])]
                rows = table.read(columns=wanted)
                names = text_values(rows.column(column), file.name, column)
                texts = None
                if self.text_from:
                    texts = text_values(rows.column(self.text_from), file.name, self.text_from)
                files = [
                    FoundFile(name or f'row {row} (empty)', 0, 0) for row, name in enumerate(names)
                ]
                yield from self._of_names(self._root(file.name), files, texts)
                return
            struct = types.is_struct(kind) and kind.get_field_index('bytes') >= 0
            if not (struct or types.is_binary(kind) or types.is_large_binary(kind)):
                raise SourceError(
                    f'{file.name}: column {column!r} holds {kind}: it must hold paths (text), '
                    'image files (binary), or structs of `bytes` and `path`'
                )
            first = 0
            for group in range(table.metadata.num_row_groups):
                yield dict(
                    kind='table',
                    file=absolute(file.name),
                    name=_stem(file.name),
                    column=column,
                    text_from=self.text_from,
                    group=group,
                    first=first,
                    stamp=_stamp([file]),
                )
                first += table.metadata.row_group(group).num_rows

    def _column(self, names: Sequence[str], file: str) -> str:
        wanted = IMAGE_COLUMNS if self.image_column is None else (self.image_column,)
        lacking = [one for one in (self.image_column, self.text_from) if one and one not in names]
        found = next((name for name in wanted if name in names), None)
        if lacking or found is None:
            raise SourceError(
                f'{file} has no column {lacking[0] if lacking else "for images"!r} (it has '
                f'{", ".join(map(repr, names))}): name the columns (--image-column, --text-from)'
            )
        return found


def _ends(name: str, endings: tuple[str, ...]) -> bool:
    name = (name.partition('?')[0] if is_address(name) else name).lower()
    return name.endswith(endings)


def _stem(file: str, folder: str = '') -> str:
    """What the images of a table or shard are named by: its path below a folder, no endings."""
    name = file.partition('?')[0] if is_address(file) else file
    folder = folder.partition('?')[0].rstrip('/')
    name = name[len(folder) + 1 :] if folder and name.startswith(folder + '/') else last_name(name)
    ending = next(one for one in sorted((*TABLES, *SHARDS), key=len)[::-1] if _ends(name, (one,)))
    return name[: -len(ending)]


def _below(root: str, name: str) -> str:
    """A path as it is below a folder, if it is; otherwise as it was given. With "/"."""
    if not is_address(name) and not is_address(root):
        path = Path(name)
        if path.is_absolute() and root and path.is_relative_to(root):
            return path.relative_to(root).as_posix()
        return path.as_posix()
    begin = root.partition('?')[0].rstrip('/') + '/'
    if name.startswith(begin):
        return name[len(begin) :]
    return name if is_address(name) else PurePosixPath(name).as_posix()


def _once(names: Iterable[str], place: str) -> list[str]:
    """Names in their order, each once."""
    count, found = 0, dict[str, None]()
    for name in names:
        count += 1
        found[name] = None
    if count > len(found):
        logger.warning('%s: %d paths are listed again, and used once', place, count - len(found))
    return list(found)


def _stamp(files: Sequence[FoundFile]) -> str:
    """A digest of sizes and times."""
    return digest(f'{one.size} {one.modified};'.encode() for one in files)
