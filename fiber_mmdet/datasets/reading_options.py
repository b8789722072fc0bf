"""What a cache belongs to: options of a dataset and sources of its class, as text to compare."""

import hashlib
import os.path as osp
import sys
from collections.abc import Mapping
from pathlib import Path, PurePath
from typing import Any

from .stored_records import CannotStore, NotPlain

# Attributes of a dataset that do not change what it reads, or how much of it is used afterwards.
ASIDE = frozenset(
    (
        'annotation_cache',
        'annotation_cache_from',
        'backend_args',
        'data_list',
        'false_image',
        'max_refetch',
        'pipeline',
        'serialize_data',
        '_fully_initialized',
        '_indices',
        '_spill',
    )
)


def options_of(dataset: Any) -> dict[str, str]:
    """What a dataset is told, by the names of its attributes, as text that can be compared.

    Raises:
        NotPlain: a value is more than plain data.
    """
    return {
        name: said_plainly(name, value)
        for name, value in sorted(vars(dataset).items())
        if name not in ASIDE
    }


def said_plainly(name: str, value: Any) -> str:
    """The value of an attribute as text, the same for equal values only.

    Raises:
        NotPlain: it is more than plain data.
    """
    if value is None or isinstance(value, (bool, int, float, str, bytes)):
        return repr(value)
    if isinstance(value, PurePath):
        return repr(str(value))
    if isinstance(value, Mapping):  # in its order, which may be that of the samples
        parts = (f'{key!r}: {said_plainly(name, part)}' for key, part in value.items())
        return f'{{{", ".join(parts)}}}'
    if isinstance(value, (list, tuple)):
        return f'[{", ".join(said_plainly(name, part) for part in value)}]'
    if isinstance(value, (set, frozenset)):
        return f'{{{", ".join(sorted(said_plainly(name, part) for part in value))}}}'
    raise NotPlain(f'its attribute {name} holds a {type(value).__name__}, which is no plain data')


def sources_of(kind: type) -> list[str]:
    """Checksums of the files that define a class and its base classes.

    Raises:
        CannotStore: there is no such file.
    """
    found: dict[str, str] = {}
    for cls in kind.__mro__[:-1]:
        if cls.__module__ in found:
            continue
        source = vars(cls).get('_source') or source_of(cls)
        if source is None:
            raise CannotStore(
                f'{cls.__name__} is defined in no file, which would say whether it has changed: '
                'write it into a module, and import that'
            )
        found[cls.__module__] = source
    return list(found.values())


def source_of(cls: type) -> str | None:
    """Checksum of the file that defines a class; None if there is none, as in a notebook."""
    file = getattr(sys.modules.get(cls.__module__), '__file__', None)
    if file is None or not osp.isfile(file):
        return None
    return hashlib.sha256(Path(file).read_bytes()).hexdigest()


def digest(value: Any) -> str:
    """A short checksum of plain data."""
    return hashlib.sha256(said_plainly('', value).encode('utf-8', 'backslashreplace')).hexdigest()[
        :16
    ]
