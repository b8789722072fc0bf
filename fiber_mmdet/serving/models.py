"""The models of a server: each image and each prompt is encoded once, whoever asks."""

import json
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass
from time import perf_counter
from typing import Any, NamedTuple, TypeVar

import torch

from fiber_mmdet.apis import AttentionMaps, FIBERInferencer, GroundingResult, ImageTextInferencer
from fiber_mmdet.apis.encoded import EncodedImage
from fiber_mmdet.apis.image_text_loading import head_of
from fiber_mmdet.apis.photo_warning import looks_like_photo
from fiber_mmdet.apis.results import SCORE_THR
from fiber_mmdet.models.image_text.heads import CaptionHead, ITMHead, VQAHead

from .kept import Kept
from .limits import Limits, NotServed, RequestError, Turns
from .sent_images import SentImage, read_sent

T = TypeVar('T')
Inferencer = FIBERInferencer | ImageTextInferencer

# What people call the tasks, and the head of an image-text model that each needs.
TASKS = dict(
    find='finding what words describe',
    ask='answering questions',
    caption='captions',
    match='matching texts',
    attention='attention',
)
HEADS = dict(ask=VQAHead, caption=CaptionHead, match=ITMHead)


class Times(NamedTuple):
    """Seconds that an answer took; None for what was kept from an earlier request."""

    image: float | None
    prompt: float | None

    def __str__(self) -> str:
        """Such as "image 812 ms, prompt 95 ms" or "image kept, prompt 95 ms"."""
        return ', '.join(
            f'{name} kept' if seconds is None else f'{name} {1000 * seconds:.0f} ms'
            for name, seconds in zip(self._fields, self)
        )


@dataclass(frozen=True)
class NamedModel:
    """An inferencer and what people know of it.

    Attributes:
        inferencer: the inferencer.
        name: of the model.
        packaged: whether it is one of those inside this package, which know generated scenes only.
    """

    inferencer: Any
    name: str
    packaged: bool = False


class ServedModels:
    """A detector, an image-text model or both, behind limits. Any number of threads may ask.

    One request is computed at a time. Pixels, encoded images and results are kept by the content
    of the image file, so that a second prompt costs the fused part only, and another threshold
    nothing.

    Args:
        detector: a :class:`FIBERInferencer`; None for none.
        image_text: an :class:`ImageTextInferencer`; None for none.
        limits: what is accepted.
        score_thr: least score of a detection where a request says none.
        chunked_size: names read at a time where a request says nothing; None for what the config
            of the detector says.
    """

    def __init__(
        self,
        detector: NamedModel | None = None,
        image_text: NamedModel | None = None,
        limits: Limits | None = None,
        score_thr: float = SCORE_THR,
        chunked_size: int | None = None,
    ) -> None:
        self.detector = detector
        self.image_text = image_text
        self.limits = limits or Limits()
        self.score_thr = score_thr
        self.chunked_size = chunked_size
        self.kept = Kept(1e6 * self.limits.cache_mb)
        self.turns = Turns(self.limits.waiting)

    @property
    def names(self) -> dict[str, str]:
        """Name of each model, by what it does: ``detector``, ``image-text``."""
        models = {'detector': self.detector, 'image-text': self.image_text}
        return {kind: model.name for kind, model in models.items() if model is not None}

    @property
    def tasks(self) -> list[str]:
        """Which of ``TASKS`` the models do."""
        return [task for task in TASKS if self.lacking(task) is None]

    @property
    def packaged(self) -> list[str]:
        """Names of the models that know generated scenes only."""
        models = [model for model in (self.detector, self.image_text) if model is not None]
        return [model.name for model in models if model.packaged]

    def lacking(self, task: str) -> str | None:
        """Why a task is not done; None if it is."""
        if task == 'find':
            return None if self.detector else 'this server has no detector'
        if self.image_text is None:
            return 'this server has no image-text model'
        head = HEADS.get(task)
        if head is not None and head_of(self.image_text.inferencer.model, head) is None:
            return f'{self.image_text.name} has no head for it'
        return None

    def read(self, content: bytes, name: str) -> SentImage:
        """An image file that was sent.

        Raises:
            RequestError: it is no image, or too large.
        """
        return read_sent(content, name, self.limits, self.kept)

    def remark(self, task: str, image: SentImage) -> str:
        """What to know about any answer about an image; '' for nothing."""
        model = self._model(task)
        if model.packaged and looks_like_photo(torch.tensor(image.pixels).permute(2, 0, 1)):
            return (
                f'This looks like a photo, and {model.name} knows generated shapes only: what it '
                'says about photos means nothing.'
            )
        return ''

    # --------------------------------------------------------------- tasks
    def find(
        self,
        image: SentImage,
        prompt: str | Sequence[str],
        chunked_size: int | None = None,
        **options: Any,
    ) -> tuple[GroundingResult, Times]:
        """Find what a prompt describes.

        Args:
            image: where to look.
            prompt: what to look for.
            chunked_size: names read at a time.
            **options: ``phrases``, ``tokens_positive``, ``custom_entities`` of
                :func:`~fiber_mmdet.apis.inputs.read_query`.

        Returns:
            All detections that the config lets pass; ``above`` of the result applies a threshold.

        Raises:
            RequestError: a prompt that cannot be read, or too many requests wait.
        """
        texts = [prompt] if isinstance(prompt, str) else list(prompt)
        self.limits.check_texts(texts, 'prompt')
        if not any(text.strip() for text in texts):
            raise RequestError('the prompt is empty: say what to look for')
        if chunked_size is None:
            chunked_size = self.chunked_size
        if chunked_size is not None and chunked_size < 1 and chunked_size != -1:
            raise RequestError(
                f'chunked_size {chunked_size} must be 1 or more, or -1 for all names'
            )
        options = dict(options, chunked_size=chunked_size)

        def run(find: FIBERInferencer, encoded: EncodedImage) -> GroundingResult:
            found = find(encoded, prompt, score_thr=0.0, **options)
            assert isinstance(found, GroundingResult)
            return found

        key = json.dumps([prompt, options], sort_keys=True)
        return self._answer('find', image, key, run)

    def ask(self, image: SentImage, questions: Sequence[str]) -> tuple[list[dict[str, Any]], Times]:
        """Answer questions: ``question``, ``answer`` and ``score`` of each.

        Raises:
            RequestError: no questions, too many or too long ones, or too many requests wait.
        """
        questions = self._texts(questions, 'questions')

        def run(ask: ImageTextInferencer, encoded: EncodedImage) -> list[dict[str, Any]]:
            answers: Any = ask.answer(encoded, questions)
            return [
                dict(question=question, answer=answer, score=round(score, 4))
                for question, (answer, score) in zip(questions, answers)
            ]

        return self._answer('ask', image, tuple(questions), run)

    def caption(self, image: SentImage) -> tuple[str, Times]:
        """Describe an image in words.

        Raises:
            RequestError: too many requests wait.
        """
        return self._answer('caption', image, None, lambda ask, encoded: ask.caption(encoded))

    def match(self, image: SentImage, texts: Sequence[str]) -> tuple[list[dict[str, Any]], Times]:
        """How well texts describe an image: ``text`` and ``match`` (0 to 1) of each, best first.

        Raises:
            RequestError: no texts, too many or too long ones, or too many requests wait.
        """
        texts = self._texts(texts, 'texts')

        def run(ask: ImageTextInferencer, encoded: EncodedImage) -> list[dict[str, Any]]:
            scores: Any = ask.match(encoded, texts)
            found = [dict(text=text, match=round(match, 4)) for text, match in zip(texts, scores)]
            return sorted(found, key=lambda one: -one['match'])

        return self._answer('match', image, tuple(texts), run)

    def attention(
        self, image: SentImage, text: str, phrases: Sequence[str] = ()
    ) -> tuple[AttentionMaps, Times]:
        """Where the words of a text look, or some phrases of it.

        Raises:
            RequestError: an empty or too long text, a phrase that is not in it, or too many
                requests wait.
        """
        text = self._texts([text], 'text')[0]
        phrases = [phrase.strip() for phrase in phrases if phrase.strip()]

        def run(ask: ImageTextInferencer, encoded: EncodedImage) -> AttentionMaps:
            return ask.attention(encoded, text, phrases or None)

        return self._answer('attention', image, (text, *phrases), run)

    def _texts(self, texts: Sequence[str], what: str) -> list[str]:
        found = [text.strip() for text in texts if text.strip()]
        if not found:
            raise RequestError(f'there are no {what}: give at least one')
        self.limits.check_texts(found, what)
        return found

    # ----------------------------------------------------------- computing
    def encode(self, image: SentImage, task: str) -> Times:
        """Encode an image for a task, so that the first prompt is answered as fast as the second.

        Raises:
            RequestError: too many requests wait.
        """
        model = self._model(task)
        if self.kept.get(self._key(model, image)) is not None:
            return Times(None, None)
        with self.turns.turn():
            return Times(self._encoded(model, image)[1], None)

    def _answer(
        self, task: str, image: SentImage, asked: Hashable, run: Callable[[Any, EncodedImage], T]
    ) -> tuple[T, Times]:
        """What ``run`` gives for the model of a task and the encoded image, computed once."""
        model = self._model(task)
        key = task, image.digest, asked
        kept = self.kept.get(key)
        if kept is not None:
            return kept, Times(None, None)
        with self.turns.turn():
            kept = self.kept.get(key)  # somebody before may have asked the same
            if kept is not None:
                return kept, Times(None, None)
            encoded, for_image = self._encoded(model, image)
            begin = perf_counter()
            try:
                found = run(model.inferencer, encoded)
            except ValueError as error:  # of prompts, phrases and texts
                raise RequestError(str(error)) from error
            seconds = perf_counter() - begin
            self.kept.put(key, found, 1000 + _size(found) + 4 * len(str(asked)))
        return found, Times(for_image, seconds)

    def _encoded(self, model: NamedModel, image: SentImage) -> tuple[EncodedImage, float | None]:
        """The image as the model encoded it, and the seconds; None if it was kept."""
        key = self._key(model, image)
        encoded = self.kept.get(key)
        if encoded is not None:
            return encoded, None
        begin = perf_counter()
        encoded = model.inferencer.encode(image.pixels)
        if encoded.prefix.tokens.is_cuda:
            torch.cuda.synchronize(encoded.prefix.tokens.device)
        seconds = perf_counter() - begin
        self.kept.put(key, encoded, encoded.nbytes)
        return encoded, seconds

    @staticmethod
    def _key(model: NamedModel, image: SentImage) -> tuple:
        return 'encoded', id(model), image.digest

    def _model(self, task: str) -> NamedModel:
        why = self.lacking(task)
        if why is not None:
            raise NotServed(f'{TASKS[task]}: {why}')
        model = self.detector if task == 'find' else self.image_text
        assert model is not None
        return model


def _size(found: Any) -> int:
    """Bytes of a result, roughly."""
    if isinstance(found, GroundingResult):
        return 40 * len(found) + 100 * len(found.phrases) + 4 * len(found.caption)
    if isinstance(found, AttentionMaps):
        return found.looks.nbytes + found.reads.nbytes
    return len(str(found))
