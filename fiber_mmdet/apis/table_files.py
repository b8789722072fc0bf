"""Tables as files, written row by row."""

import csv
import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any, TextIO, TypeAlias

from fiber_mmdet.host import need_extra
from fiber_mmdet.outputs import output_path, writing

ROWS = 50_000  # of a parquet file that are kept in memory

Columns: TypeAlias = Mapping[str, type]  # str, int or float
Row: TypeAlias = Mapping[str, Any]
AddRows: TypeAlias = Callable[[Iterable[Row]], None]


def unicode(text: str) -> str:
    """A text without half characters (lone surrogates), which files of tables cannot hold."""
    return text.encode('utf-8', errors='backslashreplace').decode('utf-8')


@contextmanager
def open_text(path: Path, newline: str | None = None) -> Iterator[TextIO]:
    """A UTF-8 file to write; half characters are escaped as in json."""
    with open(path, 'w', encoding='utf-8', errors='backslashreplace', newline=newline) as file:
        yield file


def json_line(content: Any) -> str:
    """A value as json in one line, without its end."""
    return json.dumps(content, ensure_ascii=False)


@contextmanager
def csv_rows(path: Path, columns: Columns) -> Iterator[AddRows]:
    """Write rows as csv, the titles first."""
    with open_text(path, newline='') as file:
        writer = csv.DictWriter(file, list(columns))
        writer.writeheader()
        yield writer.writerows


@contextmanager
def parquet_rows(path: Path, columns: Columns) -> Iterator[AddRows]:
    """Write rows as parquet, in groups.

    Raises:
        MissingExtra: pyarrow is not installed.
    """
    arrow = need_extra('pyarrow', 'tables', 'a parquet file')
    parquet = need_extra('pyarrow.parquet', 'tables', 'a parquet file')
    types = {str: arrow.string(), int: arrow.int64(), float: arrow.float64()}
    schema = arrow.schema([(name, types[kind]) for name, kind in columns.items()])
    waiting: list[Row] = []
    with parquet.ParquetWriter(path, schema) as writer:

        def add(rows: Iterable[Row]) -> None:
            waiting.extend(rows)
            if len(waiting) >= ROWS:
                flush()

        def flush() -> None:
            writer.write_table(arrow.Table.from_pylist(waiting, schema))
            waiting.clear()

        yield add
        flush()


@contextmanager
def jsonl_rows(path: Path, columns: Columns) -> Iterator[AddRows]:
    """Write rows as a json object per line."""
    with open_text(path) as file:
        yield lambda rows: file.writelines(json_line(row) + '\n' for row in rows)


# name of a format, which is the ending of its files, too -> what writes one
TABLES: dict[str, Callable[[Path, Columns], AbstractContextManager[AddRows]]] = dict(
    csv=csv_rows, jsonl=jsonl_rows, parquet=parquet_rows
)


def save_table(
    rows: Iterable[Row],
    path: str | Path,
    columns: Columns,
    format: str,
    inputs: Iterable[str | Path | None] = (),
) -> Path:
    """Write a table.

    Args:
        rows: values by the names of their columns.
        path: the file; folders are made.
        columns: names and types.
        format: a key of ``TABLES``.
        inputs: files that must not be overwritten.

    Returns:
        The path, with ``~`` expanded.

    Raises:
        OutputError: the path is a folder, or an input.
        MissingExtra: parquet without pyarrow.
        OSError: it cannot be written; what was there before is unchanged.
    """
    with writing(path, inputs) as part, TABLES[format](part, columns) as add:
        for row in rows:
            add([{k: unicode(v) if isinstance(v, str) else v for k, v in row.items()}])
    return output_path(path)
