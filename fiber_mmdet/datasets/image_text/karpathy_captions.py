"""Karpathy's caption files (COCO, Flickr30k)."""

from collections.abc import Iterator, Sequence
from pathlib import PurePath
from typing import Any

from mmdet.registry import DATASETS

from fiber_mmdet.records import need, read_table

from .captions import CaptionDataset


@DATASETS.register_module()
class KarpathyCaptionDataset(CaptionDataset):
    """Captions in Karpathy's files, ``dataset_coco.json`` and ``dataset_flickr30k.json``.

    ``image_id`` is ``cocoid`` where records have it, else the number at the end
    of the file's name ("36979.jpg", "COCO_val2014_000000391895.jpg"); names
    without one, or numbers that are not unique, leave the name itself.

    Args:
        ann_file: the json file, below ``data_root``.
        splits: which of its splits to take, in any combination: 'train', 'val',
            'test', and 'restval' for COCO. (The paper trains on 'train' and
            'val' and evaluates on 'test'.)
        one_per: see :class:`CaptionDataset`.
        image_template: path of a picture, in terms of its record.
        **kwargs: those of :class:`CaptionDataset`.

    Raises:
        FileNotFoundError: no file.
        ValueError: naming the file, a record that lacks something, or a split
            that does not exist.
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
        """What errors call the annotation file."""
        return f'{self.ann_file} ({", ".join(self.splits)})'

    def read_images(self) -> Iterator[tuple[Any, str, list[str]]]:
        """``image_id``, path of the picture and captions of each image."""
        images = read_table(self.ann_file, 'images', self.backend_args)
        for number, image in enumerate(images):
            need(image, ('filename', 'split', 'sentences'), f'{self.ann_file}: image {number}')
        known = dict.fromkeys(image['split'] for image in images)
        unknown = [split for split in self.splits if split not in known]
        if unknown:
            raise ValueError(
                f'{self.ann_file} has no split {unknown[0]!r} (it has '
                f'{", ".join(map(repr, known))}): correct splits'
            )
        images = [image for image in images if image['split'] in self.splits]
        for image, image_id in zip(images, image_ids(images)):
            where = f'{self.ann_file}: image {image["filename"]!r}'
            for sentence in image['sentences']:
                need(sentence, ('raw',), f'{where}: a sentence')
            yield (
                image_id,
                self.picture(self.image_template, image, where),
                [sentence['raw'] for sentence in image['sentences']],
            )


def image_ids(images: Sequence[dict]) -> list[Any]:
    """An id for each record of Karpathy's files, see :class:`KarpathyCaptionDataset`."""
    if all('cocoid' in image for image in images):
        return [image['cocoid'] for image in images]
    numbers = [PurePath(image['filename']).stem.rpartition('_')[2] for image in images]
    if all(number.isascii() and number.isdigit() for number in numbers):
        numbers = [int(number) for number in numbers]
        if len(set(numbers)) == len(numbers):
            return numbers
    return [image['filename'] for image in images]
