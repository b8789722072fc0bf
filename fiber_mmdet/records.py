"""Annotation files and their records: errors name the place and the remedy."""

import json
import os.path as osp
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, TextIO

from mmengine.fileio import get_local_path

if TYPE_CHECKING:
    from mmengine.structures import BaseDataElement


def read_json(
    path: str, kind: type, shape: str, backend_args: dict | None = None, name: str | None = None
) -> Any:
    """The content of a json file.

    Args:
        path: local path or any address that mmengine can read.
        kind: required type of the content, ``dict`` or ``list``.
        shape: description of that type for errors, such as "an object with 'images'".
        backend_args: of mmengine's file reading.
        name: what errors call the file, if not ``path`` (a local copy).

    Raises:
        FileNotFoundError: the file does not exist.
        ValueError: it is not json, or its content has another type.
    """
    name = name or path
    with opened(path, backend_args, name) as file:
        try:
            content = json.load(file)
        except ValueError as error:
            raise ValueError(
                f'{name} is not a json file ({error}): fetch or write it again'
            ) from error
    if not isinstance(content, kind):
        raise ValueError(
            f'{name} holds a {type(content).__name__}, not {shape}: is it the right file?'
        )
    return content


def read_table(path: str, key: str, backend_args: dict | None = None) -> list[dict]:
    """The list of objects under ``key`` of a json file.

    Raises:
        FileNotFoundError: the file does not exist.
        ValueError: it is not json, or has no such list.
    """
    content = read_json(path, dict, f'an object with {key!r}', backend_args)
    table = content.get(key)
    if not isinstance(table, list) or not all(isinstance(row, dict) for row in table):
        raise ValueError(
            f'{path} has no list of objects {key!r} (it has '
            f'{", ".join(map(repr, content)) or "nothing"}): is it the right file?'
        )
    return table


def read_lines(path: str, backend_args: dict | None = None) -> Iterator[tuple[str, str]]:
    """The non-blank lines of a text file.

    Yields:
        The place, for errors ("FILE, line N"), and the line without its line break.

    Raises:
        FileNotFoundError: the file does not exist.
    """
    with opened(path, backend_args) as file:
        for number, line in enumerate(file, 1):
            if line.strip():
                yield f'{path}, line {number}', line.rstrip('\r\n')


def read_json_lines(path: str, backend_args: dict | None = None) -> Iterator[tuple[str, dict]]:
    """The json objects of a file that has one per line; blank lines are skipped.

    Yields:
        The place, for errors ("FILE, line N"), and the object.

    Raises:
        FileNotFoundError: the file does not exist.
        ValueError: a line is not a json object; the message names it.
    """
    for where, line in read_lines(path, backend_args):
        try:
            record = json.loads(line)
        except ValueError as error:
            raise ValueError(
                f'{where} is not json ({error}): the file must have one object per line'
            ) from error
        if not isinstance(record, dict):
            raise ValueError(
                f'{where} is not a json object: the file must have one object per line'
            )
        yield where, record


@contextmanager
def opened(
    path: str, backend_args: dict | None = None, name: str | None = None
) -> Iterator[TextIO]:
    """Open a text file at any address that mmengine can read; errors call it ``name``.

    Raises:
        FileNotFoundError: the file does not exist.
    """
    with get_local_path(path, backend_args=backend_args) as local:
        if not osp.isfile(local):
            raise FileNotFoundError(
                f'no file {name or path}: check data_root and the file names of the dataset; '
                'docs/data_preparation.md says where files belong'
            )
        with open(local, encoding='utf-8') as file:
            yield file


def read_ids(path: str, backend_args: dict | None = None) -> frozenset[str]:
    """Image ids, as strings, from a json list or from a text file with one per line.

    Raises:
        FileNotFoundError: the file does not exist.
        ValueError: it is neither.
    """
    with opened(path, backend_args) as file:
        content = file.read()
    if not content.lstrip().startswith(('[', '{')):
        return frozenset(line.strip() for line in content.splitlines() if line.strip())
    try:
        ids = json.loads(content)
    except ValueError as error:
        raise ValueError(
            f'{path} is not a json file ({error}): write a list of image ids, or one a line'
        ) from error
    if not isinstance(ids, list) or not all(isinstance(i, (int, str)) for i in ids):
        raise ValueError(f'{path} must hold a list of image ids, numbers or names')
    return frozenset(map(str, ids))


def need(
    record: 'Mapping | BaseDataElement',
    keys: Iterable[str],
    where: str,
    remedy: str = 'add it, or check that this is the right file',
    error: type[Exception] = ValueError,
) -> None:
    """Check that a record, or a data sample, has some fields.

    Args:
        record: read from a file, or a sample.
        keys: the fields.
        where: the record's place in its file, or its kind ("a sample"), for the message.
        remedy: the end of the message.
        error: what is raised: by convention ``ValueError`` for files and ``KeyError`` for samples.

    Raises:
        error: naming the place, the missing fields and those that are there.
    """
    lacking = [key for key in keys if key not in record]
    if lacking:
        known = record.keys() if isinstance(record, Mapping) else record.all_keys()
        raise error(
            f'{where} has no {", ".join(map(repr, lacking))} (it has '
            f'{", ".join(map(repr, known)) or "nothing"}): {remedy}'
        )
