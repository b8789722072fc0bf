"""Reference captions from files, for the evaluation of captions."""

from collections.abc import Sequence
from typing import Any

from fiber_mmdet.datasets.image_text.karpathy_captions import image_ids
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
    images = in_splits(content['images'], splits, path)
    return {
        image_id: [sentence['raw'] for sentence in image['sentences']]
        for image_id, image in zip(image_ids(images), images)
    }


def in_splits(
    images: Sequence[dict], splits: str | Sequence[str] | None, path: str | None = None
) -> list[dict]:
    """Records of Karpathy's file that are in one of the splits, None for all.

    Raises:
        ValueError: a record lacks something, or there is no such split.
    """
    for number, image in enumerate(images):
        need(image, ('filename', 'split', 'sentences'), f'{path}: image {number}')
        for sentence in image['sentences']:
            need(sentence, ('raw',), f'{path}: a sentence of image {number}')
    known = dict.fromkeys(image['split'] for image in images)
    wanted = list(known) if splits is None else [splits] if isinstance(splits, str) else splits
    unknown = [split for split in wanted if split not in known]
    if unknown:
        raise ValueError(
            f'{path} has no split {unknown[0]!r} (it has '
            f'{", ".join(map(repr, known))}): correct splits'
        )
    return [image for image in images if image['split'] in wanted]
