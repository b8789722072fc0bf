"""How an image-text model runs: in batches, and each image and text encoded once."""

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, TypeVar

import torch
from mmengine.config import Config
from torch import Tensor
from tqdm import tqdm

from fiber_mmdet.images import ImageError
from fiber_mmdet.models import FIBERForVL
from fiber_mmdet.models.backbone import ImagePrefix, TextPrefix
from fiber_mmdet.models.image_text import EncodedBatch
from fiber_mmdet.models.prompt_cache import PromptCache

from .encoded import EncodedImage
from .image_text_loading import ViewReader
from .inputs import ImageLike, OneOrMore, align, list_images, list_texts
from .photo_warning import PhotoWarning
from .unreadable import Unreadable, key_of

T = TypeVar('T')


class ImageTextRunner:
    """What all calls of an :class:`ImageTextInferencer` share.

    Attributes:
        model: in evaluation mode.
        config: that it was built from.
        weights: where they came from.
        read: reads an image as the model sees it.
        warn_of_photos: looks at every image that is read.
        texts: prefixes of the latest texts.
        batch_size: images or pairs in a batch.
        show_progress: show a bar when there are several batches (in a terminal only).
        skip_unreadable: go on after images that cannot be read.
    """

    model: FIBERForVL
    config: Config
    weights: str | Path
    read: ViewReader
    warn_of_photos: PhotoWarning
    texts: PromptCache
    batch_size: int
    show_progress: bool
    skip_unreadable: bool

    @torch.no_grad()
    def _predict(
        self,
        head: Any,
        views: dict[str, Any],
        text: OneOrMore[str] | None,
        result: Callable[[dict], T],
    ) -> OneOrMore[T]:
        """What a head predicts for images and texts that belong together."""
        given: dict[str, tuple[list, bool]]
        given = {name: list_images(images) for name, images in views.items()}
        if text is not None:
            given['text'] = list_texts(text)
        columns, single = align(given)
        one_image = all(given[name][1] for name in views)
        unreadable = Unreadable(self.skip_unreadable and not one_image)

        def predict(rows: slice) -> list[T | None]:
            images = [image for name in views for image in columns[name][rows]]
            read = self._read(images, unreadable)
            results: list[T | None] = [None] * (rows.stop - rows.start)
            kept = [
                i
                for i in range(rows.start, rows.stop)
                if all(key_of(columns[name][i]) in read for name in views)
            ]
            if not kept:
                return results
            prefixes = {
                name: self._image_prefix([columns[name][i] for i in kept], read) for name in views
            }
            texts = None
            if text is not None:
                texts = self._text_prefix([columns['text'][i] for i in kept])
            batch = EncodedBatch.from_prefixes(self.model, prefixes, texts)
            for i, found in zip(kept, head.predict(batch)):
                results[i - rows.start] = result(found)
            return results

        count = len(next(iter(columns.values())))
        results: list = [found for batch in self._in_batches(count, predict) for found in batch]
        unreadable.report(sum(len(given[name][0]) for name in views))
        return results[0] if single else results

    @torch.no_grad()
    def _in_batches(self, count: int, run: Callable[[slice], T]) -> Iterator[T]:
        """``run`` of consecutive rows, with a progress bar."""
        silent = not self.show_progress or count <= self.batch_size
        # disable=None leaves the bar out where no one watches: logs, pipes, tests
        with tqdm(total=count, unit='item', disable=True if silent else None) as bar:
            for begin in range(0, count, self.batch_size):
                rows = slice(begin, min(begin + self.batch_size, count))
                yield run(rows)
                bar.update(rows.stop - rows.start)

    @torch.no_grad()
    def encode(self, image: ImageLike) -> EncodedImage:
        """Encode an image for any number of calls, which take the result as their image.

        Args:
            image: a path, PIL image or RGB array.

        Raises:
            FileNotFoundError, ImageError: it cannot be read, or is not a single image.
        """
        images, single = list_images(image)
        if not single:
            raise ImageError('a single image is encoded, not a folder or a list')
        return self.encode_each(images)[0]

    @torch.no_grad()
    def encode_each(self, images: Sequence[ImageLike]) -> list[EncodedImage]:
        """What :meth:`encode` gives for each of some images, which share a batch.

        Args:
            images: paths, PIL images or RGB arrays.

        Raises:
            FileNotFoundError, ImageError: one cannot be read.
        """
        prefix = self._image_prefix(images, self._read(images, Unreadable(False)))
        return [
            EncodedImage(prefix.select([i]), self.model, path_of(image))
            for i, image in enumerate(images)
        ]

    def _read(
        self, images: Sequence[ImageLike], unreadable: Unreadable
    ) -> dict[Any, Tensor | ImagePrefix]:
        """Pixels of images by their :func:`key_of`, without those that are left out.

        Of an encoded image its prefix.
        """
        found: dict[Any, Tensor | ImagePrefix] = {}
        for key, image in {key_of(image): image for image in images}.items():
            with unreadable.reading(image):
                if isinstance(image, EncodedImage):
                    found[key] = image.of(self.model)
                else:
                    found[key] = pixels = self.read(image)
                    self.warn_of_photos(pixels)
        return found

    def normalised(self, pixels: Sequence[Tensor]) -> Tensor:
        """(3, S, S) each, as :attr:`read` returns them, to what the model takes.

        Returns:
            (B, 3, S, S) float32 on the device of the model.
        """
        return self.model.data_preprocessor(dict(inputs=dict(image=list(pixels))))['inputs'][
            'image'
        ]

    def _image_prefix(
        self, images: Sequence[ImageLike], read: dict[Any, Tensor | ImagePrefix]
    ) -> ImagePrefix:
        """Prefixes of images that were read, each of them encoded once."""
        keys = [key_of(image) for image in images]
        pixels: dict[Any, Tensor] = {}
        encoded: dict[Any, ImagePrefix] = {}
        for key in keys:
            found = read[key]
            if isinstance(found, Tensor):
                pixels[key] = found
            else:
                encoded[key] = found
        parts = [self.model.encode_image(self.normalised([*pixels.values()]))] if pixels else []
        parts += encoded.values()
        prefix = parts[0] if len(parts) == 1 else ImagePrefix.cat(parts)
        places = {key: i for i, key in enumerate([*pixels, *encoded])}
        return prefix.select([places[key] for key in keys])

    def _text_prefix(self, texts: Sequence[str]) -> TextPrefix:
        """Prefixes of texts, each of them encoded once."""
        places = {text: i for i, text in enumerate(dict.fromkeys(texts))}
        prefix = self.texts.get(
            self.model.backbone.text, tuple(places), lambda: self.model.encode_text(list(places))
        )
        return prefix.select([places[text] for text in texts])


def path_of(image: ImageLike) -> str | None:
    """The path that an image came from; None if it came as pixels."""
    if isinstance(image, EncodedImage):
        return image.path
    return str(image) if isinstance(image, Path) else None
