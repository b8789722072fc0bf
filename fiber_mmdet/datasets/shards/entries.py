"""What a sample of a shard holds: an image and its captions."""

import functools
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from fiber_mmdet.fields import is_id, is_text, shown
from fiber_mmdet.images import image_endings
from fiber_mmdet.records import parse_json

from .reading import Fault, TooLarge

SHOWN_NAMES = 8


@dataclass(frozen=True)
class Entry:
    """An image with some of its captions, before it is decoded.

    Attributes:
        shard: name of its shard.
        key: of the sample in it.
        path: that stands for the image in messages and results, ``SHARD/KEY.ENDING``.
        content: of the image file.
        texts: the captions of this entry.
        captions: all of the image.
        image_id: what identifies the image.
    """

    shard: str
    key: str
    path: str
    content: bytes
    texts: tuple[str, ...]
    captions: tuple[str, ...]
    image_id: Any

    def sample(self, grouped: bool) -> dict[str, Any]:
        """The sample as the pipeline gets it, see :class:`ImageTextDataset`.

        Args:
            grouped: whether samples have several texts, ``texts``.
        """
        views = dict(image=dict(img_path=self.path, img_bytes=self.content))
        texts = [
            dict(text=text, image_id=self.image_id, captions=list(self.captions))
            for text in self.texts
        ]
        if grouped:
            return dict(views=views, image_id=self.image_id, texts=texts)
        return dict(texts[0], views=views)


@functools.cache
def is_image(ending: str) -> bool:
    """Whether files of this ending, in small letters and without the period, are images."""
    return f'.{ending}' in image_endings()


class CannotUse(ValueError):
    """Why a sample is left out."""


@dataclass(frozen=True)
class EntryReader:
    """Makes entries of the samples of shards.

    Attributes:
        caption_field: of the json file, whose value is a caption or a list of them; None for the
            txt file, the whole of which is the caption.
        texts_per_image: captions of an entry at most; see :class:`ImageTextDataset`.
    """

    caption_field: str | None = None
    texts_per_image: int = 1

    def entries(self, sample: Mapping[str, Any]) -> Iterator[Entry | Fault]:
        """One entry for each ``texts_per_image`` captions, or what is wrong with the sample.

        Args:
            sample: as :func:`read_shard` yields it.
        """
        shard, key = sample['__url__'], sample['__key__']
        try:
            if '__fault__' in sample:
                raise CannotUse(sample['__fault__'])
            for name, content in sample.items():
                if isinstance(content, TooLarge):
                    raise CannotUse(f'its {name} file says that it has {content.size} bytes')
            ending = self._image(sample)
            record = self._json(sample)
            captions = tuple(dict.fromkeys(t for t in self._captions(sample, record) if t.strip()))
            if not captions:
                raise CannotUse('its caption is blank')
        except CannotUse as error:
            yield Fault(shard, key, str(error))
            return
        path = f'{shard}/{key}.{ending}'
        image_id = record.get('image_id')
        if not is_id(image_id):
            image_id = path
        count = -(-len(captions) // self.texts_per_image)
        for i in range(count):  # as ImageTextDataset deals them
            yield Entry(shard, key, path, sample[ending], captions[i::count], captions, image_id)

    @staticmethod
    def _image(sample: Mapping[str, Any]) -> str:
        names = [name for name in sample if not name.startswith('__')]
        images = list(filter(is_image, names))
        if len(images) != 1:
            found = ', '.join(names[:SHOWN_NAMES])
            count = 'several images' if images else 'no image'
            raise CannotUse(f'{count} (it has {found})')
        return images[0]

    def _json(self, sample: Mapping[str, Any]) -> dict[str, Any]:
        """The content of the json file; nothing if it is not needed and cannot be read."""
        if 'json' not in sample:
            if self.caption_field is not None:
                raise CannotUse('no json file')
            return {}
        try:
            record = parse_json(sample['json'].decode('utf-8-sig'), 'its json file', 'an object')
            if not isinstance(record, dict):
                raise CannotUse(f'its json file holds {shown(record)}, not an object')
        except (ValueError, CannotUse) as error:
            raise CannotUse(' '.join(str(error).split())) from error
        return record

    def _captions(self, sample: Mapping[str, Any], record: Mapping[str, Any]) -> list[str]:
        if self.caption_field is None:
            if 'txt' not in sample:
                raise CannotUse('no txt file')
            try:
                return [sample['txt'].decode('utf-8-sig').strip()]
            except UnicodeDecodeError as error:
                raise CannotUse('its txt file is not UTF-8') from error
        value = record.get(self.caption_field)
        texts: list[Any] = value if isinstance(value, list) else [value]
        if not texts or not all(map(is_text, texts)):
            known = ', '.join(list(record)[:SHOWN_NAMES])
            raise CannotUse(
                f'{self.caption_field!r} of its json file is {shown(value)}, not a caption or a '
                f'list of captions (it has {known})'
            )
        return texts
