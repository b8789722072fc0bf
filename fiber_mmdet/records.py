"""Annotation files and their records: errors name the place and the remedy."""

import json
import os
import os.path as osp
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import TYPE_CHECKING, Any, TextIO

if TYPE_CHECKING:
    from mmengine.structures import BaseDataElement

SHOWN = 80  # characters of an object that messages show
WINDOWS_ROOT = re.compile(r'[A-Za-z]:[\\/]|\\\\')


def read_json(
    path: str,
    kind: type | tuple[type, ...],
    shape: str,
    backend_args: dict | None = None,
    name: str | None = None,
) -> Any:
    """The content of a json file.

    Args:
        path: local path or any address that mmengine can read.
        kind: required type of the content, ``dict`` or ``list``, or both.
        shape: description of that type for errors, such as "an object with 'images'".
        backend_args: of mmengine's file reading.
        name: what errors call the file, if not ``path`` (a local copy).

    Raises:
        FileNotFoundError: the file does not exist.
        ValueError: it is not json, has an object with a key twice, or is of another type.
    """
    name = name or path
    with opened(path, backend_args, name) as file:
        text = file.read()
    content = parse_json(text, name, shape)
    if not isinstance(content, kind):
        raise ValueError(
            f'{name} holds a {type(content).__name__}, not {shape}: is it the right file?'
        )
    return content


def parse_json(text: str, name: str, shape: str) -> Any:
    """The value that a text contains.

    Args:
        text: the content of a file.
        name: what errors call it.
        shape: what it should contain, for errors.

    Raises:
        ValueError: it is not json; the message says whether it is empty, cut off, or has one
            object per line. Or an object has a key twice, of which json readers keep the last.
    """
    try:
        return json.loads(text, object_pairs_hook=_distinct_keys)
    except RepeatedKeyError as error:
        raise ValueError(f'{name}: {error}') from None
    except RecursionError:
        raise ValueError(
            f'{name} is not a json file that can be read (it is nested too deeply): fetch or '
            'write it again'
        ) from None
    except ValueError as error:
        if not text.strip():
            raise ValueError(f'{name} is empty: fetch or write it again') from None
        lines = text.split('\n', 1)
        if len(lines) > 1 and _is_json(lines[0]):
            raise ValueError(
                f'{name} has one json value per line (jsonl), but must be {shape}: is it the '
                'right file?'
            ) from None
        raise ValueError(f'{name} is not a json file ({error}): fetch or write it again') from error


class RepeatedKeyError(ValueError):
    """An object in json whose key occurs repeatedly."""


def _distinct_keys(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """An object of a json file. As quick as without this check, on files of 100 MB and more."""
    found = dict(pairs)
    if len(found) < len(pairs):
        key, times = Counter(key for key, _ in pairs).most_common(1)[0]
        text = repr(found)
        raise RepeatedKeyError(
            f'the key {key!r} occurs {times} times in the object '
            f'{text if len(text) <= SHOWN else f"{text[:SHOWN]}…"}, and only the last would count: '
            'keep one'
        )
    return found


def _is_json(text: str) -> bool:
    try:
        json.loads(text)
    except (ValueError, RecursionError):
        return False
    return True


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
        ValueError: it is not text in UTF-8.
    """
    with opened(path, backend_args) as file:
        for number, line in enumerate(file, 1):
            if line.strip():
                yield f'{path}, line {number}', line.rstrip('\r\n')


def read_numbered_lines(path: str) -> list[str]:
    """The lines of a text file that are counted, such as the names of classes, without blanks.

    Raises:
        FileNotFoundError: the file does not exist.
        ValueError: it is not text in UTF-8, or a line before the last one is blank, so that it is
            not certain which number the following ones have.
    """
    with opened(path) as file:
        text = file.read().rstrip()
    lines = text.split('\n') if text else []
    for number, line in enumerate(lines, 1):
        if not line.strip():
            raise ValueError(
                f'{path}, line {number} is blank, and lines are counted: remove it, or write what '
                'belongs there'
            )
    return [line.strip() for line in lines]


def read_json_lines(
    path: str, backend_args: dict | None = None, name: str | None = None
) -> Iterator[tuple[str, dict]]:
    """The json objects of a file that has one per line; blank lines are skipped.

    Args:
        path: local path or any address that mmengine can read.
        backend_args: of mmengine's file reading.
        name: what errors call the file, if not ``path`` (a local copy).

    Yields:
        The place, for errors ("FILE, line N"), and the object.

    Raises:
        FileNotFoundError: the file does not exist.
        ValueError: a line is not a json object, or has a key twice; the message names it.
    """
    with opened(path, backend_args, name) as file:
        for number, line in enumerate(file, 1):
            if line.strip():
                where = f'{name or path}, line {number}'
                yield where, _object(line, where, number == 1)


def _object(line: str, where: str, first: bool) -> dict:
    must = 'the file must have one object per line (jsonl)'
    if first and (line.lstrip()[:1] == '[' or line.strip() == '{'):
        raise ValueError(
            f'{where} is not a json object of its own, but the beginning of a json file: {must}'
        )
    try:
        record = json.loads(line, object_pairs_hook=_distinct_keys)
    except RepeatedKeyError as error:
        raise ValueError(f'{where}: {error}') from None
    except RecursionError:
        raise ValueError(f'{where} is nested too deeply: {must}') from None
    except ValueError as error:
        raise ValueError(f'{where} is not json ({error}): {must}') from error
    if not isinstance(record, dict):
        raise ValueError(f'{where} is not a json object: {must}')
    return record


def _local(path: str, backend_args: dict | None) -> AbstractContextManager[str]:
    """The path of a file on this machine, which is fetched from elsewhere if need be."""
    if backend_args is None and '://' not in path:
        return nullcontext(path)
    from mmengine.fileio import get_local_path  # exported models read local files without it

    return get_local_path(path, backend_args=backend_args)


@contextmanager
def opened(
    path: str, backend_args: dict | None = None, name: str | None = None
) -> Iterator[TextIO]:
    """Open a text file at any address that mmengine can read; errors call it ``name``.

    A byte order mark at its beginning is left out.

    Raises:
        FileNotFoundError: the file does not exist.
        ValueError: it is not text in UTF-8.
    """
    with _local(path, backend_args) as local:
        if not osp.isfile(local):
            raise FileNotFoundError(
                f'no file {name or path}: check the path; in a dataset, that is data_root and the '
                'names of its files (docs/data_preparation.md says where they belong)'
            )
        with open(local, encoding='utf-8-sig') as file:
            try:
                yield file
            except UnicodeDecodeError as error:
                raise ValueError(
                    f'{name or path} is not text in UTF-8 (byte {error.start} cannot be read): '
                    'save it as UTF-8, or fetch it again'
                ) from error


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
    ids = parse_json(content, path, 'a list of image ids, or have one per line')
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


def path_below(folder: str, name: str, where: str, outside: bool = False) -> str:
    """Path of a file that an annotation names.

    On systems whose folders are parted by "/", a "\\" in the name parts folders too, unless a file
    of exactly this name exists.

    Args:
        folder: that the name is relative to, and that the path must not leave.
        name: as in the annotation.
        where: the annotation's place, for errors, up to its value ("FILE: image 1 has file_name").
        outside: allow paths that leave it.

    Raises:
        ValueError: the path leaves the folder, by ``../`` or because it is absolute.
    """
    path = osp.join(folder, name)
    if '\\' in name and os.sep == '/' and not osp.exists(path):
        name = name.replace('\\', '/')
        path = osp.join(folder, name)
    if not outside and _suspicious(name) and _leaves(path, name, folder):
        raise ValueError(
            f'{where} {name!r}, which leaves the data folder {folder or "."}: correct it, '
            'or, if you trust this file, set outside_paths=True of the dataset'
        )
    return path


def _suspicious(name: str) -> bool:
    return '..' in name or name.startswith('/') or ':' in name or '\\' in name


def _leaves(path: str, name: str, folder: str) -> bool:
    if '://' in name or WINDOWS_ROOT.match(name):
        return True
    if '..' not in name.replace('\\', '/').split('/') and not name.startswith('/'):
        return False
    if '://' in folder:  # an address is not resolved
        return True
    folder = osp.abspath(folder)
    return osp.commonpath([folder, osp.abspath(path)]) != folder
