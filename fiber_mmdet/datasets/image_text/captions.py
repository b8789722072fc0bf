"""The base of datasets of images with captions."""

import pickle
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import numpy as np
from mmengine.logging import MMLogger

from fiber_mmdet.records import read_ids

from ..file_arguments import FileArgument
from ..stored_records import StoredRecords
from .base import ImageTextDataset

ONE_PER = ('caption', 'image')


class CaptionDataset(ImageTextDataset):
    """Base of datasets of images with captions, in the order of the file.

    Repeated captions of an image are used once, blank ones are left out. Samples have
    ``captions``, all captions of their image. Subclasses implement :meth:`read_images`.

    Args:
        *args: those of mmengine's ``BaseDataset``.
        one_per: 'caption': each pair of an image and a caption is a sample; 'image': each image is
            one, with its first caption as ``text``.
        exclude_ids: file below ``data_root`` with the ids of images to leave out, a json list or
            one id per line; for example those of Visual Genome's images that are in COCO.
        **kwargs: those of :class:`ImageTextDataset`.

    Raises:
        FileNotFoundError: a file is missing.
        ValueError: a file is malformed; the message names it.
    """

    FILES = (FileArgument('exclude_ids'),)

    def __init__(
        self, *args, one_per: str = 'caption', exclude_ids: str | None = None, **kwargs
    ) -> None:
        if one_per not in ONE_PER:
            raise ValueError(f'one_per={one_per!r} must be one of {", ".join(map(repr, ONE_PER))}')
        if one_per == 'image' and kwargs.get('texts_per_image', 1) != 1:
            raise ValueError(
                "one_per='image' takes one caption of each image: leave texts_per_image out, or "
                "set one_per='caption'"
            )
        self.one_per = one_per
        self.exclude_ids = exclude_ids
        super().__init__(*args, **kwargs)

    def read_images(self) -> Iterator[tuple[Any, str, Iterable[str]]]:
        """``image_id``, path and captions of each image."""
        raise NotImplementedError

    def read_items(self) -> Sequence[dict]:
        """Pairs of image and caption numbers; the images are stored separately.

        Every sample carries all captions of its image, which may be fifty. Samples are therefore
        assembled when requested.
        """
        self.excluded = (
            frozenset()
            if self.exclude_ids is None
            else read_ids(self.below_root(self.exclude_ids), self.backend_args)
        )
        left_out: Counter[str] = Counter()
        counts: list[int] = []
        images = self.collect(self._distinct(counts, left_out))
        self.images = images if isinstance(images, StoredRecords) else PackedRecords(images)
        items = self.collect(
            dict(image=image, caption=i) for image, count in enumerate(counts) for i in range(count)
        )
        lost = ', '.join(f'{count} {what}' for what, count in left_out.items() if count)
        MMLogger.get_current_instance().info(
            f'{self.sources()}: {len(items)} samples of {len(counts)} images'
            + (f'; left out {lost}' if lost else '')
        )
        return items

    def _distinct(
        self, counts: list[int], left_out: Counter[str]
    ) -> Iterator[tuple[Any, str, list[str]]]:
        """The images that are used, with distinct captions; adds the number of samples of each."""
        for image_id, path, captions in self.read_images():
            if str(image_id) in self.excluded:
                left_out['images by exclude_ids'] += 1
                continue
            captions = list(captions)
            distinct = [text for text in dict.fromkeys(captions) if text.strip()]
            left_out['repeated or blank captions'] += len(captions) - len(distinct)
            if not distinct:
                left_out['images without a caption'] += 1
                continue
            counts.append(len(distinct) if self.one_per == 'caption' else 1)
            yield image_id, path, distinct

    def image_of(self, record: dict) -> int:
        """Number of the image."""
        return record['image']

    def assemble(self, record: dict) -> dict:
        """A caption and its image."""
        image_id, path, captions = self.images[record['image']]
        known = {key: record[key] for key in ('sample_idx',) if key in record}
        return dict(
            views=dict(image=dict(img_path=path)),
            text=captions[record['caption']],
            image_id=image_id,
            captions=captions,
            **known,
        )


class PackedRecords:
    """A list of records in one array, whose memory the workers of a data loader share.

    (mmengine stores ``data_list`` in this way, too: the memory of Python objects would be copied
    to each worker in the course of time.)

    Args:
        records: anything that can be pickled.
    """

    def __init__(self, records: Iterable[Any]) -> None:
        packed = [pickle.dumps(record, protocol=4) for record in records]
        self.ends = np.cumsum([len(record) for record in packed], dtype=np.int64)
        self.bytes = np.frombuffer(b''.join(packed), dtype=np.uint8)

    def __len__(self) -> int:
        return len(self.ends)

    def __deepcopy__(self, memo: dict) -> 'PackedRecords':
        return self  # immutable, so subsets of a dataset can share it

    def __getitem__(self, index: int) -> Any:
        begin = self.ends[index - 1] if index else 0
        return pickle.loads(self.bytes[begin : self.ends[index]].data)
