"""Karpathy's caption files (COCO, Flickr30k)."""

from collections.abc import Iterator, Sequence
from pathlib import PurePath
from typing import Any

from mmdet.registry import DATASETS

from fiber_mmdet.fields import (
    ID,
    NAME,
    OBJECTS,
    PATH,
    TEXT,
    check_distinct,
    check_table,
)
from fiber_mmdet.records import read_table

from .captions import CaptionDataset

IMAGE = dict(filename=PATH, split=NAME, sentences=OBJECTS, cocoid=ID | None, filepath=PATH | None)
SENTENCE = dict(raw=TEXT)


@DATASETS.register_module()
class KarpathyCaptionDataset(CaptionDataset):
    """Captions in Karpathy's files, ``dataset_coco.json`` and ``dataset_flickr30k.json``.

    ``image_id`` is ``cocoid`` if all records have it, otherwise the number at the end of the file
    name ("36979.jpg", "COCO_val2014_000000391895.jpg"), or the file name itself if some names have
    no number or the numbers are not unique.

    Args:
        ann_file: the json file, below ``data_root``.
        splits: which of its splits to use, in any combination: 'train', 'val', 'test', and
            'restval' for COCO. (The paper trains on 'train' and 'val' and evaluates on 'test'.)
        one_per: see :class:`CaptionDataset`.
        image_template: path of an image, in terms of its record.
        **kwargs: those of :class:`CaptionDataset`.

    Raises:
        FileNotFoundError: the file does not exist.
        ValueError: naming the file, a record that lacks a field, or an unknown split.
    """

    def __init__(
        self,
        ann_file: str,
        splits: Sequence[str] = ('train', 'val'),
        one_per: str = 'caption',
        image_template: str = '{filepath}/{filename}',
        **kwargs,
    ) -> None:
        self.splits = (splits,) if isinstance(splits, str) else tuple(splits)
        super().__init__(
            ann_file=ann_file, one_per=one_per, image_template=image_template, **kwargs
        )

    def sources(self) -> str:
        """The annotation file, as errors name it."""
        return f'{self.ann_file} ({", ".join(self.splits)})'

    def read_images(self) -> Iterator[tuple[Any, str, list[str]]]:
        """``image_id``, path and captions of each image."""
        records = read_table(self.ann_file, 'images', self.backend_args)
        for image_id, image in karpathy_images(records, self.splits, self.ann_file):
            where = f'{self.ann_file}: image {image["filename"]!r}'
            yield (
                image_id,
                self.image_path(self.image_template, image, where),
                [sentence['raw'] for sentence in image['sentences']],
            )


def karpathy_images(
    records: Sequence[dict], splits: str | Sequence[str] | None, path: str
) -> list[tuple[Any, dict]]:
    """The images of a Karpathy file that belong to some splits, checked.

    Args:
        records: ``images`` of the file.
        splits: one or several; None for all.
        path: of the file, for errors.

    Returns:
        The id (see :class:`KarpathyCaptionDataset`) and the record of each image.

    Raises:
        ValueError: naming the file, a record with a wrong field, or an unknown split.
    """
    check_table(records, IMAGE, 'image', path, key='filename')
    known = dict.fromkeys(image['split'] for image in records)
    wanted = list(known) if splits is None else [splits] if isinstance(splits, str) else splits
    unknown = [split for split in wanted if split not in known]
    if unknown:
        raise ValueError(
            f'{path} has no split {unknown[0]!r} (it has '
            f'{", ".join(map(repr, known))}): correct splits'
        )
    images = [image for image in records if image['split'] in wanted]
    for image in images:
        where = f'{path}: image {image["filename"]}'
        check_table(image['sentences'], SENTENCE, 'sentence', where, key=None)
    ids = _image_ids(images)
    check_distinct(ids, 'images', 'id', path, 'give each its own cocoid, or file name')
    return list(zip(ids, images))


def _image_ids(images: Sequence[dict]) -> list[Any]:
    if all(image.get('cocoid') is not None for image in images):
        return [image['cocoid'] for image in images]
    ends = [PurePath(image['filename']).stem.rpartition('_')[2] for image in images]
    if all(end.isascii() and end.isdigit() for end in ends):
        numbers = list(map(int, ends))
        if len(set(numbers)) == len(numbers):
            return numbers
    return [image['filename'] for image in images]
