"""Tar files of samples (webdataset) as sources of images."""

import json
from collections.abc import Iterator, Mapping
from typing import Any

from fiber_mmdet.datasets.shards.entries import is_image
from fiber_mmdet.datasets.shards.reading import Fault, read_shard

from .places import open_file


def shard_rows(block: dict[str, Any]) -> Iterator[tuple[str, bytes | str, str | None] | Fault]:
    """The images of a shard, one of each sample.

    Args:
        block: of the kind 'shard'.

    Yields:
        The name of each image, its file, or in words why it has none, and its text. Last, if the
        shard could not be read to its end, what is wrong with it.

    Raises:
        MissingExtra: webdataset is not installed.
    """
    for sample in read_shard(block['file'], open_stream=open_file):
        if isinstance(sample, Fault):
            yield sample
            continue
        name = f'{block["name"]}/{sample["__key__"]}'
        images = [ending for ending in sample if is_image(ending.rpartition('.')[2])]
        content = sample[images[0]] if images else None
        if '__fault__' in sample:
            yield name, sample['__fault__'], None
        elif content is None:
            yield name, 'there is no image in it', None
        elif not isinstance(content, bytes):
            yield name, f'its header says that it has {content.size} bytes', None
        else:
            yield f'{name}.{images[0]}', content, _text_of(sample, block['text_from'])


def _text_of(sample: Mapping[str, Any], text_from: str | None) -> str | None:
    """The text of a sample; None if it has none that can be read."""
    if text_from is None:
        return None
    ending, _, key = text_from.partition(':')
    try:
        text = sample[ending].decode('utf-8-sig')
        text = json.loads(text)[key] if key else text
    except (ValueError, KeyError, TypeError, AttributeError):
        return None
    return text.strip() if isinstance(text, str) else None
