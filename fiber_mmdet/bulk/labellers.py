"""What is said about images: models that are loaded once, with prompts that are encoded once.

Each class says what its results depend on (``settings``), which names it looks for (``names``), and
turns pixels into records of plain values, which :mod:`.parts` writes.
"""

from base64 import b64encode
from collections.abc import Sequence
from typing import Any, Protocol

import numpy as np

from .rules import RuleError, Rules
from .tasks import TASKS, Record, Task, TaskError, are_names, check_prompt


class Labeller(Protocol):
    """Says something about images."""

    #: what was looked for, by label; None if each record has its own ``phrases``
    names: tuple[str, ...] | None
    #: what all records share: ``caption``, ``spans``, ``of_names``
    common: dict[str, Any]

    def settings(self) -> dict[str, Any]:
        """What the records depend on, plain values."""

    def __call__(
        self, images: Sequence[np.ndarray], texts: Sequence[str | None]
    ) -> list[list[Record]]:
        """Records of each of some images: (H, W, 3) uint8 RGB, and their texts."""


def load_labeller(task: Task) -> Labeller:
    """Load the model of a task.

    Raises:
        TaskError, RuleError: the task makes no sense.
        FileNotFoundError, ValueError: see the inferencers; a prompt that cannot be read.
    """
    if task.task not in TASKS:
        raise TaskError(f'task={task.task!r} must be one of {", ".join(TASKS)}')
    if task.batch_size < 1:
        raise TaskError(f'a batch has one image or more, not {task.batch_size}')
    if task.task != 'detect':
        return ImageTextLabeller(task)
    from .teachers import MMDetLabeller, is_fiber

    return PhraseLabeller(task) if is_fiber(task.config) else MMDetLabeller(task)


class PhraseLabeller:
    """Boxes of a FIBER detector.

    Args:
        task: the task.
    """

    def __init__(self, task: Task) -> None:
        from fiber_mmdet.apis import FIBERInferencer

        check_prompt(task)
        self.task = task
        self.find = FIBERInferencer(
            task.config,
            task.weights,
            task.device,
            task.tokenizer,
            show_progress=False,
            precision=task.precision,
        )
        self.names: tuple[str, ...] | None = None
        self.common: dict[str, Any] = {}
        if task.prompt is not None:
            self.find.set_prompt(task.prompt, **task.prompt_options)
            query = self.find.prompt
            assert query is not None
            self.names = query.prompt.phrases
            self.common = dict(
                caption=query.prompt.caption,
                spans=[[list(span) for span in spans] for spans in query.prompt.spans],
                of_names=are_names(task),
            )
            task.rules.check_names(self.names)

    def settings(self) -> dict[str, Any]:
        """The prompt, and digests of config and weights."""
        from fiber_mmdet.apis.run_journal import model_settings, prompt_settings

        prompt = prompt_settings(self.find) if self.names is not None else {}
        return dict(
            prompt,
            **model_settings(self.find.model, self.find.config),
            precision=self.task.precision or 'float32',
        )

    def __call__(
        self, images: Sequence[np.ndarray], texts: Sequence[str | None]
    ) -> list[list[Record]]:
        """A record of each image."""
        rules = self.task.rules
        options: dict[str, Any] = dict(score_thr=rules.floor, batch_size=len(images))
        if self.names is not None:
            results: Any = self.find.detect(list(images), **options)
        else:
            results = self.find(
                list(images),
                prompts=[text or '' for text in texts],
                **options,
                **self.task.prompt_options,
            )
        return [[self._record(result.to_dict())] for result in results]

    def _record(self, found: Record) -> Record:
        found = self.task.rules(found, found['phrases'])
        detections = [
            {key: one[key] for key in ('box', 'score', 'label')} for one in found['detections']
        ]
        record = {key: found[key] for key in ('width', 'height', 'inclusive')}
        if self.names is None:
            spans = {one['label']: one['spans'] for one in found['detections']}
            phrases = found['phrases']
            record.update(
                caption=found['caption'],
                phrases=phrases,
                spans=[spans.get(label, []) for label in range(len(phrases))],
            )
        return dict(record, detections=detections)


class ImageTextLabeller:
    """Captions, answers or features of an image-text model.

    Args:
        task: the task.
    """

    names: tuple[str, ...] | None = None

    def __init__(self, task: Task) -> None:
        from fiber_mmdet.apis import ImageTextInferencer
        from fiber_mmdet.apis.image_text_loading import need_head
        from fiber_mmdet.models.image_text.heads import CaptionHead, ITCHead, VQAHead

        if task.task == 'answer' and bool(task.questions) == task.own_texts:
            raise TaskError(
                'say what to ask: questions about all images, or where the text of each image is'
            )
        if task.task != 'answer' and (task.questions or task.own_texts):
            raise TaskError(f'{task.task!r} takes neither questions nor texts of images')
        if task.rules != Rules():
            raise RuleError(f'scores, sizes and overlaps are of boxes, not of {task.task!r}')
        if task.precision not in (None, 'float32'):
            raise TaskError(f'precision={task.precision!r} is for detectors')
        self.task = task
        self.common: dict[str, Any] = {}
        self.ask = ImageTextInferencer(
            task.config,
            task.weights,
            task.device,
            task.tokenizer,
            task.answers,
            batch_size=task.batch_size,
            show_progress=False,
        )
        head = dict(caption=CaptionHead, answer=VQAHead, embed=ITCHead)[task.task]
        need_head(self.ask.model, head, f'the task {task.task!r}')
        self.call = dict(caption=self._captions, answer=self._answers, embed=self._features)[
            task.task
        ]

    def settings(self) -> dict[str, Any]:
        """The questions, and digests of config and weights."""
        from fiber_mmdet.apis.run_journal import model_settings

        found = model_settings(self.ask.model, self.ask.config)
        if self.task.task == 'answer':
            found.update(questions=list(self.task.questions), answers=self.ask.answers)
        return found

    def __call__(
        self, images: Sequence[np.ndarray], texts: Sequence[str | None]
    ) -> list[list[Record]]:
        """A record of each image; of answers one for each question."""
        return self.call(list(images), texts)

    def _captions(self, images: list, texts: Sequence[str | None]) -> list[list[Record]]:
        return [[dict(caption=caption)] for caption in self.ask.caption(images)]

    def _answers(self, images: list, texts: Sequence[str | None]) -> list[list[Record]]:
        asked = [self.task.questions if self.task.questions else [text or ''] for text in texts]
        encoded = self.ask.encode_each(images)
        pairs = [(i, question) for i, questions in enumerate(asked) for question in questions]
        answers: Any = self.ask.answer([encoded[i] for i, _ in pairs], [text for _, text in pairs])
        found: list[list[Record]] = [[] for _ in images]
        for (i, question), one in zip(pairs, answers):
            found[i].append(dict(question=question, answer=one.answer, score=round(one.score, 4)))
        return found

    def _features(self, images: list, texts: Sequence[str | None]) -> list[list[Record]]:
        features = self.ask.embed_images(images).astype('<f4')
        return [[dict(embedding=b64encode(row.tobytes()).decode())] for row in features]
