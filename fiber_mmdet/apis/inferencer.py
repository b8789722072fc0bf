"""The detector for people: images and words in, boxes and drawings out."""

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import torch
from mmengine.structures import InstanceData
from tqdm import tqdm

from fiber_mmdet.images import ImageError
from fiber_mmdet.models.backbone import ImagePrefix
from fiber_mmdet.models.detection import EncodedPrompts
from fiber_mmdet.text import DescribedNames

from .acceleration import autocast_of, compile_detector
from .encoded import EncodedImage
from .inputs import (
    ImageLike,
    OneOrMore,
    PromptLike,
    Query,
    list_images,
    read_image,
    read_query,
)
from .loading import ConfigLike, image_pipeline, load_detector
from .photo_warning import PhotoWarning
from .results import SCORE_THR, GroundingResult
from .unreadable import Unreadable

Images: TypeAlias = OneOrMore[ImageLike]
Results: TypeAlias = GroundingResult | list[GroundingResult | None]


class FIBERInferencer:
    """Finds what words describe.

    .. code-block:: python

        find = FIBERInferencer()                      # the small detector inside this package
        result = find('scene.png', 'a red circle . a blue star')
        result.draw(path='found.jpg')

        find.set_image('scene.png')                   # encode the image once,
        for prompt in ('a red circle', 'two stars'):  # ask as often as you like
            print(find.ground(prompt).names)

        find.set_prompt(['red circle', 'blue star'])  # encode the words once,
        results = find.detect('folder/')              # look at any number of images

    All ways give the same answer. An image is a path, a PIL image, or a uint8 **RGB** array of
    shape (H, W, 3); a folder or a list stands for many. The EXIF orientation is applied, even if
    the config's datasets ignore it. For prompts and their keyword arguments
    (``custom_entities``, ``tokens_positive``, ``phrases``, ``caption_prompt``, ``descriptions``,
    ``chunked_size``) see :func:`fiber_mmdet.apis.inputs.read_query`.

    Scores are those of FIBER, the square root of phrase score times centerness. Before the
    ``score_thr`` of a call, the config's ``test_cfg.score_thr`` is applied to the phrase score.

    Calls may come from several threads, but these share the image of :meth:`set_image` and the
    prompt of :meth:`set_prompt`: threads keep what :meth:`encode` returns, and give it as image.

    Args:
        config: path, mmengine config or dictionary; the name of a known model, ``'desco-fiber-b'``,
            which is downloaded and converted once (``python tools/weights.py list``); None for the
            packaged FIBER-mini.
        weights: checkpoint, ours or official, or its address (``fiber://NAME``, ``hf://…``, an
            URL). None takes those of the known model, the packaged ones or, with a config, its
            ``load_from``; ``'random'`` leaves the model untrained. Loading is strict.
        device: such as ``'cuda:0'``; None takes a GPU if there is one.
        tokenizer: directory or hub name of another tokenizer than the config's.
        show_progress: show a bar when there are several batches (in a terminal only).
        precision: ``'bfloat16'``, or ``'float16'`` on a GPU, is faster and finds slightly
            different boxes; see :func:`~.acceleration.autocast_of`.
        compile: compile the model with ``torch.compile``; see
            :func:`~.acceleration.compile_detector`.
        skip_unreadable: go on if an image of a folder or list cannot be read: its result is None,
            and the log lists all of these at the end. Otherwise the first ends the call with its
            error, as in mmdet.

    Raises:
        FileNotFoundError: no such config.
        ValueError: a config without a detector, weights that do not fit it or cannot be fetched, or
            a precision that the device lacks.
    """

    def __init__(
        self,
        config: ConfigLike | None = None,
        weights: str | Path | None = None,
        device: str | torch.device | None = None,
        tokenizer: str | None = None,
        show_progress: bool = True,
        *,
        precision: str | None = None,
        compile: bool = False,
        skip_unreadable: bool = False,
    ) -> None:
        self.model, self.config, used = load_detector(config, weights, device, tokenizer)
        self.warn_of_photos = PhotoWarning(used)
        self.autocast = autocast_of(precision, self.model.data_preprocessor.device)
        if compile:
            compile_detector(self.model)
        self.load, self.transform = image_pipeline(self.config)
        self.show_progress = show_progress
        self.skip_unreadable = skip_unreadable
        self._image: EncodedImage | None = None
        self._prompt: tuple[Query, EncodedPrompts] | None = None

    # ------------------------------------------------------- all at once
    def __call__(
        self,
        images: Images,
        prompt: PromptLike | None = None,
        score_thr: float = SCORE_THR,
        *,
        prompts: Sequence[PromptLike] | None = None,
        batch_size: int = 1,
        **prompt_kwargs: Any,
    ) -> Results:
        """Find a prompt in one or more images.

        Args:
            images: an image, a folder, or a list of them.
            prompt: what to look for in all of them. A list means category names.
            score_thr: least score of a detection; 0.5 if not given, as in ``tools/demo.py``.
            prompts: instead of ``prompt``, one prompt per image.
            batch_size: images in a batch. Only consecutive images of one size, as resized for the
                model, share a batch, because padding would change what is found.
            **prompt_kwargs: how to read the prompt, see :func:`~.inputs.read_query`.

        Returns:
            The result; for a folder or a list one result per image, in order (a folder by file
            name), None for those that ``skip_unreadable`` left out.

        Raises:
            FileNotFoundError: a path leads nowhere.
            ImageError: an image that cannot be read; the message names it.
            PromptError: a prompt that cannot be read, or is too long.
            ValueError: both or none of ``prompt`` and ``prompts``, or not one prompt per image.
        """
        if (prompt is None) == (prompts is None):
            raise ValueError('give either one `prompt` for all images or `prompts`, one per image')
        images, single = list_images(images)
        if prompt is not None:
            asked = self._one_prompt(*self._encode_prompt(prompt, prompt_kwargs))
        else:
            assert prompts is not None
            prompts = prompts if isinstance(prompts, str) else list(prompts)
            if isinstance(prompts, str) or len(prompts) != len(images):
                raise ValueError(f'prompts must be a list of {len(images)}, one prompt per image')
            queries = [self._read(text, prompt_kwargs) for text in prompts]

            def asked(begin: int, end: int) -> tuple[list[Query], EncodedPrompts]:
                batch = queries[begin:end]
                with torch.no_grad(), self.autocast():
                    return batch, self.model.encode_prompts([query.passes for query in batch])

        results: list = list(self._run(images, asked, score_thr, batch_size, single))
        return results[0] if single else results

    # ------------------------------------------- one image, many prompts
    def set_image(self, image: ImageLike) -> None:
        """Encode an image for any number of :meth:`ground` calls.

        Args:
            image: a path, PIL image or RGB array.

        Raises:
            FileNotFoundError, ImageError: it cannot be read, or is not a single image; the image
                set before is kept.
        """
        self._image = self.encode(image)

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
        loaded = self._prepare(images[0])
        prefix, metas = self._encode_images([loaded])
        return EncodedImage(prefix, self.model, loaded['path'], loaded['size'], metas[0])

    def ground(
        self, prompt: PromptLike, score_thr: float = SCORE_THR, **prompt_kwargs: Any
    ) -> GroundingResult:
        """Find a prompt in the image of :meth:`set_image`; see :meth:`__call__`.

        Raises:
            RuntimeError: no image is set.
            PromptError: a prompt that cannot be read, or is too long.
        """
        if self._image is None:
            raise RuntimeError('no image is set: call set_image(image) before ground(prompt)')
        query, text = self._encode_prompt(prompt, prompt_kwargs)
        loaded = [self._prepare(self._image)]
        return self._fuse(loaded, self._encode_images(loaded), [query], text, score_thr)[0]

    # ------------------------------------------- one prompt, many images
    def set_prompt(self, prompt: PromptLike, **prompt_kwargs: Any) -> None:
        """Encode a prompt for any number of :meth:`detect` calls.

        Args:
            prompt: what to look for.
            **prompt_kwargs: how to read it, see :func:`~.inputs.read_query`.

        Raises:
            PromptError: it cannot be read, or is too long; the prompt set before is kept.
        """
        self._prompt = self._encode_prompt(prompt, prompt_kwargs)

    def detect(self, images: Images, score_thr: float = SCORE_THR, batch_size: int = 1) -> Results:
        """Find the prompt of :meth:`set_prompt` in one or more images; see :meth:`__call__`.

        Raises:
            RuntimeError: no prompt is set.
            FileNotFoundError, ImageError: an image that cannot be read.
        """
        images, single = list_images(images)
        results: list = list(self._with_prompt(images, single, score_thr, batch_size))
        return results[0] if single else results

    def stream(
        self, images: Images, score_thr: float = SCORE_THR, batch_size: int = 1
    ) -> Iterator[GroundingResult | None]:
        """The results of :meth:`detect`, each as soon as it is there, for any number of images.

        For example ``save_results(find.stream('photos/'), 'found.csv')`` keeps no more than a
        batch in memory.

        Raises:
            RuntimeError: no prompt is set.
            FileNotFoundError, ImageError: an image that cannot be read.
        """
        return self._with_prompt(*list_images(images), score_thr, batch_size)

    def _with_prompt(
        self, images: Sequence[ImageLike], single: bool, score_thr: float, batch_size: int
    ) -> Iterator[GroundingResult | None]:
        if self._prompt is None:
            raise RuntimeError('no prompt is set: call set_prompt(prompt) before detect(images)')
        return self._run(images, self._one_prompt(*self._prompt), score_thr, batch_size, single)

    @property
    def prompt(self) -> Query | None:
        """The prompt of :meth:`set_prompt`, as it was read; None if none is set."""
        return None if self._prompt is None else self._prompt[0]

    def reset(self) -> None:
        """Forget the image and the prompt that were set."""
        self._image = self._prompt = None

    # -------------------------------------------------------------- text
    def _read(self, prompt: PromptLike, kwargs: dict) -> Query:
        described = kwargs.get('descriptions') is not None or isinstance(
            kwargs.get('caption_prompt'), DescribedNames
        )
        if kwargs.get('chunked_size') is None and not described:
            size = (self.model.test_cfg or {}).get('chunked_size', -1)
            kwargs = dict(kwargs, chunked_size=size)
        if kwargs.get('descriptions') is not None:
            kwargs = dict(kwargs, tokenizer=self.model.tokenizer)
        return read_query(prompt, **kwargs)

    def _encode_prompt(self, prompt: PromptLike, kwargs: dict) -> tuple[Query, EncodedPrompts]:
        query = self._read(prompt, kwargs)
        with torch.no_grad(), self.autocast():
            return query, self.model.encode_prompts([query.passes])

    @staticmethod
    def _one_prompt(query: Query, text: EncodedPrompts) -> Callable:
        """The same prompt for any images ``begin`` to ``end``."""
        return lambda begin, end: ([query] * (end - begin), text.repeat(end - begin))

    # ------------------------------------------------------------ images
    def _prepare(self, image: ImageLike) -> dict:
        """One image as loaded and transformed: ``inputs``, ``data_samples``, ``path``, ``size``.

        Of an encoded one ``prefix``, ``meta``, ``path`` and ``size``. Images of one ``shape`` share
        a batch.
        """
        if isinstance(image, EncodedImage):
            prefix = image.of(self.model)
            shape = 'encoded', *prefix.tokens.shape
            return dict(
                prefix=prefix, meta=image.meta, path=image.path, size=image.size, shape=shape
            )
        path = str(image) if isinstance(image, Path) else None
        # mmdet's transforms and preprocessors expect the order of OpenCV
        loaded = self.load(dict(img=np.ascontiguousarray(read_image(image)[..., ::-1])))
        size = tuple(loaded['ori_shape'])
        found = self.transform(loaded)
        self.warn_of_photos(found['inputs'])
        return dict(found, path=path, size=size, shape=tuple(found['inputs'].shape))

    def _batches(
        self, images: Sequence[ImageLike], batch_size: int, unreadable: Unreadable
    ) -> Iterator[tuple[int, list[dict]]]:
        """Consecutive images of one input size, at most ``batch_size``, and where they begin."""
        batch: list[dict] = []
        for number, image in enumerate(images):
            loaded = None
            with unreadable.reading(image):
                loaded = self._prepare(image)
            if batch and (
                loaded is None or len(batch) >= batch_size or loaded['shape'] != batch[0]['shape']
            ):
                yield number - len(batch), batch
                batch = []
            if loaded is not None:
                batch.append(loaded)
        if batch:
            yield len(images) - len(batch), batch

    def _encode_images(self, loaded: Sequence[dict]) -> tuple[ImagePrefix, list[dict]]:
        """The image prefix of a batch, and the meta information of its images."""
        if 'prefix' in loaded[0]:
            prefixes = [item['prefix'] for item in loaded]
            prefix = prefixes[0] if len(prefixes) == 1 else ImagePrefix.cat(prefixes)
            return prefix, [item['meta'] for item in loaded]
        data = self.model.data_preprocessor(
            dict(
                inputs=[item['inputs'] for item in loaded],
                data_samples=[item['data_samples'] for item in loaded],
            ),
            False,
        )
        with torch.no_grad(), self.autocast():
            prefix = self.model.backbone.encode_image(data['inputs'])
        return prefix, [sample.metainfo for sample in data['data_samples']]

    # -------------------------------------------------------------- both
    def _run(
        self,
        images: Sequence[ImageLike],
        asked: Callable,
        score_thr: float,
        batch_size: int,
        single: bool,
    ) -> Iterator[GroundingResult | None]:
        """Results of all images in order; ``asked(begin, end)`` gives the prompts of a batch."""
        unreadable = Unreadable(self.skip_unreadable and not single)
        silent = not self.show_progress or len(images) <= batch_size
        done = 0
        # disable=None leaves the bar out where no one watches: logs, pipes, tests
        with tqdm(total=len(images), unit='image', disable=True if silent else None) as bar:
            for begin, batch in self._batches(images, batch_size, unreadable):
                end = begin + len(batch)
                queries, text = asked(begin, end)
                encoded = self._encode_images(batch)
                yield from [None] * (begin - done)
                yield from self._fuse(batch, encoded, queries, text, score_thr)
                done = end
                bar.update(end - bar.n)
        yield from [None] * (len(images) - done)
        unreadable.report(len(images))

    def _fuse(
        self,
        loaded: Sequence[dict],
        encoded: tuple[ImagePrefix, list[dict]],
        queries: Sequence[Query],
        text: EncodedPrompts,
        score_thr: float,
    ) -> list[GroundingResult]:
        with torch.no_grad(), self.autocast():
            found = self.model.ground(encoded[0], text, encoded[1])
        inclusive = not self.model.bbox_head.test_cfg.get('exclusive_boxes', False)
        return [
            _as_result(*answer, inclusive).above(score_thr)
            for answer in zip(found, queries, loaded)
        ]


def _as_result(found: InstanceData, query: Query, loaded: dict, inclusive: bool) -> GroundingResult:
    return GroundingResult(
        boxes=found.bboxes.float().cpu().numpy(),
        scores=found.scores.float().cpu().numpy(),
        labels=found.labels.cpu().numpy(),
        phrases=query.prompt.phrases,
        spans=query.prompt.spans,
        caption=query.prompt.caption,
        image_size=loaded['size'],
        image=loaded['path'],
        inclusive=inclusive,
    )
