"""Any detector of mmdet as a teacher: with classes of its own, or one that reads a prompt."""

import logging
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from mmdet.registry import DATASETS, MODELS
from mmengine.config import Config
from mmengine.hub import get_config
from mmengine.registry import DefaultScope

from fiber_mmdet.apis.inputs import read_query
from fiber_mmdet.apis.loading import RANDOM, LoadingError, find_files, image_pipeline
from fiber_mmdet.apis.run_journal import digest, model_settings
from fiber_mmdet.checkpoints.account import Conversion
from fiber_mmdet.checkpoints.fitting import fit
from fiber_mmdet.checkpoints.reading import our_weights, read_checkpoint, stored_mapping
from fiber_mmdet.datasets.dataset_tree import split_datasets, type_name
from fiber_mmdet.formats.labelled import listed
from fiber_mmdet.models import FIBERDetector, FIBERForVL
from fiber_mmdet.weights.addresses import local_weights, named
from fiber_mmdet.weights.configs import config_file

from .grounding_hosts import suit_host
from .tasks import Record, Task, TaskError, are_names, check_prompt

logger = logging.getLogger(__name__)

HOSTED = 'mmdet::'  # of other packages mmengine would install what is named


def is_fiber(config: str | None) -> bool:
    """Whether a config is of one of our models, and not of another detector of mmdet.

    Raises:
        FileNotFoundError: there is no such config.
    """
    if config is None or named(config) is not None:
        return True
    if config.startswith(HOSTED):
        return False
    model = Config.fromfile(config_file(config)).get('model') or {}
    if 'type' not in model:
        return True  # whose error says more
    kind = MODELS.get(type_name(model))
    return kind is None or issubclass(kind, (FIBERDetector, FIBERForVL))


class MMDetLabeller:
    """Boxes of a detector of mmdet, such as Faster R-CNN or MM-Grounding-DINO.

    A detector that reads texts (it has a ``language_model``) is asked for the prompt of the task,
    or for the text of each image; others find their classes, or those that the prompt names.

    Differs from mmdet's ``init_detector``: weights are read without running what is in the file,
    and all that the model has must be in it. Differs from ``inference_detector``: images of one
    size share a batch. For Grounding DINO see :mod:`.grounding_hosts`.

    Args:
        task: the task.

    Raises:
        FileNotFoundError, LoadingError: no such config or weights, or they do not fit.
        TaskError: no names, or some that the detector does not know.
    """

    def __init__(self, task: Task) -> None:
        if task.precision not in (None, 'float32'):
            raise TaskError(f'precision={task.precision!r} is for FIBER detectors')
        self.task = task
        given: Any = task.config
        if given.startswith(HOSTED):
            given = get_config(given, pretrained=task.weights is None)
            given.setdefault('load_from', None)
            given.load_from = given.load_from or given.get('model_path')
        self.config, weights = find_files(given, task.weights)
        self.model, classes = _load(self.config, weights, task)
        self.load, self.transform = image_pipeline(self.config)
        self.reads_texts = hasattr(self.model, 'language_model')
        if self.reads_texts:
            suit_host(self.model)
        # mmdet reads vocabularies in chunks for one image at a time
        self.alone = (self.model.test_cfg or {}).get('chunked_size', -1) > 0
        self.names: tuple[str, ...] | None = None
        self.common: dict[str, Any] = {}
        self.fields: dict[str, Any] = {}
        if self.reads_texts:
            check_prompt(task)
            if task.prompt is not None:
                prompt, self.fields = self._read(task.prompt, are_names(task))
                self.names = prompt.phrases
                self.common = dict(
                    caption=prompt.caption, spans=_lists(prompt.spans), of_names=are_names(task)
                )
        else:
            self.names = self._chosen(classes)
            numbers = {name: number for number, name in enumerate(self.names)}
            self.numbers = [numbers.get(name) for name in classes]
            self.common = dict(caption='', spans=[[] for _ in self.names], of_names=True)
        if self.names is not None:
            task.rules.check_names(self.names)

    def _chosen(self, classes: tuple[str, ...]) -> tuple[str, ...]:
        if self.task.own_texts:
            raise TaskError(f'{type(self.model).__name__} reads no texts: it has classes')
        if self.task.prompt is None:
            return classes
        names = read_query(self.task.prompt, **self.task.prompt_options).prompt.phrases
        unknown = [name for name in names if name not in classes]
        if unknown:
            raise TaskError(
                f'{type(self.model).__name__} does not know {unknown[0]!r}: it finds '
                f'{listed(classes, 10)}'
            )
        return names

    def _read(self, prompt: Any, vocabulary: bool) -> tuple[Any, dict[str, Any]]:
        """A prompt, and what mmdet's samples say of it."""
        found = read_query(prompt, **self.task.prompt_options).prompt
        if vocabulary:
            return found, dict(text=found.phrases, custom_entities=True)
        return found, dict(
            text=found.caption, custom_entities=False, tokens_positive=_lists(found.spans)
        )

    def settings(self) -> dict[str, Any]:
        """The names, and digests of config and weights."""
        asked = repr((self.names, self.common, self.fields))
        return dict(
            prompt=None if self.task.own_texts else ' . '.join(self.names or ()),
            passes=digest([asked.encode(errors='backslashreplace')]),
            **model_settings(self.model, self.config),
        )

    def __call__(
        self, images: Sequence[np.ndarray], texts: Sequence[str | None]
    ) -> list[list[Record]]:
        """A record of each image."""
        asked = [self.fields] * len(images)
        prompts: list[Any] = [None] * len(images)
        if self.names is None:
            # a caption is read as a text with phrases, names between periods as names
            for i, text in enumerate(texts):
                own = Task(prompt=text, prompt_options=self.task.prompt_options)
                prompts[i], asked[i] = self._read(text, are_names(own))
        prepared = [self._prepare(image, one) for image, one in zip(images, asked)]
        found: list[list[Record]] = []
        for batch in self._batches(prepared):
            with torch.no_grad():
                samples = self.model.test_step(
                    dict(
                        inputs=[one['inputs'] for one in batch],
                        data_samples=[one['data_samples'] for one in batch],
                    )
                )
            for sample in samples:
                i = len(found)
                found.append([self._record(sample, images[i].shape, prompts[i])])
        return found

    def _prepare(self, image: np.ndarray, fields: dict[str, Any]) -> dict[str, Any]:
        loaded = self.load(dict(img=np.ascontiguousarray(image[..., ::-1])))
        loaded.update(fields)
        loaded.setdefault('img_id', 0)
        return self.transform(loaded)

    def _batches(self, prepared: Sequence[dict]) -> Iterator[list[dict]]:
        """Consecutive images of one size and one kind of prompt: padding would change results."""
        batch: list[dict] = []
        for one in prepared:
            if batch and (self.alone or _kind(one) != _kind(batch[0])):
                yield batch
                batch = []
            batch.append(one)
        if batch:
            yield batch

    def _record(self, sample: Any, shape: tuple[int, ...], prompt: Any) -> Record:
        found = sample.pred_instances
        phrases: Sequence[str] = (self.names or ()) if prompt is None else prompt.phrases
        numbers: Sequence[int | None] = range(len(phrases)) if self.reads_texts else self.numbers
        detections = []
        for box, score, label in zip(
            found.bboxes.float().cpu().tolist(),
            found.scores.float().cpu().tolist(),
            found.labels.cpu().tolist(),
        ):
            if label >= len(numbers):
                raise LoadingError(
                    f'class {label} is found, but there are {len(numbers)} names: give the config '
                    'that the weights were trained with'
                )
            number = numbers[label]
            if number is not None:
                box = [round(side, 2) for side in box]
                detections.append(dict(box=box, score=round(score, 4), label=number))
        record = dict(width=shape[1], height=shape[0], inclusive=False, detections=detections)
        if prompt is not None:
            spans = _lists(prompt.spans)
            record.update(caption=prompt.caption, phrases=list(phrases), spans=spans)
        return self.task.rules(record, phrases)


def _kind(prepared: dict[str, Any]) -> tuple:
    return prepared['inputs'].shape, prepared['data_samples'].get('custom_entities')


def _lists(spans: Any) -> list:
    return [[list(span) for span in pieces] for pieces in spans]


def _load(config: Config, weights: str | Path, task: Task) -> tuple[Any, tuple[str, ...]]:
    """The model of a config in evaluation mode, and the names of its classes."""
    try:
        with DefaultScope.overwrite_default_scope(config.get('default_scope', 'mmdet')):
            model = MODELS.build(config.model)
    except KeyError as error:
        raise LoadingError(f'{task.config}: {error.args[0]}') from error
    checkpoint: dict = {}
    if weights != RANDOM:
        file = local_weights(weights)
        checkpoint = read_checkpoint(file)
        wanted = model.state_dict()
        found = fit(Conversion(our_weights(checkpoint, str(file))), wanted)
        if lacking := [*found.missing, *found.misshapen]:
            raise LoadingError(
                f'{file} is not of the model of {task.config}: {len(lacking)} of {len(wanted)} '
                f'entries are missing or of another shape ({listed(lacking)})'
            )
        model.load_state_dict(found.state, strict=False)
        if over := list(found.unknown):
            logger.warning(
                '%s: %d entries have no place in the model (%s)', file, len(over), listed(over)
            )
    device = task.device or ('cuda' if torch.cuda.is_available() else 'cpu')
    return model.to(device).eval(), _classes(checkpoint, config)


def _classes(checkpoint: dict, config: Config) -> tuple[str, ...]:
    """Names of the classes: of the checkpoint, of the config's test data, or of its dataset."""
    meta = stored_mapping(checkpoint, 'meta')
    found = stored_mapping(checkpoint, 'meta', 'dataset_meta')
    names = found.get('classes') or found.get('CLASSES') or meta.get('CLASSES')
    for dataset, _ in split_datasets(config, 'test'):
        names = names or (dataset.get('metainfo') or {}).get('classes')
        kind = DATASETS.get(type_name(dataset)) if 'type' in dataset else None
        names = names or getattr(kind, 'METAINFO', {}).get('classes')
    if not names:
        raise LoadingError(
            'neither the weights nor the config say what the classes are: set metainfo of '
            "test_dataloader.dataset, dict(classes=('dog', …))"
        )
    return (names,) if isinstance(names, str) else tuple(names)
