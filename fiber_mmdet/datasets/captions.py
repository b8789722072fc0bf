"""Images with captions: the base of such data sets, and Karpathy's files (COCO, Flickr30k)."""
import pickle
from collections import Counter
from pathlib import PurePath
from typing import Any, Iterable, Iterator, Optional, Sequence

import numpy as np
from mmdet.registry import DATASETS
from mmengine.logging import MMLogger

from .image_text import ImageTextDataset
from .json_file import need, opened, read_table

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

    def __init__(self, *args, one_per: str = 'caption', exclude_ids: Optional[str] = None,
                 **kwargs) -> None:
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
        excluded = read_ids(self.below_root(self.exclude_ids), self.backend_args
                            ) if self.exclude_ids else ()
        images, items, left_out = [], [], Counter()
        for image_id, path, captions in self.read_images():
            if str(image_id) in excluded:
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
            + (f'; left out {lost}' if lost else ''))
        return items

    def item(self, idx: int) -> dict:
        """Sample ``idx`` without a false image."""
        numbers = super().item(idx)
        image_id, path, captions = self.images[numbers['image']]
        return dict(views=dict(image=dict(img_path=path)), text=captions[numbers['caption']],
                    image_id=image_id, captions=captions, sample_idx=numbers['sample_idx'])


class PackedRecords:
    """A list of records as one array, which processes that load data share.

    (mmengine keeps ``data_list`` so, too: memory of Python's objects would be
    copied to each process in time.)

    Args:
        records: whatever can be pickled.
    """

    def __init__(self, records: Iterable[Any]) -> None:
        packed = [pickle.dumps(record, protocol=4) for record in records]
        self.ends = np.cumsum([len(record) for record in packed], dtype=np.int64)
        self.bytes = np.frombuffer(b''.join(packed), dtype=np.uint8)

    def __len__(self) -> int:
        return len(self.ends)

    def __getitem__(self, index: int) -> Any:
        begin = self.ends[index - 1] if index else 0
        return pickle.loads(memoryview(self.bytes[begin:self.ends[index]]))


def read_ids(path: str, backend_args: Optional[dict] = None) -> set[str]:
    """Image ids of a file, as strings: a json list, or one a line.

    Raises:
        FileNotFoundError: no such file.
        ValueError: it is neither.
    """
    import json
    with opened(path, backend_args) as file:
        content = file.read()
    if not content.lstrip().startswith(('[', '{')):
        return {line.strip() for line in content.splitlines() if line.strip()}
    try:
        ids = json.loads(content)
    except ValueError as error:
        raise ValueError(f'{path} is not a json file ({error}): write a list of image ids, or one '
                         'a line') from error
    if not isinstance(ids, list) or not all(isinstance(i, (int, str)) for i in ids):
        raise ValueError(f'{path} must hold a list of image ids, numbers or names')
    return set(map(str, ids))


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

    def __init__(self, ann_file: str, splits: Sequence[str] = ('train', 'val'),
                 one_per: str = 'caption', image_template: str = '{filepath}/{filename}',
                 **kwargs) -> None:
        self.splits = (splits, ) if isinstance(splits, str) else tuple(splits)
        super().__init__(ann_file=ann_file, one_per=one_per, image_template=image_template,
                         **kwargs)

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
            raise ValueError(f'{self.ann_file} has no split {unknown[0]!r} (it has '
                             f'{", ".join(map(repr, known))}): correct splits')
        images = [image for image in images if image['split'] in self.splits]
        for image, image_id in zip(images, image_ids(images)):
            where = f'{self.ann_file}: image {image["filename"]!r}'
            for sentence in image['sentences']:
                need(sentence, ('raw', ), f'{where}: a sentence')
            yield (image_id, self.picture(self.image_template, image, where),
                   [sentence['raw'] for sentence in image['sentences']])


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
