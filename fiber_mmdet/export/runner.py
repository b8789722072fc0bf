"""An exported detector for people: images and words in, boxes out, without torch and mmdet."""

from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from fiber_mmdet.apis.inputs import (
    ImageLike,
    OneOrMore,
    PromptLike,
    Query,
    list_images,
    read_query,
)
from fiber_mmdet.apis.results import SCORE_THR, GroundingResult
from fiber_mmdet.images import ImageError
from fiber_mmdet.text.descriptions import DescribedNames
from fiber_mmdet.text.positive_map import label_tokens
from fiber_mmdet.text.prompts import Prompt

from .detections import Detecting, Found
from .exported import DETECTOR, Manifest
from .image_input import Prepared
from .running import Arrays, Runner

LARGE_IMAGE = 50 * 84  # positions that are fused at a time, as in FIBERDetector
KEPT_PROMPTS = 8  # queries whose text prefixes are kept


class EncodedText(NamedTuple):
    """The prompts of one query after the text prefix.

    Attributes:
        parts: outputs of the program, (P, L, …) each.
        mask: (P, L) bool.
        label_tokens: of each prompt, the token positions of each label.
    """

    parts: Arrays
    mask: np.ndarray
    label_tokens: list[list[list[int]]]


class GroundingRunner(Runner):
    """Finds what words describe, with the programs that ``tools/export.py`` wrote.

    .. code-block:: python

        find = GroundingRunner('exported/')
        result = find('photo.jpg', 'a dog . a frisbee')

        find.set_image('photo.jpg')              # runs the image prefix once,
        find.ground('a dog'), find.ground('a frisbee')

        find.set_prompt(['dog', 'frisbee'])      # runs the text prefix once,
        results = find.detect('photos/')         # looks at any number of images

    The calls, prompts and results are those of :class:`~fiber_mmdet.apis.FIBERInferencer`.

    Args:
        folder, backend, threads, providers: see :class:`~.running.Runner`.
    """

    kind, otherwise = DETECTOR, 'use ImageTextRunner'

    def _set_up(self, manifest: Manifest) -> None:
        self.detecting = Detecting.read(manifest['detection'], f'{manifest.folder}: detection')
        self._image: tuple[str | None, Prepared, Arrays] | None = None
        self._prompt: Query | None = None
        self._text = lru_cache(KEPT_PROMPTS)(self._encode_text)

    def __call__(
        self,
        images: OneOrMore[ImageLike],
        prompt: PromptLike,
        score_thr: float = SCORE_THR,
        **prompt_kwargs: Any,
    ) -> OneOrMore[GroundingResult]:
        """Find a prompt in one or more images.

        Args:
            images: an image, a folder, or a list of them.
            prompt: what to look for; a list means category names.
            score_thr: least score of a detection.
            **prompt_kwargs: how to read it, see :func:`~fiber_mmdet.apis.inputs.read_query`.

        Returns:
            The result; for a folder or a list one result per image, in order.

        Raises:
            FileNotFoundError, ImageError: an image that cannot be read.
            PromptError: a prompt that cannot be read, or is too long.
        """
        return self._detect(images, self._read(prompt, prompt_kwargs), score_thr)

    def set_image(self, image: ImageLike) -> None:
        """Run the image prefix for any number of :meth:`ground` calls.

        Raises:
            FileNotFoundError, ImageError: it cannot be read; the image set before is kept.
        """
        images, single = list_images(image)
        if not single:
            raise ImageError('set_image takes a single image, not a folder or a list')
        self._image = self._encode(images[0])

    def ground(
        self, prompt: PromptLike, score_thr: float = SCORE_THR, **prompt_kwargs: Any
    ) -> GroundingResult:
        """Find a prompt in the image of :meth:`set_image`.

        Raises:
            RuntimeError: no image is set.
            PromptError: a prompt that cannot be read, or is too long.
        """
        if self._image is None:
            raise RuntimeError('no image is set: call set_image(image) before ground(prompt)')
        return self._find(self._image, self._read(prompt, prompt_kwargs), score_thr)

    def set_prompt(self, prompt: PromptLike, **prompt_kwargs: Any) -> None:
        """Run the text prefix for any number of :meth:`detect` calls.

        Raises:
            PromptError: it cannot be read, or is too long; the prompt set before is kept.
        """
        query = self._read(prompt, prompt_kwargs)
        self._text(query.passes)
        self._prompt = query

    def detect(
        self, images: OneOrMore[ImageLike], score_thr: float = SCORE_THR
    ) -> OneOrMore[GroundingResult]:
        """Find the prompt of :meth:`set_prompt` in one or more images.

        Raises:
            RuntimeError: no prompt is set.
            FileNotFoundError, ImageError: an image that cannot be read.
        """
        if self._prompt is None:
            raise RuntimeError('no prompt is set: call set_prompt(prompt) before detect(images)')
        return self._detect(images, self._prompt, score_thr)

    def reset(self) -> None:
        """Forget the image and the prompt that were set."""
        self._image = self._prompt = None

    # ------------------------------------------------------------------ text
    def _read(self, prompt: PromptLike, kwargs: dict) -> Query:
        described = kwargs.get('descriptions') is not None or isinstance(
            kwargs.get('caption_prompt'), DescribedNames
        )
        if kwargs.get('chunked_size') is None and not described:
            kwargs = dict(kwargs, chunked_size=self.detecting.chunked_size)
        return read_query(prompt, **kwargs, tokenizer=self.model.tokens)  # type: ignore[arg-type]

    def _encode_text(self, passes: tuple[Prompt, ...]) -> EncodedText:
        """The text prefix of some prompts."""
        tokens = self.model.tokens(passes)
        parts = self.model.run('text_prefix', ids=tokens.ids, mask=tokens.mask)
        # found by duck typing: ids, encodings and captions are all that is looked at
        labels = [label_tokens(tokens, i, p) for i, p in enumerate(passes)]  # type: ignore
        return EncodedText(parts, tokens.mask, labels)

    # ---------------------------------------------------------------- images
    def _encode(self, image: ImageLike) -> tuple[str | None, Prepared, Arrays]:
        """The path of an image, the image as prepared, and its prefix."""
        path = str(image) if isinstance(image, Path) else None
        return path, *self._image_prefix(image)

    def _detect(
        self, images: OneOrMore[ImageLike], query: Query, score_thr: float
    ) -> OneOrMore[GroundingResult]:
        listed, single = list_images(images)
        results = [self._find(self._encode(image), query, score_thr) for image in listed]
        return results[0] if single else results

    # ------------------------------------------------------------------ both
    def _find(
        self, image: tuple[str | None, Prepared, Arrays], query: Query, score_thr: float
    ) -> GroundingResult:
        path, prepared, prefix = image
        text = self._text(query.passes)
        step = self.detecting.pairs_per_pass or max(1, LARGE_IMAGE // positions(prefix))
        parts: list[Found] = []
        offset = 0
        for begin in range(0, len(query.passes), step):
            rows = slice(begin, begin + step)
            for found, prompt in zip(self._fuse(prepared, prefix, text, rows), query.passes[rows]):
                parts.append(Found(found.boxes, found.scores, found.labels + offset))
                offset += len(prompt.phrases)
        found = Found.joined(parts)
        return GroundingResult(
            boxes=found.boxes,
            scores=found.scores,
            labels=found.labels,
            phrases=query.prompt.phrases,
            spans=query.prompt.spans,
            caption=query.prompt.caption,
            image_size=prepared.size,
            image=path,
            inclusive=not self.detecting.exclusive_boxes,
        ).above(score_thr)

    def _fuse(
        self, prepared: Prepared, prefix: Arrays, text: EncodedText, rows: slice
    ) -> list[Found]:
        """Detections of an image under some of the prompts, those of a batch."""
        mask = text.mask[rows]
        length = int(mask.sum(1).max())
        pairs = repeated(prefix, len(mask))
        texts = {name: part[rows, :length] for name, part in text.parts.items()}
        out = self.model.run('tail', **pairs, **texts, mask=mask[:, :length])
        return [
            self.detecting.detections(
                out['token_logits'][i],
                out['boxes'][i],
                out['centerness'][i],
                labels,
                prepared.pixels.shape[-2:],
                prepared.resized,
                prepared.factors,
            )
            for i, labels in enumerate(text.label_tokens[rows])
        ]


def positions(prefix: Arrays) -> int:
    """Number of positions of an image where the towers meet."""
    return int(np.prod(prefix['image_tokens'].shape[1:3]))


def repeated(prefix: Arrays, times: int) -> Arrays:
    """The prefix of one image for several pairs."""
    return {
        name: np.ascontiguousarray(np.broadcast_to(part, (times, *part.shape[1:])))
        for name, part in prefix.items()
    }
