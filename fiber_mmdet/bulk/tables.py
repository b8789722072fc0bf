"""Parquet files as sources of images."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from fiber_mmdet.host import need_extra
from fiber_mmdet.images import ImageError, image_ending

from .places import SourceError, last_name, open_file

ROWS = 64  # of images that are read at a time


@contextmanager
def open_table(place: str) -> Iterator[Any]:
    """A ``pyarrow.parquet.ParquetFile``.

    Raises:
        SourceError: it is none.
        OSError: it cannot be read.
    """
    parquet = need_extra('pyarrow.parquet', 'tables', 'a parquet file')
    arrow = need_extra('pyarrow', 'tables', 'a parquet file')
    with open_file(place) as file:
        try:
            table = parquet.ParquetFile(file)
        except arrow.ArrowInvalid as error:
            raise SourceError(
                f'{place} is not a parquet file, or a damaged one: {error}'
            ) from error
        yield table


def text_values(column: Any, file: str, name: str) -> list[str | None]:
    """The values of a column of texts.

    Raises:
        SourceError: they are none.
    """
    arrow = need_extra('pyarrow', 'tables', 'a parquet file')
    if not (arrow.types.is_string(column.type) or arrow.types.is_large_string(column.type)):
        raise SourceError(f'{file}: column {name!r} holds {column.type}, not text')
    return column.to_pylist()


def table_rows(block: dict[str, Any]) -> Iterator[tuple[str, bytes | None, str | None]]:
    """The images of a row group.

    Args:
        block: of the kind 'table'.

    Yields:
        The name of each image, its file (None for an empty cell), and its text.

    Raises:
        SourceError, OSError: it cannot be read.
    """
    column, text = block['column'], block['text_from']
    number = block['first']
    with open_table(block['file']) as table:
        batches = table.iter_batches(
            ROWS, row_groups=[block['group']], columns=[column, *([text] if text else [])]
        )
        for batch in batches:
            images = batch.column(column).to_pylist()
            texts: list[str | None] = [None] * len(images)
            if text:
                texts = text_values(batch.column(text), block['file'], text)
            for image, said in zip(images, texts):
                name, content = None, image
                if isinstance(image, dict):
                    name, content = image.get('path'), image.get('bytes')
                # names within a set of images need not differ, numbers of rows do
                name = f'-{last_name(name)}' if name else _ending(content or b'')
                yield f'{block["name"]}/{number:08d}{name}', content, said
                number += 1


def _ending(content: bytes) -> str:
    """The ending that an image without a name gets."""
    try:
        return f'.{image_ending(content, "")}'
    except ImageError:
        return ''
