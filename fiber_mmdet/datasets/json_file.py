"""Json files of image-text data, read with a check: what is wrong is said once, with its remedy."""

import json
import os.path as osp
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any, TextIO

from mmengine.fileio import get_local_path


def read_json(path: str, kind: type, shape: str, backend_args: dict | None = None) -> Any:
    """The content of a json file.

    Args:
        path: where it is, any address mmengine can read.
        kind: what its content has to be, ``dict`` or ``list``.
        shape: what errors say of that, such as "an object with 'images'".
        backend_args: of mmengine's file reading.

    Raises:
        FileNotFoundError: no such file.
        ValueError: it is no json file, or holds something else.
    """
    with opened(path, backend_args) as file:
        try:
            content = json.load(file)
        except ValueError as error:
            raise ValueError(
                f'{path} is not a json file ({error}): fetch or write it again'
            ) from error
    if not isinstance(content, kind):
        raise ValueError(
            f'{path} holds a {type(content).__name__}, not {shape}: is it the right file?'
        )
    return content


def read_table(path: str, key: str, backend_args: dict | None = None) -> list[dict]:
    """The list of objects under ``key`` of a json file.

    Raises:
        FileNotFoundError: no such file.
        ValueError: it is no json file, or has no such list.
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
    """The lines of a text file that are not blank.

    Yields:
        The place, for errors ("FILE, line N"), and the line without its end.

    Raises:
        FileNotFoundError: no such file.
    """
    with opened(path, backend_args) as file:
        for number, line in enumerate(file, 1):
            if line.strip():
                yield f'{path}, line {number}', line.rstrip('\r\n')


@contextmanager
def opened(path: str, backend_args: dict | None = None) -> Iterator[TextIO]:
    """A text file at any address mmengine can read.

    Raises:
        FileNotFoundError: no such file.
    """
    with get_local_path(path, backend_args=backend_args) as local:
        if not osp.isfile(local):
            raise FileNotFoundError(
                f'no file {path}: check data_root and the file names of the data set; '
                'docs/data_preparation.md says where files belong'
            )
        with open(local, encoding='utf-8') as file:
            yield file


def read_ids(path: str, backend_args: dict | None = None) -> frozenset[str]:
    """Image ids of a file, as strings: a json list, or one a line.

    Raises:
        FileNotFoundError: no such file.
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


def need(record: dict, keys: Iterable[str], where: str) -> None:
    """Check that a record has some keys.

    Raises:
        ValueError: naming the place and the keys that are missing.
    """
    lacking = [key for key in keys if key not in record]
    if lacking:
        raise ValueError(
            f'{where} has no {", ".join(map(repr, lacking))} (it has '
            f'{", ".join(map(repr, record)) or "nothing"}): add it, or check that '
            'this is the right file'
        )
