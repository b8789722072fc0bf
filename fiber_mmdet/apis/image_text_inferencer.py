"""The image-text model for people: questions, statements, captions, matches and retrieval."""

from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import TypeVar, overload

import numpy as np
import torch
from torch import Tensor

from fiber_mmdet.images import ImageError
from fiber_mmdet.models.image_text.heads import CaptionHead, ITCHead, ITMHead, NLVR2Head, VQAHead
from fiber_mmdet.models.prompt_cache import PromptCache
from fiber_mmdet.search.index_files import MANIFEST

from .attention_maps import AttentionMaps, PhraseLike, attention_maps, find_phrases
from .attention_weights import FusedStep, record_fusion
from .encoded import EncodedImage
from .image_collection import Hit, ImageCollection
from .image_index import ImageIndex
from .image_text_loading import (
    AnswersLike,
    ViewReader,
    find_answers,
    load_image_text_model,
    need_head,
)
from .image_text_running import ImageTextRunner, path_of
from .inputs import ImageLike, OneOrMore, list_images, list_texts
from .loading import ConfigLike, LoadingError
from .photo_warning import PhotoWarning
from .results import Answer, Verdict
from .unreadable import Unreadable, key_of

T = TypeVar('T')


class ImageTextInferencer(ImageTextRunner):
    """Asks an image-text model about images.

    .. code-block:: python

        ask = ImageTextInferencer()                         # the small model inside this package
        ask.answer('scene.png', 'what color is the star?')  # Answer('yellow', 0.93)
        ask.answer('scene.png', ['how many rings are there?', 'where is the star?'])  # a list

        ask = ImageTextInferencer('configs/vqa/fiber_swin-b_8xb8-10e_vqav2.py', 'vqa.pth')
        ask.answer('photo.jpg', 'what is the man holding?')

    Which questions it answers depends on its heads: :meth:`answer` (VQA), :meth:`judge` (NLVR2),
    :meth:`caption`, :meth:`match` (ITM), :meth:`embed_images`, :meth:`embed_texts`,
    :meth:`retrieve` and :meth:`describe` (ITC, ITM); :meth:`attention` needs none. If the model
    lacks a head, the error names a config that has it.

    An image is a path, a PIL image, or a uint8 **RGB** array of shape (H, W, 3); a folder or a
    list stands for many. Where a method takes images and texts, a single one goes with all of the
    others, and lists of equal length go in pairs; the result is single where all of them are.
    What :meth:`encode` returns stands for its image in any number of calls.
    Images are prepared as in the config's test dataset, so that predictions are those of
    ``tools/test.py``; texts of more tokens than the model reads are cut, as there.

    Args:
        config: path, mmengine config or dictionary; the name of a known model (``python
            tools/weights.py list``); None for the packaged FIBER-mini with image-text heads, which
            has all of those below and knows generated scenes only.
        weights: checkpoint, ours or official, or its address (``fiber://NAME``, ``hf://…``, an
            URL); None for those of the known model, the packaged ones or, with a config, its
            ``load_from``; ``'random'`` leaves the model untrained. Loading is strict.
        device: such as ``'cuda:0'``; None takes a GPU if there is one.
        tokenizer: directory or hub name of another tokenizer than the config's.
        answers: what the classes of a VQA model stand for: a list, or a json file; None for that
            of the checkpoint, or else the ``answer_file`` of the config's dataset.
        upright: apply the EXIF orientation, even if the config's datasets ignore it, as the
            reference does.
        batch_size: images or pairs in a batch.
        show_progress: show a bar when there are several batches (in a terminal only).
        skip_unreadable: go on if an image of a folder or list cannot be read, and list all of
            these in the log at the end: results are None, features not numbers (NaN), and
            retrieval does not find them. Otherwise the first ends the call with its error.

    Raises:
        FileNotFoundError: no such config.
        ValueError: a config without an image-text model, or weights that do not fit it.
    """

    def __init__(
        self,
        config: ConfigLike | None = None,
        weights: str | Path | None = None,
        device: str | torch.device | None = None,
        tokenizer: str | None = None,
        answers: AnswersLike | None = None,
        upright: bool = True,
        batch_size: int = 16,
        show_progress: bool = True,
        skip_unreadable: bool = False,
    ) -> None:
        self.model, self.config, self.weights = load_image_text_model(
            config, weights, device, tokenizer
        )
        self.read = ViewReader(self.config, upright)
        self.warn_of_photos = PhotoWarning(self.weights)
        self.texts = PromptCache()
        self.batch_size = batch_size
        self.show_progress = show_progress
        self.skip_unreadable = skip_unreadable
        self._given_answers = answers

    # ---------------------------------------------------------- one head each
    def answer(self, image: OneOrMore[ImageLike], question: OneOrMore[str]) -> OneOrMore[Answer]:
        """Answer questions about images.

        Args:
            image: an image, a folder, or a list of them.
            question: a question, or a list.

        Returns:
            The most likely of the answers that the model knows, and its score (a sigmoid: the
            scores of all answers do not sum to 1).

        Raises:
            MissingHead: the model has no VQA head.
            LoadingError, FileNotFoundError: no list says what its classes stand for.
            FileNotFoundError, ImageError: an image that cannot be read.
        """
        head, names = need_head(self.model, VQAHead, 'answering questions'), self.answers

        def named(found: dict) -> Answer:
            number = found['pred_answer']
            if number >= len(names):
                raise LoadingError(
                    f'class {number} is predicted, but the list of answers has '
                    f'{len(names)}: pass the list the model was trained with'
                )
            return Answer(names[number], found['pred_answer_score'])

        return self._predict(head, dict(image=image), question, named)

    @cached_property
    def answers(self) -> list[str]:
        """What the classes of a VQA model stand for, read at first use.

        Raises:
            MissingHead: the model has no VQA head.
            LoadingError, FileNotFoundError: no list is known, or it is longer than the classes.
        """
        size = need_head(self.model, VQAHead, 'a list of answers').num_answers
        found = find_answers(self.config, self.weights, self._given_answers)
        if len(found) > size:
            raise LoadingError(
                f'the list has {len(found)} answers, the model {size} classes: pass '
                'the list the model was trained with'
            )
        return found

    def judge(
        self, left: OneOrMore[ImageLike], right: OneOrMore[ImageLike], statement: OneOrMore[str]
    ) -> OneOrMore[Verdict]:
        """Judge statements about two images.

        Args:
            left: an image, a folder, or a list of them.
            right: the same.
            statement: a statement such as "both images have a dog", or a list.

        Raises:
            MissingHead: the model has no NLVR2 head.
            FileNotFoundError, ImageError: an image that cannot be read.
        """
        head = need_head(self.model, NLVR2Head, 'judging statements')
        return self._predict(
            head,
            dict(image=left, image_1=right),
            statement,
            lambda found: Verdict(bool(found['pred_label']), float(found['pred_scores'][1])),
        )

    def caption(self, image: OneOrMore[ImageLike]) -> OneOrMore[str]:
        """Describe images in words, as ``decoding`` of the config's head says.

        Args:
            image: an image, a folder, or a list of them.

        Raises:
            MissingHead: the model has no caption head.
            FileNotFoundError, ImageError: an image that cannot be read.
        """
        head = need_head(self.model, CaptionHead, 'captioning')
        return self._predict(head, dict(image=image), None, lambda found: found['pred_caption'])

    def match(self, image: OneOrMore[ImageLike], text: OneOrMore[str]) -> OneOrMore[float]:
        """The probability that image and text belong together.

        Args:
            image: an image, a folder, or a list of them.
            text: a text, or a list.

        Raises:
            MissingHead: the model has no ITM head.
            FileNotFoundError, ImageError: an image that cannot be read.
        """
        head = need_head(self.model, ITMHead, 'matching')
        return self._predict(head, dict(image=image), text, lambda found: found['pred_match'])

    # -------------------------------------------------------------- retrieval
    def embed_images(self, image: OneOrMore[ImageLike]) -> np.ndarray:
        """Features of images alone, of length 1, comparable with those of texts.

        Args:
            image: an image, a folder, or a list of them.

        Returns:
            (N, dim) float32; (dim,) for a single image.

        Raises:
            MissingHead: the model has no ITC head.
            FileNotFoundError, ImageError: an image that cannot be read.
        """
        need_head(self.model, ITCHead, 'embed_images')
        images, single = list_images(image)
        unreadable = Unreadable(self.skip_unreadable and not single)
        numbers: list[int] = []

        def encode(rows: slice) -> np.ndarray | None:
            read = self._read(images[rows], unreadable)
            kept = [i for i in range(rows.start, rows.stop) if key_of(images[i]) in read]
            if not kept:
                return None
            numbers.extend(kept)
            prefix = self._image_prefix([images[i] for i in kept], read)
            return self.model.image_features(prefix).cpu().numpy()

        parts = [part for part in self._in_batches(len(images), encode) if part is not None]
        unreadable.report(len(images))
        _need_some(parts, images)
        found = np.concatenate(parts)
        features = np.full((len(images), found.shape[1]), np.nan, found.dtype)
        features[numbers] = found
        return features[0] if single else features

    def embed_texts(self, text: OneOrMore[str]) -> np.ndarray:
        """Features of texts alone, of length 1, comparable with those of images.

        Args:
            text: a text, or a list.

        Returns:
            (N, dim) float32; (dim,) for a single text.

        Raises:
            MissingHead: the model has no ITC head.
        """
        need_head(self.model, ITCHead, 'embed_texts')
        texts, single = list_texts(text)
        features = self._in_batches(
            len(texts), lambda rows: self.model.text_features(self._text_prefix(texts[rows]))
        )
        features = np.concatenate([part.cpu().numpy() for part in features])
        return features[0] if single else features

    @overload
    def collect(
        self, images: OneOrMore[ImageLike], rerank: bool = True, index: None = None
    ) -> ImageCollection: ...

    @overload
    def collect(
        self,
        images: OneOrMore[ImageLike] | None = None,
        rerank: bool = True,
        *,
        index: str | Path,
    ) -> ImageIndex: ...

    def collect(
        self,
        images: OneOrMore[ImageLike] | None = None,
        rerank: bool = True,
        index: str | Path | None = None,
    ) -> ImageCollection | ImageIndex:
        """Encode images for any number of :meth:`retrieve` and :meth:`describe` calls.

        Args:
            images: an image, a folder, or a list of them; None opens the index.
            rerank: keep what ``rerank=True`` needs, if the model has an ITM head. An index does
                not keep it, unless :meth:`ImageIndex.build` was told to, and reads the nearest
                images again.
            index: folder in which what is encoded stays, for :meth:`retrieve` in later programs
                and among millions. If it is there, what is missing is added.

        Returns:
            A collection in memory; the index if there is one.

        Raises:
            MissingHead: the model has neither an ITC nor an ITM head; with an index, no ITC head.
            FileNotFoundError, ImageError: an image that cannot be read, or that is encoded.
            ImageIndexError, MissingExtra: see :class:`ImageIndex`.
        """
        if images is None:
            if index is None:
                raise ImageError('collect images, or open an index of them')
            return ImageIndex.open(index, self)
        if index is not None:
            if not (Path(index).expanduser() / MANIFEST).is_file():
                return ImageIndex.build(index, self, images)
            opened = ImageIndex.open(index, self)
            opened.add(images)
            return opened
        images, single = list_images(images)
        if any(isinstance(image, EncodedImage) for image in images):
            raise ImageError('a collection encodes its images itself: pass the images')
        unreadable = Unreadable(self.skip_unreadable and not single)
        numbers: list[int] = []

        def pixels(rows: slice) -> Tensor | None:
            read = self._read(images[rows], unreadable)
            kept = [i for i in range(rows.start, rows.stop) if key_of(images[i]) in read]
            numbers.extend(kept)
            found = [read[key_of(images[i])] for i in kept]
            tensors = [one for one in found if isinstance(one, Tensor)]  # all: none is encoded
            return self.normalised(tensors) if kept else None

        parts = self._in_batches(len(images), pixels)
        batches = (part for part in parts if part is not None)
        collection = ImageCollection(self.model, images, batches, rerank, numbers)
        unreadable.report(len(images))
        _need_some(numbers, images)
        return collection

    def retrieve(
        self,
        query: OneOrMore[str],
        images: OneOrMore[ImageLike] | ImageCollection | ImageIndex,
        k: int = 5,
        rerank: bool = False,
        candidates: int | None = None,
    ) -> OneOrMore[list[Hit]]:
        """Find the images that a text describes.

        Args:
            query: a text, or a list.
            images: where to look: a folder, a list, or what :meth:`collect` returned.
            k: how many to return, best first.
            rerank: order by matching (ITM), which fuses each pair, instead of by contrast (ITC),
                which compares a vector of each.
            candidates: how many images, the nearest by contrast, are matched; 4 * k if None. A
                model without an ITC head matches all of them.

        Returns:
            Up to ``k`` hits; a list of these for a list of texts.

        Raises:
            MissingHead: the model lacks ITC (without ``rerank``) or ITM (with it).
            ValueError: ``rerank`` of a collection made without it.
            FileNotFoundError, ImageError: an image that cannot be read.
        """
        texts, single = list_texts(query)
        if not isinstance(images, (ImageCollection, ImageIndex)):
            images = self.collect(images, rerank)
        found = images.retrieve(texts, k, rerank, candidates)
        return found[0] if single else found

    def describe(
        self,
        image: OneOrMore[ImageLike] | ImageCollection,
        texts: Sequence[str],
        k: int | None = None,
        rerank: bool = False,
        candidates: int | None = None,
    ) -> OneOrMore[list[Hit]]:
        """Find the texts that describe an image.

        Args:
            image: an image, a folder, a list, or what :meth:`collect` returned.
            texts: to choose from.
            k: how many to return, best first; None for all.
            rerank: see :meth:`retrieve`.
            candidates: how many texts are matched; see :meth:`retrieve`.

        Returns:
            Up to ``k`` hits; a list of these if several images were given.

        Raises:
            MissingHead, ValueError: see :meth:`retrieve`.
            FileNotFoundError, ImageError: an image that cannot be read.
        """
        texts, _ = list_texts(texts)
        if isinstance(image, ImageIndex):
            raise ValueError('an index finds images for texts: pass the images to describe')
        single = not isinstance(image, ImageCollection) and list_images(image)[1]
        if not isinstance(image, ImageCollection):
            image = self.collect(image, rerank)
        found: list = image.describe(texts, len(texts) if k is None else k, rerank, candidates)
        return found[0] if single else found

    # -------------------------------------------------------------- attention
    @torch.no_grad()
    def attention(
        self,
        image: ImageLike,
        text: str,
        phrase: OneOrMore[PhraseLike] | None = None,
        layer: int | None = None,
        head: int | None = None,
    ) -> AttentionMaps:
        """Where phrases look in an image, and which of them its cells read.

        These are the weights of the fused pair, as for questions, statements and matching.
        Captions are generated differently: word by word, from an image that attends to no text.

        Args:
            image: a single image.
            text: a text.
            phrase: words of the text, or their characters (begin, end), or a list of these; None
                for each word.
            layer: number of a fused layer, from 0; None for the mean of all.
            head: number of an attention head; None for the mean of all.

        Raises:
            ValueError: several images; a phrase that is not in the text, or was cut off; no such
                layer or head.
            FileNotFoundError, ImageError: an image that cannot be read.
        """
        images, single = list_images(image)
        if not single:
            raise ValueError('attention looks at a single image')
        phrases = find_phrases(self.model.tokenizer([text], truncate=True), phrase)
        return attention_maps(
            self.attention_weights(images[0], text),
            text,
            phrases,
            layer,
            head,
            path_of(images[0]),
        )

    @torch.no_grad()
    def attention_weights(self, image: ImageLike, text: str) -> list[FusedStep]:
        """The weights of every fused step and head, see :class:`FusedStep`.

        Args:
            image: a single image.
            text: a text.

        Raises:
            FileNotFoundError, ImageError: an image that cannot be read.
        """
        read = self._read([image], Unreadable(False))
        return record_fusion(
            self.model.backbone, self._image_prefix([image], read), self._text_prefix([text])
        )


def _need_some(found: Sequence, images: Sequence[ImageLike]) -> None:
    if not found:
        raise ImageError(f'none of the {len(images)} images can be read; the log lists why')
