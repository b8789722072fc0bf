"""Which shards a config means: patterns, lists, addresses; and what their index says of them."""

import glob
import os
import os.path as osp
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlparse
from urllib.request import url2pathname

from fiber_mmdet.fields import NAME, OBJECTS, WHOLE, check_record, check_table, shown
from fiber_mmdet.host import need_extra
from fiber_mmdet.records import path_below, read_json, read_lines

INDEX = 'index.json'  # beside the shards
COMMAND = 'pipe'
SHARDS = 'reading shards'  # what the extra is needed for
SHOWN = 3


@dataclass(frozen=True)
class ShardFacts:
    """What an index says of a shard.

    Attributes:
        samples: images in it.
        size: of the file in bytes; None if the index does not say.
    """

    samples: int
    size: int | None = None


def scheme_of(name: str) -> str:
    """The scheme of an address in small letters; '' for a local path."""
    scheme = urlparse(name).scheme.lower()
    return '' if len(scheme) == 1 else scheme  # a drive of Windows


def is_local(name: str) -> bool:
    """Whether a shard is a file of this machine."""
    return scheme_of(name) in ('', 'file')


def local_path(name: str) -> str:
    """The path of a local shard."""
    return url2pathname(urlparse(name).path) if scheme_of(name) == 'file' else name


def shard_names(
    shards: str | Sequence[str], root: str = '', outside_paths: bool = False
) -> list[str]:
    """The shards that a config means, in order.

    Args:
        shards: one or several of: a path below ``root`` or an address, with braces
            (``{00000..00331}.tar``); a path with wildcards; a text file (its name ends in ".txt")
            with a path or an address in each line.
        root: folder of relative paths.
        outside_paths: allow paths in a text file that leave its folder.

    Raises:
        FileNotFoundError: a text file is missing, or nothing matches.
        TypeError: neither text nor a list of texts.
        ValueError: an address that nothing can read, a command that stands in a text file, a shard
            that is named twice, or no shard at all.
    """
    given = [shards] if isinstance(shards, str) else shards
    if not isinstance(given, Sequence) or not all(isinstance(one, str) for one in given):
        raise TypeError(f'shards={shown(shards)} must be a path, an address, or a list of them')
    names = [name for one in given for name in _expanded(one, root, outside_paths)]
    if not names:
        raise ValueError(f'shards={shown(shards)} names no shard')
    seen: set[str] = set()
    for name in names:
        if name in seen:
            raise ValueError(
                f'the shard {name} is named twice: its samples would be used twice as often. Name '
                'it once, or give it a weight of its own in a WeightedMixDataset'
            )
        seen.add(name)
    return names


def _expanded(one: str, root: str, outside_paths: bool) -> Iterator[str]:
    if not one.strip() or one == '-':
        raise ValueError(f'shards has {one!r}, which is no path')
    scheme = scheme_of(one)
    if one.endswith('.txt') and scheme in ('', 'file'):
        yield from _listed(osp.join(root, local_path(one)), outside_paths)
        return
    brace = need_extra('braceexpand', 'shards', SHARDS)
    if scheme not in ('', 'file'):
        _check_scheme(one, scheme, 'shards')
        yield from brace.braceexpand(one)
        return
    for name in brace.braceexpand(local_path(one)):
        if not glob.has_magic(name):
            yield osp.join(root, name)
            continue
        found = sorted(glob.glob(osp.join(glob.escape(root), name), recursive=True))
        if not found:
            raise FileNotFoundError(
                f'no shard matches {osp.join(root, name)}: check data_root and shards'
            )
        yield from found


def _listed(path: str, outside_paths: bool) -> Iterator[str]:
    """The shards that a text file names, one a line; paths are relative to its folder."""
    for where, line in read_lines(path):
        name = line.strip()
        scheme = scheme_of(name)
        if scheme == COMMAND or name == '-':
            raise ValueError(
                f'{where} is {shown(name)}: commands are run only if the config itself names them. '
                'If you trust it, move it to shards'
            )
        if scheme not in ('', 'file'):
            _check_scheme(name, scheme, where)
            yield name
        else:
            yield path_below(osp.dirname(path), local_path(name), f'{where} is', outside_paths)


def _check_scheme(name: str, scheme: str, where: str) -> None:
    readers = need_extra('webdataset.gopen', 'shards', SHARDS).gopen_schemes
    known = sorted(key for key in readers if not key.startswith('__'))
    if scheme not in known:
        raise ValueError(
            f'{where} has {shown(name)}, but webdataset reads {", ".join(known)} and files: for '
            'others name a command, such as "pipe:aws s3 cp s3://bucket/{00000..00331}.tar -"'
        )


def missing_shards(names: Iterable[str]) -> list[str]:
    """Local shards that do not exist; each folder is listed once."""
    of_folder: dict[str, list[str]] = {}
    for name in filter(is_local, names):
        of_folder.setdefault(osp.dirname(local_path(name)) or '.', []).append(name)
    missing = []
    for folder, inside in of_folder.items():
        known = set(os.listdir(folder)) if osp.isdir(folder) else set()
        missing += [name for name in inside if osp.basename(local_path(name)) not in known]
    return missing


def refuse_missing(names: Sequence[str]) -> None:
    """Refuse a set of which local shards are missing.

    Raises:
        FileNotFoundError: naming the first ones.
    """
    missing = missing_shards(names)
    if missing:
        shown_ones = ', '.join(missing[:SHOWN]) + ', …' * (len(missing) > SHOWN)
        raise FileNotFoundError(
            f'{len(missing)} of {len(names)} shards are missing ({shown_ones}): check data_root '
            'and shards, or name only those that are there'
        )


def read_index(names: Sequence[str], index: str | None = None) -> dict[str, ShardFacts]:
    """What index files say of shards.

    An index is json as webdataset's wids writes it: ``{"wids_version": 1, "shardlist": [{"url":
    "00000.tar", "nsamples": 1000, "filesize": 12345}, …]}``, with paths relative to the file.

    Args:
        names: the shards.
        index: an index file; None for ``index.json`` in the folders of local shards, where there
            is one.

    Returns:
        The facts of those shards that an index names.

    Raises:
        FileNotFoundError: ``index`` is missing.
        ValueError: a file is no index.
    """
    folders = dict.fromkeys(osp.dirname(local_path(name)) for name in names if is_local(name))
    beside = [osp.join(folder, INDEX) for folder in folders]
    files = [path for path in beside if osp.isfile(path)] if index is None else [index]
    known: dict[str, ShardFacts] = {}
    for path in files:
        for row in _index_rows(path):
            url = row['url']
            name = osp.join(osp.dirname(path), url) if is_local(url) else url
            known[_normal(name)] = ShardFacts(row['nsamples'], row.get('filesize'))
    return {name: known[_normal(name)] for name in names if _normal(name) in known}


ROW = dict(url=NAME, nsamples=WHOLE, filesize=WHOLE | None)


def _index_rows(path: str) -> list[Mapping[str, Any]]:
    shape = 'an object with "shardlist", as tools/make_shards.py and wids write it'
    content = read_json(path, dict, shape)
    check_record(content, dict(shardlist=OBJECTS), path)
    check_table(content['shardlist'], ROW, 'shard', path, key='url')
    return content['shardlist']


def _normal(name: str) -> str:
    return osp.normpath(local_path(name)) if is_local(name) else name
