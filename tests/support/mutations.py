"""Damaged copies of annotation files, the same ones each time: a value, a line, or some bytes."""

import copy
import json
import random
from collections.abc import Callable, Iterator
from typing import Any

ODD = (
    None,
    True,
    -1,
    0,
    7,
    2.5,
    1e30,
    float('nan'),
    '',
    ' ',
    '3',
    'text',
    '../../etc/passwd',
    '/etc/passwd',
    'a\0b',
    '\ud800',
    [],
    {},
    [[]],
    [None],
    ['text'],
    [1, 2],
    [[1, 2]],
    {'a': 1},
    10**30,
    'x' * 3000,
)


def mutations(content: bytes, form: str, seed: int, count: int) -> Iterator[tuple[str, bytes]]:
    """Damaged versions of a file.

    Args:
        content: of the sound file.
        form: 'json', 'jsonl' (an object per line), 'tsv' (a key and json per line), or 'text'.
        seed: of the choice of damages.
        count: number of versions.

    Yields:
        What was done, and the damaged content.
    """
    rng = random.Random(seed)
    for _ in range(count):
        by_value = form != 'text' and rng.random() < 0.75
        said, damaged = (_values if by_value else _bytes)(content, form, rng)
        yield said, damaged


def _values(content: bytes, form: str, rng: random.Random) -> tuple[str, bytes]:
    if form == 'json':
        value = json.loads(content)
        said, value = _mutated(value, rng)
        return said, json.dumps(value).encode()
    lines = content.decode().splitlines()
    i = rng.randrange(len(lines))
    key, tab, text = lines[i].rpartition('\t') if form == 'tsv' else ('', '', lines[i])
    said, value = _mutated(json.loads(text), rng)
    lines[i] = key + tab + json.dumps(value)
    return f'line {i + 1}: {said}', '\n'.join(lines).encode()


def _mutated(value: Any, rng: random.Random) -> tuple[str, Any]:
    """A copy with one inner value replaced, removed, repeated, renamed or wrapped."""
    root = [copy.deepcopy(value)]
    holder, key, path = rng.choice(list(_places(root)))
    # fields of all depths alike: most values lie deep
    way = rng.choice(
        ('replace', 'replace', 'replace', 'remove', 'repeat', 'rename', 'wrap', 'text')
    )
    old = holder[key]
    if way == 'remove' and holder is not root:
        del holder[key]
    elif way == 'repeat' and isinstance(holder, list) and holder is not root:
        holder.insert(key, copy.deepcopy(old))
    elif way == 'rename' and isinstance(holder, dict):
        holder[f'{key}_'] = holder.pop(key)
    elif way == 'wrap':
        holder[key] = [old]
    elif way == 'text':
        holder[key] = json.dumps(old)
    else:
        way = 'replace'
        holder[key] = copy.deepcopy(rng.choice(ODD))
        return f'{path} becomes {holder[key]!r:.40}', root[0]
    return f'{way} {path}', root[0]


def _places(holder: list | dict, path: str = '') -> Iterator[tuple[Any, Any, str]]:
    items = list(holder.items() if isinstance(holder, dict) else enumerate(holder))
    for key, value in items:
        yield holder, key, f'{path}/{key}'
        if isinstance(value, (dict, list)):
            yield from _places(value, f'{path}/{key}')


def _bytes(content: bytes, form: str, rng: random.Random) -> tuple[str, bytes]:
    at = rng.randrange(len(content) + 1)
    lines = content.splitlines(keepends=True)
    i = rng.randrange(len(lines))
    ways: dict[str, Callable[[], bytes]] = {
        f'cut after {at} bytes': lambda: content[:at],
        f'byte {at} becomes 255': lambda: content[:at] + b'\xff' + content[at + 1 :],
        f'byte {at} becomes 0': lambda: content[:at] + b'\0' + content[at + 1 :],
        f'byte {at} becomes "}}"': lambda: content[:at] + b'}' + content[at + 1 :],
        f'byte {at} becomes a blank': lambda: content[:at] + b' ' + content[at + 1 :],
        f'byte {at} becomes a digit': lambda: content[:at] + b'9' + content[at + 1 :],
        'byte order mark': lambda: b'\xef\xbb\xbf' + content,
        'UTF-16': lambda: content.decode().encode('utf-16'),
        'empty': lambda: b'',
        'twice': lambda: content + content,
        'nested deeply': lambda: b'[' * 100000 + content,
        f'without line {i + 1}': lambda: b''.join(lines[:i] + lines[i + 1 :]),
        f'line {i + 1} twice': lambda: b''.join(lines[: i + 1] + lines[i:]),
        f'a word for line {i + 1}': lambda: b''.join([*lines[:i], b'word\n', *lines[i + 1 :]]),
        'Windows line breaks': lambda: content.replace(b'\n', b'\r\n'),
        'compressed': lambda: b'\x1f\x8b\x08' + content,
    }
    said = rng.choice(list(ways))
    return said, ways[said]()
