"""An exported image-text model for people: questions, statements, captions and matching."""

from collections.abc import Callable, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from fiber_mmdet.apis.inputs import (
    ImageLike,
    OneOrMore,
    align,
    list_images,
    list_texts,
)
from fiber_mmdet.apis.results import Answer, Verdict

from .detections import sigmoid
from .exported import IMAGE_TEXT, ExportedError, Manifest
from .generation import BeamSearch
from .running import Arrays, Runner

T = TypeVar('T')
KEPT = 16  # images and texts whose prefixes are kept


class ImageTextRunner(Runner):
    """Asks an exported image-text model about images.

    .. code-block:: python

        ask = ImageTextRunner('exported/')
        ask.answer('photo.jpg', ['what is the man holding?', 'is it sunny?'])

    The calls and results are those of :class:`~fiber_mmdet.apis.ImageTextInferencer`. Prefixes of
    the images and texts that were used last are kept, so that a further question about an image
    costs only the fused blocks.

    Args:
        folder, backend, threads, providers: see :class:`~.running.Runner`.
    """

    kind, otherwise = IMAGE_TEXT, 'use GroundingRunner'

    def _set_up(self, manifest: Manifest) -> None:
        self.heads: dict[str, Any] = manifest['heads']
        self._text = lru_cache(KEPT)(self._encode_text)
        self._kept_image = lru_cache(KEPT)(self._encode_image)

    def answer(self, image: OneOrMore[ImageLike], question: OneOrMore[str]) -> OneOrMore[Answer]:
        """Answer questions about images.

        Args:
            image: an image, a folder, or a list of them.
            question: a question, or a list.

        Returns:
            The most likely of the answers that the model knows, and its score.

        Raises:
            ExportedError: the model has no VQA head.
            FileNotFoundError, ImageError: an image that cannot be read.
        """
        answers = self._head('vqa', 'answering questions')['answers']

        def named(out: Arrays) -> Answer:
            best = int(out['vqa_logits'][0].argmax())
            return Answer(answers[best], float(sigmoid(out['vqa_logits'][0, best])))

        return self._each(
            dict(image=image), question, lambda i, t: named(self._fuse(i['image'], t))
        )

    def match(self, image: OneOrMore[ImageLike], text: OneOrMore[str]) -> OneOrMore[float]:
        """The probability that image and text belong together.

        Args:
            image: an image, a folder, or a list of them.
            text: a text, or a list.

        Raises:
            ExportedError: the model has no ITM head.
            FileNotFoundError, ImageError: an image that cannot be read.
        """
        self._head('itm', 'matching')

        def matched(images: dict[str, ImageLike], text: str) -> float:
            return float(softmax(self._fuse(images['image'], text)['itm_logits'][0])[1])

        return self._each(dict(image=image), text, matched)

    def judge(
        self, left: OneOrMore[ImageLike], right: OneOrMore[ImageLike], statement: OneOrMore[str]
    ) -> OneOrMore[Verdict]:
        """Judge statements about two images.

        Args:
            left: an image, a folder, or a list of them.
            right: the same.
            statement: a statement, or a list.

        Raises:
            ExportedError: the model has no NLVR2 head.
            FileNotFoundError, ImageError: an image that cannot be read.
        """
        self._head('nlvr2', 'judging statements')

        def judged(images: dict[str, ImageLike], text: str) -> Verdict:
            pooled = {side: self._fuse(image, text)['pooled'] for side, image in images.items()}
            scores = softmax(self.model.run('judging', **pooled)['nlvr2_logits'][0])
            return Verdict(bool(scores.argmax()), float(scores[1]))

        return self._each(dict(left=left, right=right), statement, judged)

    def embed_images(self, image: OneOrMore[ImageLike]) -> np.ndarray:
        """Features of images alone, of length 1: (N, dim) float32; (dim,) for a single image.

        Raises:
            ExportedError: the model has no ITC head.
            FileNotFoundError, ImageError: an image that cannot be read.
        """
        self._head('itc', 'embed_images')
        images, single = list_images(image)
        rows = [self.model.run('image_features', **self._image(one))['features'] for one in images]
        return rows[0][0] if single else np.concatenate(rows)

    def embed_texts(self, text: OneOrMore[str]) -> np.ndarray:
        """Features of texts alone, of length 1: (N, dim) float32; (dim,) for a single text.

        Raises:
            ExportedError: the model has no ITC head.
        """
        self._head('itc', 'embed_texts')
        texts, single = list_texts(text)
        rows = [self.model.run('text_features', **self._text(one))['features'] for one in texts]
        return rows[0][0] if single else np.concatenate(rows)

    def caption(self, image: OneOrMore[ImageLike]) -> OneOrMore[str]:
        """Describe images in words, by the beam search of the model's config.

        Args:
            image: an image, a folder, or a list of them.

        Raises:
            ExportedError: the model has no caption head.
            FileNotFoundError, ImageError: an image that cannot be read.
        """
        search = BeamSearch.read(self._head('caption', 'captioning'), 'heads: caption')
        tokens = self.model.tokens

        def described(images: dict[str, ImageLike], _: str) -> str:
            states = self.model.run('caption_states', **self._image(images['image']))['states']

            def step(ids: np.ndarray) -> np.ndarray:
                rows = np.ascontiguousarray(np.broadcast_to(states, (len(ids), *states.shape[1:])))
                return self.model.run('caption_step', states=rows, ids=ids)['word_logits']

            found = search(step, tokens.start_id, tokens.end_id, tokens.pad_id)
            return tokens.text(found.tolist())

        return self._each(dict(image=image), None, described)

    # ---------------------------------------------------------------- running
    def _head(self, name: str, purpose: str) -> dict[str, Any]:
        found = self.heads.get(name)
        if found is None:
            raise ExportedError(
                f'{purpose} needs the head {name!r}, but the exported model has only '
                f'{", ".join(self.heads)}: export a model that has it'
            )
        return found

    def _each(
        self,
        views: dict[str, Any],
        text: OneOrMore[str] | None,
        run: Callable[[dict[str, ImageLike], str], T],
    ) -> OneOrMore[T]:
        """``run`` of images and texts that belong together, one after the other."""
        given: dict[str, tuple[list, bool]]
        given = {name: list_images(images) for name, images in views.items()}
        if text is not None:
            given['text'] = list_texts(text)
        columns, single = align(given)
        count = len(next(iter(columns.values())))
        texts: Sequence[str] = columns.get('text', [''] * count)
        results = [run({name: columns[name][i] for name in views}, texts[i]) for i in range(count)]
        return results[0] if single else results

    def _image(self, image: ImageLike) -> Arrays:
        """The prefix of an image; those of files are kept while these stay as they are."""
        if not isinstance(image, Path):
            return self._encode_image(image)
        stat = image.stat()
        return self._kept_image(image, stat.st_mtime_ns, stat.st_size)

    def _encode_image(self, image: ImageLike, *state: int) -> Arrays:
        """The prefix of an image; ``state`` tells versions of a file apart."""
        return self._image_prefix(image)[1]

    def _encode_text(self, text: str) -> Arrays:
        """The prefix of a text and its mask."""
        tokens = self.model.tokens([text], truncate=True)
        parts = self.model.run('text_prefix', ids=tokens.ids, mask=tokens.mask)
        return dict(parts, mask=tokens.mask)

    def _fuse(self, image: ImageLike, text: str) -> Arrays:
        return self.model.run('tail', **self._image(image), **self._text(text))


def softmax(x: np.ndarray) -> np.ndarray:
    """Along the last dimension."""
    small = np.exp(x - x.max(-1, keepdims=True))
    return small / small.sum(-1, keepdims=True)
