"""The base of data sets of images with captions."""

from collections import Counter
from collections.abc import Iterable, Iterator
from typing import Any

from mmengine.logging import MMLogger

from fiber_mmdet.records import read_ids

from .base import ImageTextDataset
from .packed_records import PackedRecords

ONE_PER = ('caption', 'image')


class CaptionDataset(ImageTextDataset):
    """Base of data sets of images with captions; captions come in the order of the file.

    A caption that is repeated for its image counts once, blank ones do not
    count. Samples have ``captions``, the list of all of their image.
    Subclasses write :meth:`read_images`.

    Args:
        *args: those of mmengine's ``BaseDataset``.
        one_per: 'caption': each pair of an image and a caption is a sample;
            'image': each image is one, with its first caption as ``text``.
        exclude_ids: file of image ids that are left out, below ``data_root``: a
            json list, or one id a line. Such as the images of COCO in Visual
            Genome.
        **kwargs: those of :class:`ImageTextDataset`.

    Raises:
        FileNotFoundError: a file is missing.
        ValueError: naming the file, a file that is not what it should be.
    """

    def __init__(
        self, *args, one_per: str = 'caption', exclude_ids: str | None = None, **kwargs
    ) -> None:
        if one_per not in ONE_PER:
            raise ValueError(f'one_per={one_per!r} must be one of {", ".join(map(repr, ONE_PER))}')
        self.one_per = one_per
        self.exclude_ids = exclude_ids
        super().__init__(*args, **kwargs)

    def read_images(self) -> Iterator[tuple[Any, str, Iterable[str]]]:
        """``image_id``, path of the picture and captions of each image."""
        raise NotImplementedError

    def read_items(self) -> list[dict]:
        """Pairs of an image and a caption, as numbers; the images are kept apart.

        An image may have fifty captions, and all of them are in each of its
        samples: these are put together when a sample is asked for.
        """
        self.excluded = (
            frozenset()
            if self.exclude_ids is None
            else read_ids(self.below_root(self.exclude_ids), self.backend_args)
        )
        images, items, left_out = [], [], Counter()
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
            count = len(distinct) if self.one_per == 'caption' else 1
            items += [dict(image=len(images), caption=i) for i in range(count)]
            images.append((image_id, path, distinct))
        self.images = PackedRecords(images)
        lost = ', '.join(f'{count} {what}' for what, count in left_out.items() if count)
        MMLogger.get_current_instance().info(
            f'{self.sources()}: {len(items)} samples of {len(images)} images'
            + (f'; left out {lost}' if lost else '')
        )
        return items

    def item(self, idx: int) -> dict:
        """Sample ``idx`` without a false image."""
        numbers = super().item(idx)
        image_id, path, captions = self.images[numbers['image']]
        return dict(
            views=dict(image=dict(img_path=path)),
            text=captions[numbers['caption']],
            image_id=image_id,
            captions=captions,
            sample_idx=numbers['sample_idx'],
        )
