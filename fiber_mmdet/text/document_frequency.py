"""Files of document frequencies, for CIDEr-D."""

import codecs
import io
import json
import math
import pickle
from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from fiber_mmdet.fields import shown
from fiber_mmdet.outputs import write_json

NGram = tuple[str, ...]

REMEDY = 'write one with `fiber build-cider-df`'
# The classes that a pickle may ask for. Python 2 and old protocols have another name for builtins.
SAFE = {
    ('builtins', 'float'): float,
    ('builtins', 'int'): int,
    ('__builtin__', 'float'): float,
    ('__builtin__', 'int'): int,
    ('collections', 'defaultdict'): defaultdict,
}


def write_document_frequency(
    path: str,
    document_frequency: Mapping[NGram, float],
    ref_len: float,
    inputs: Sequence[str | Path] = (),
) -> None:
    """Write document frequencies as json; n-grams become words separated by blanks.

    Args:
        path: the file.
        document_frequency: n-gram -> number of images.
        ref_len: number of images of the corpus.
        inputs: files that must not be overwritten.

    Raises:
        OutputError, OSError: the file cannot be written.
    """
    content = dict(
        ref_len=ref_len,
        document_frequency={' '.join(ngram): count for ngram, count in document_frequency.items()},
    )
    write_json(path, content, inputs)


def read_document_frequency(path: str) -> tuple[dict[NGram, float], float]:
    """Read document frequencies: our json, or a pickle such as ``coco-train-words.p``.

    A pickle may contain plain values only; no code in it is run. Both kinds
    hold ``ref_len``, the number of images, and ``document_frequency``.

    Args:
        path: the file.

    Returns:
        n-gram -> number of images, and the number of images.

    Raises:
        FileNotFoundError: the file does not exist.
        ValueError: it is of neither kind, or has other content.
    """
    if not Path(path).is_file():
        raise FileNotFoundError(f'no file of document frequencies {path}: {REMEDY}')
    content = Path(path).read_bytes()
    try:
        if content.removeprefix(codecs.BOM_UTF8).lstrip()[:1] == b'{':
            found = json.loads(content.decode('utf-8-sig'))
        else:
            found = _PlainUnpickler(io.BytesIO(content), encoding='latin1').load()
    except (
        ValueError,
        pickle.UnpicklingError,
        EOFError,
        LookupError,
        TypeError,
        AttributeError,
        MemoryError,
        OverflowError,
        RecursionError,
    ) as error:
        raise ValueError(f'{path} holds no document frequencies ({error}): {REMEDY}') from error
    return _checked(found, path)


class _PlainUnpickler(pickle.Unpickler):
    """Reads containers, strings and numbers, and refuses anything that would run code."""

    def find_class(self, module: str, name: str) -> Any:
        """One of a few plain types.

        Raises:
            UnpicklingError: for any other.
        """
        try:
            return SAFE[module, name]
        except KeyError:
            raise pickle.UnpicklingError(
                f'it asks for {module}.{name}, which is not plain data'
            ) from None


def _checked(found: Any, path: str) -> tuple[dict[NGram, float], float]:
    lacking = [
        key
        for key in ('ref_len', 'document_frequency')
        if not isinstance(found, dict) or key not in found
    ]
    if lacking:
        raise ValueError(f'{path} has no {lacking[0]!r}: {REMEDY}')
    table, ref_len = found['document_frequency'], found['ref_len']
    if not _is_count(ref_len) or not ref_len >= 1:
        raise ValueError(f'{path}: ref_len is {shown(ref_len)}, not a number of images: {REMEDY}')
    if not isinstance(table, dict):
        raise ValueError(f'{path}: document_frequency is no table: {REMEDY}')
    result = {}
    for ngram, count in table.items():
        words = tuple(ngram.split(' ')) if isinstance(ngram, str) else ngram
        if not isinstance(words, tuple) or not all(isinstance(word, str) for word in words):
            raise ValueError(
                f'{path}: document_frequency has the key {shown(ngram)}, no n-gram: {REMEDY}'
            )
        if not _is_count(count):
            raise ValueError(
                f'{path}: {shown(ngram)} is in {shown(count)} images, not a number: {REMEDY}'
            )
        result[words] = count
    return result, ref_len


def _is_count(value: Any) -> bool:
    return (
        isinstance(value, (int, float))
        and not isinstance(value, bool)
        and math.isfinite(value)
        and value >= 0
    )
