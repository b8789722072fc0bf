"""Tar files of samples (webdataset) as sources of images."""

import json
from collections.abc import Iterator
from typing import Any

from fiber_mmdet.host import need_extra
from fiber_mmdet.images import image_endings

from .places import opened


def shard_rows(block: dict[str, Any]) -> Iterator[tuple[str, bytes | None, str | None]]:
    """The images of a shard, one of each sample.

    Args:
        block: of the kind 'shard'.

    Yields:
        The name of each image, its file (None for a sample without an image), and its text.

    Raises:
        OSError, tarfile.TarError, ValueError: the shard is damaged from here on.
    """
    readers = need_extra('webdataset.tariterators', 'shards', 'a shard')
    with opened(block['file']) as stream:
        files = (dict(file, __url__=block['file']) for file in readers.tar_file_iterator(stream))
        for sample in readers.group_by_keys(files):
            name = f'{block["name"]}/{sample["__key__"]}'
            ending = next(
                (key for key in sample if f'.{key.split(".")[-1]}' in image_endings()), ''
            )
            text = _text_of(sample, block['text_from'])
            yield (f'{name}.{ending}', sample[ending], text) if ending else (name, None, text)


def _text_of(sample: dict[str, Any], text_from: str | None) -> str | None:
    """The text of a sample; None if it has none that can be read."""
    if text_from is None:
        return None
    ending, _, key = text_from.partition(':')
    content = sample.get(ending)
    if content is None:
        return None
    try:
        text = content.decode('utf-8')
        if key:
            text = json.loads(text)[key]
    except (ValueError, KeyError, TypeError):
        return None
    return text.strip() if isinstance(text, str) else None
