"""Reference captions from files, for the evaluation of captions."""

from collections.abc import Sequence
from typing import Any

from fiber_mmdet.datasets.image_text.karpathy_captions import karpathy_images
from fiber_mmdet.records import need, read_json


def read_references(path: str, splits: str | Sequence[str] | None = None) -> dict[Any, list[str]]:
    """All captions of each image, including repeated ones, as the public evaluation counts them.

    Args:
        path: Karpathy's file (``images`` with ``sentences``) or COCO's
            ``captions_*.json`` (``annotations`` with ``caption``).
        splits: splits of Karpathy's file, None for all.

    Returns:
        image id -> captions, in the order of the file.

    Raises:
        FileNotFoundError: the file does not exist.
        ValueError: the file lacks something, or a split.
    """
    content = read_json(path, dict, "an object with 'images' or 'annotations'")
    if 'annotations' in content:
        if splits is not None:
            raise ValueError(
                f"{path} is COCO's own file, which has no splits: leave out splits, "
                "or give Karpathy's file"
            )
        found: dict[Any, list[str]] = {}
        for number, record in enumerate(content['annotations']):
            need(record, ('image_id', 'caption'), f'{path}: annotation {number}')
            found.setdefault(record['image_id'], []).append(record['caption'])
        return found
    need(content, ('images',), path)
    return {
        image_id: [sentence['raw'] for sentence in image['sentences']]
        for image_id, image in karpathy_images(content['images'], splits, path)
    }
