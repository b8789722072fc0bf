"""Texts of several tasks about the same images."""

import os.path as osp
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from mmdet.registry import DATASETS
from mmengine.logging import MMLogger

from fiber_mmdet.arguments import strict_arguments

from ..cached_annotations import CachedAnnotations
from ..dataset_tree import leaves, locate
from ..texts_per_image import check_texts_per_image
from .base import ImageTextDataset


@DATASETS.register_module()
@strict_arguments
class TasksOfImages(ImageTextDataset):
    """Datasets about the same images, joined: an image with texts of several tasks.

    A sample is an image, which is read, augmented and encoded once, with some of its texts of each
    task (``texts``, a list of the fields of each). Each text carries ``task``, the name of its
    dataset, by which ``FIBERForVL(tasks=…)`` chooses the heads that read it. Images are the same if
    the paths of their views are. An image need not have texts of all tasks.

    The texts are drawn at each access, with numpy's global generator, without repetition; all texts
    of an image and task are equally likely. (``texts_per_image`` of a single dataset deals them
    instead, so that an epoch has every text once. Tasks have different numbers of texts, and no
    deal would give each sample texts of all its tasks.) A pass over this dataset has every image
    once, and a training that resumes draws the same texts (``SeedEveryIterHook``).

    Images with other views, such as the pairs of NLVR2, make batches of their own: a
    ``TasksOfImages`` of their own in a ``ConcatDataset``, with
    :class:`~fiber_mmdet.datasets.OneSourcePerBatchSampler`.

    Args:
        datasets: task -> config of a dataset, without a pipeline; None leaves a task out (to switch
            off one of a base config). Wrappers are allowed, such as a ``ConcatDataset`` of several
            sources of captions.
        texts_per_image: task -> how many texts of an image a sample has at most.
        pipeline: configs of transforms, as those of any image-text dataset.
        false_image: see :class:`ImageTextDataset`.
        prefixes: see :class:`ImageTextDataset`.
        test_mode: this dataset is for training, and refuses it.
        indices: see mmengine's ``BaseDataset``; it counts images.
        serialize_data: see mmengine's ``BaseDataset``.
        lazy_init: see mmengine's ``BaseDataset``; the datasets of the tasks have their own.
        max_refetch: see mmengine's ``BaseDataset``.

    Raises:
        TypeError: an unknown argument, or a number of texts that is none.
        ValueError: no task, a task without a number of texts or a number without a task, a dataset
            with settings that would not be used, images of one task with other views than those of
            another, or answers of two tasks that differ.
    """

    def __init__(
        self,
        datasets: Mapping[str, Any],
        texts_per_image: Mapping[str, int],
        pipeline: Sequence[Any] = (),
        false_image: bool = False,
        prefixes: str | None = None,
        test_mode: bool = False,
        indices: int | Sequence[int] | None = None,
        serialize_data: bool = True,
        lazy_init: bool = False,
        max_refetch: int = 1000,
    ) -> None:
        if test_mode:
            raise ValueError(
                'TasksOfImages is for training: evaluate each task with a dataset of its own, '
                'whose samples the evaluation counts'
            )
        self.counts = _counts(datasets, texts_per_image)
        self.sources_of = {task: _built(task, datasets[task]) for task in self.counts}
        super().__init__(
            image_template='',
            pipeline=list(pipeline),
            false_image=false_image,
            prefixes=prefixes,
            indices=indices,
            serialize_data=serialize_data,
            lazy_init=lazy_init,
            max_refetch=max_refetch,
        )

    @property
    def tasks(self) -> tuple[str, ...]:
        """The names of the tasks."""
        return tuple(self.counts)

    def most_texts(self, tasks: Sequence[str] | None = None) -> int:
        """The largest number of texts that an image of a batch has.

        Args:
            tasks: those that count; None for all.
        """
        return sum(n for task, n in self.counts.items() if tasks is None or task in tasks)

    def sources(self) -> str:
        """The annotation files of all tasks, as errors name them."""
        return ', '.join(_files(source) for source in self.sources_of.values())

    def load_data_list(self) -> list[dict]:
        """For each image its views, ``image_id``, and the numbers of its texts in each dataset.

        Raises:
            ValueError: see the class.
        """
        images: dict[tuple, dict] = {}
        for task, source in self.sources_of.items():
            if hasattr(source, 'full_init'):
                source.full_init()
            self._share_metainfo(task, source)
            paths: dict[tuple, tuple] = {}  # views are assembled once for an image, not for a text
            for number in range(len(source)):
                leaf, index = locate(source, number)
                record = CachedAnnotations.get_data_info(leaf, index)
                key = id(leaf), leaf.image_of(record)
                if key not in paths:
                    paths[key] = _paths(leaf.assemble(record)['views'])
                known = images.setdefault(paths[key], dict(texts={}))
                known['texts'].setdefault(task, []).append(number)
        self._refuse_other_views(images)
        self._tell(images)
        return [
            dict(
                views={name: dict(img_path=path) for name, path in paths},
                image_id=' '.join(path for _, path in paths),
                **known,
            )
            for paths, known in images.items()
        ]

    def item(self, idx: int) -> dict:
        """Sample ``idx`` without a false image."""
        info = CachedAnnotations.get_data_info(self, idx)
        texts = []
        for task, numbers in info['texts'].items():
            for number in _draw(numbers, self.counts[task]):
                leaf, index = locate(self.sources_of[task], number)
                text = leaf.item(index)
                del text['views']
                # one for all tasks, whose datasets may number images differently
                texts.append(dict(text, task=task, image_id=info['image_id']))
        return dict(info, texts=texts)

    def _share_metainfo(self, task: str, source: Any) -> None:
        for key, value in source.metainfo.items():
            if self._metainfo.setdefault(key, value) != value:
                raise ValueError(
                    f'TasksOfImages: {key} of task {task!r} ({_files(source)}) differs '
                    'from that of a task before it: give both the same file, for example the same '
                    'answer_file'
                )

    def _refuse_other_views(self, images: Mapping[tuple, dict]) -> None:
        found: dict[tuple, str] = {}
        for paths, known in images.items():
            found.setdefault(tuple(name for name, _ in paths), next(iter(known['texts'])))
            if len(found) > 1:
                (first, one), (second, other) = found.items()
                raise ValueError(
                    f'TasksOfImages: task {one!r} has the views {", ".join(first)}, task {other!r} '
                    f'{", ".join(second)}: they cannot be in one batch. Give each a TasksOfImages '
                    'of its own in a ConcatDataset, with sampler=dict('
                    "type='OneSourcePerBatchSampler', …)"
                )

    def _tell(self, images: Mapping[tuple, dict]) -> None:
        """Log what was joined, and warn of tasks that share no image with the others."""
        logger = MMLogger.get_current_instance()
        of_task: dict[str, list[dict]] = {
            task: [known for known in images.values() if task in known['texts']]
            for task in self.tasks
        }
        parts = (
            f'{task}: {sum(len(known["texts"][task]) for known in found)} texts of '
            f'{len(found)} images'
            for task, found in of_task.items()
        )
        logger.info(f'TasksOfImages: {len(images)} images ({"; ".join(parts)})')
        for task, found in of_task.items():
            if len(self.tasks) > 1 and all(len(known['texts']) == 1 for known in found):
                path = next(paths for paths, known in images.items() if task in known['texts'])
                other = next(paths for paths, known in images.items() if task not in known['texts'])
                logger.warning(
                    f'TasksOfImages: no image of task {task!r} has a text of another task. If they '
                    'should be the same images, give them the same paths: now they are such as '
                    f'{path[0][1]} and {other[0][1]}'
                )


def _counts(datasets: Mapping[str, Any], texts_per_image: Any) -> dict[str, int]:
    """Task -> most texts of an image.

    Raises:
        TypeError, ValueError: see :class:`TasksOfImages`.
    """
    tasks = [task for task, dataset in datasets.items() if dataset is not None]
    if not tasks:
        raise ValueError('TasksOfImages: datasets is empty: give each task a dataset')
    if not isinstance(texts_per_image, Mapping):
        raise TypeError(
            f'TasksOfImages: texts_per_image={texts_per_image!r} must have a number for each task, '
            f'such as dict({", ".join(f"{task}=4" for task in tasks)})'
        )
    for name in texts_per_image:
        if name not in datasets:
            raise ValueError(
                f'TasksOfImages: texts_per_image has a task {name!r}, but the datasets are '
                f'{", ".join(datasets)}'
            )
    lacking = [task for task in tasks if task not in texts_per_image]
    if lacking:
        raise ValueError(
            f'TasksOfImages: texts_per_image has no number for task {lacking[0]!r}: add it'
        )
    return {task: check_texts_per_image(texts_per_image[task], False) for task in tasks}


def _built(task: str, dataset: Any) -> Any:
    """The dataset of a task.

    Raises:
        ValueError: it is none of images and texts, or has settings that would not be used.
    """
    built = DATASETS.build(dataset) if isinstance(dataset, Mapping) else dataset
    for leaf in leaves(built):
        if not isinstance(leaf, ImageTextDataset) or isinstance(leaf, TasksOfImages):
            raise ValueError(
                f'TasksOfImages: the dataset of task {task!r} has a {type(leaf).__name__}, which '
                'is none of texts about images'
            )
        unused = dict(
            pipeline=leaf.pipeline.transforms,
            false_image=leaf.false_image,
            test_mode=leaf.test_mode,
            texts_per_image=leaf.texts_per_image > 1,
        )
        for name, given in unused.items():
            if given:
                raise ValueError(
                    f'TasksOfImages: the dataset of task {task!r} sets {name}, which would not be '
                    f'used: leave it out{"" if name == "test_mode" else ", and set it outside"}'
                )
    return built


def _files(source: Any) -> str:
    """The annotation files of a dataset, possibly inside wrappers."""
    return ', '.join(dict.fromkeys(leaf.sources() for leaf in leaves(source)))


def _paths(views: Mapping[str, Mapping]) -> tuple[tuple[str, str], ...]:
    """What is equal for the same images: the views with their paths."""
    paths = {name: str(view['img_path']) for name, view in views.items()}
    return tuple(
        (name, path if '://' in path else osp.normpath(path)) for name, path in paths.items()
    )


def _draw(numbers: Sequence[int], most: int) -> list[int]:
    """Up to ``most`` of some numbers, in their order."""
    if len(numbers) <= most:
        return list(numbers)
    return [numbers[i] for i in sorted(np.random.choice(len(numbers), most, replace=False))]
