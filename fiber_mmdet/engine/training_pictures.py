"""Pictures of a training that appear by themselves: predictions beside the truth, and curves."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from mmdet.registry import HOOKS
from mmdet.structures import DetDataSample
from mmengine.dist import is_main_process
from mmengine.fileio import get
from mmengine.hooks import Hook
from mmengine.runner import BaseLoop, EpochBasedTrainLoop

from fiber_mmdet.datasets.dataset_tree import leaves
from fiber_mmdet.evaluation.constant_box import MOST, ConstantBoxScore, constant_box_score
from fiber_mmdet.images import decode_image
from fiber_mmdet.outputs import write_image
from fiber_mmdet.visualization.sheets import Card, draw_sheet, in_rows
from fiber_mmdet.visualization.training_curves import draw_curves, read_log
from fiber_mmdet.visualization.truth_beside import NamedBoxes, truth_card
from fiber_mmdet.visualization.writing import PLAIN, STRONG

from .drawing import seen_pixels, with_true_names

SHOWN_METRICS = 4
GREY = 235
CONSTANT = 'constant_box_score'  # in mmengine's message hub: AP and AP50


class PictureHook(Hook):
    """A hook that draws, in the first process only; one that fails says so once and stops drawing.

    A picture is no reason to end a training.
    """

    priority = 'VERY_LOW'  # after the logger, whose file is read

    def __init__(self) -> None:
        self._failed = False

    def _try(self, runner: Any, draw: Any, *args: Any) -> None:
        if self._failed or not is_main_process():
            return
        try:
            draw(runner, *args)
        except Exception as error:  # whatever it is
            self._failed = True
            said = ' '.join(str(error).split())
            runner.logger.warning(
                f'{type(self).__name__} cannot draw and stops drawing; the run goes on '
                f'({type(error).__name__}: {said})'
            )


@HOOKS.register_module()
class PredictionSheetHook(PictureHook):
    """After each validation of a detector, a sheet of its predictions beside the truth.

    It is written to ``WORK_DIR/predictions/epoch_N.jpg`` (``iter_N.jpg`` of trainings by
    iterations, ``test.jpg`` of tests), always of the same images, spread evenly over the dataset.
    Of each image as many of the best boxes are drawn as there are true ones, and all others that
    score ``score_thr`` or more. AP alone misleads: boxes in the middle of every photo can have a
    fair AP50. So the log and the sheet also say what such constant boxes have
    (:func:`~fiber_mmdet.evaluation.constant_box.constant_box_score`).

    Args:
        number: images on a sheet.
        score_thr: from which score on all boxes are drawn.
        columns: pairs of images in a row.
        photos: whether the images are drawn; otherwise boxes are on grey, for sheets of images that
            must not be published.
    """

    def __init__(
        self, number: int = 12, score_thr: float = 0.5, columns: int = 2, photos: bool = True
    ) -> None:
        super().__init__()
        self.number, self.score_thr = number, score_thr
        self.columns, self.photos = columns, photos
        self._chosen: set[int] = set()
        self._samples: list[DetDataSample] = []
        self._constant: ConstantBoxScore | None = None

    def before_train(self, runner: Any) -> None:
        """Say in the log what constant boxes have."""
        self._try(runner, self._find_constant)

    def _find_constant(self, runner: Any) -> None:
        if runner.val_loop is None:
            return
        (train, *more), (val, *others) = (
            list(leaves(loader.dataset))
            for loader in (runner.train_dataloader, runner.val_dataloader)
        )
        classes = train.metainfo.get('classes')
        alike = not more and not others and classes and classes == val.metainfo.get('classes')
        if alike and len(val) * len(classes) <= MOST and len(train) <= MOST:
            self._constant = constant_box_score(*map(_records, (train, val)))
        if self._constant is not None:
            runner.message_hub.update_info(CONSTANT, tuple(self._constant), resumed=False)
            runner.logger.info(
                f'A box that is always in the same place has {self._constant} on the validation '
                'data: a model that has learned something has more'
            )

    def before_val_epoch(self, runner: Any) -> None:
        """Choose the images."""
        self._choose(runner.val_dataloader)

    def before_test_epoch(self, runner: Any) -> None:
        """Choose the images."""
        self._choose(runner.test_dataloader)

    def _choose(self, loader: Any) -> None:
        count = len(loader)
        self._chosen = set(np.linspace(0, count - 1, min(self.number, count)).astype(int).tolist())
        self._samples = []

    def after_val_iter(
        self,
        runner: Any,
        batch_idx: int,
        data_batch: Any = None,
        outputs: Sequence[DetDataSample] | None = None,
    ) -> None:
        """Keep the first sample of a chosen batch."""
        if batch_idx in self._chosen and outputs and not self._failed:
            self._samples.append(outputs[0].cpu())

    after_test_iter = after_val_iter

    def after_val_epoch(self, runner: Any, metrics: Mapping[str, float] | None = None) -> None:
        """Draw the sheet."""
        name = step = 'validation'
        if _trains(runner):
            by_epoch = isinstance(runner.train_loop, EpochBasedTrainLoop)
            name, number = ('epoch', runner.epoch) if by_epoch else ('iter', runner.iter)
            name, step = f'{name}_{number}', f'{name} {number}'
        self._try(runner, self._draw, name, step, metrics)

    def after_test_epoch(self, runner: Any, metrics: Mapping[str, float] | None = None) -> None:
        """Draw the sheet."""
        self._try(runner, self._draw, 'test', 'test', metrics)

    def _draw(self, runner: Any, name: str, step: str, metrics: Mapping[str, float] | None) -> None:
        samples, self._samples = self._samples, []
        if not samples:
            return
        cards = [sample_card(sample, self.score_thr, self.photos) for sample in samples]
        said = ', '.join(f'{key} {value:.3f}' for key, value in _shown(metrics or {}).items())
        heading = [[(f'{step}  ', STRONG), (said, PLAIN)]]
        if self._constant is not None:
            heading.append([(f'a box always in the same place: {self._constant}', PLAIN)])
        heading.append([('left: the truth; right: what was found', PLAIN)])
        out = Path(runner.work_dir, 'predictions', f'{name}.jpg')
        write_image(out, draw_sheet(in_rows(cards, self.columns, heading), 260), quality=90)
        runner.logger.info(f'Predictions beside the truth: {out}')


def sample_card(sample: DetDataSample, score_thr: float, photo: bool = True) -> Card:
    """The card of a sample that was predicted.

    Args:
        sample: with ``img_path``, ``pred_instances``, and ``gt_instances`` if the truth is known,
            both in pixels of the file.
        score_thr: see :class:`PredictionSheetHook`.
        photo: whether its image is drawn, or grey.

    Raises:
        OSError, ImageError: its image cannot be read.
    """
    path = sample.img_path
    image = seen_pixels(decode_image(get(path), str(path)), path, sample)
    if not photo:
        image = np.full_like(image, GREY)
    named, truth = with_true_names(sample), None
    if 'gt_instances' in named and 'bboxes' in named.gt_instances:
        true = named.gt_instances
        names = true.get('label_names') or [str(label) for label in true.labels.tolist()]
        truth = NamedBoxes(_array(true.bboxes), names)
    found = sample.pred_instances
    names = found.get('label_names')
    if names is None:
        names = [str(label) for label in found.labels.tolist()]
    text = sample.get('text')
    phrases = list(text) if isinstance(text, (list, tuple)) else []
    phrases = list(dict.fromkeys([*phrases, *(truth.names if truth else ()), *names]))
    boxes = NamedBoxes(_array(found.bboxes), names, found.scores.float().numpy())
    return truth_card(image, Path(path).name, phrases, truth, boxes, score_thr)


def _array(boxes: Any) -> np.ndarray:
    return getattr(boxes, 'tensor', boxes).float().numpy().reshape(-1, 4)


def _records(dataset: Any) -> list[dict]:
    return [dataset.get_data_info(i) for i in range(len(dataset))]


def _shown(metrics: Mapping[str, float]) -> dict[str, float]:
    """The first few metrics, without their prefix."""
    numbers = {
        key: value
        for key, value in metrics.items()
        if isinstance(value, (int, float)) and value >= 0  # -1 of COCO: there is none of that size
    }
    return {key.rpartition('/')[2]: numbers[key] for key in list(numbers)[:SHOWN_METRICS]}


def _trains(runner: Any) -> bool:
    """Whether the run is a training: otherwise its loop stays a config."""
    return isinstance(runner._train_loop, BaseLoop)


@HOOKS.register_module()
class TrainingCurvesHook(PictureHook):
    """Curves of losses and of the validation, in ``WORK_DIR/curves.png``.

    Beside AP stands that of a constant box, see :class:`PredictionSheetHook`. They are drawn after
    each validation and at the end, from what the training logged, also in runs before it was
    resumed.

    Args:
        metrics: how many metrics of the validation are shown.
    """

    def __init__(self, metrics: int = SHOWN_METRICS) -> None:
        super().__init__()
        self.metrics = metrics

    def after_val_epoch(self, runner: Any, metrics: Mapping[str, float] | None = None) -> None:
        """Draw what there is so far."""
        if _trains(runner):
            self._try(runner, self._draw)

    def after_train(self, runner: Any) -> None:
        """Draw all of it."""
        self._try(runner, self._draw)
        drawing = Path(runner.work_dir, 'curves.png')
        if not self._failed and is_main_process() and drawing.is_file():
            runner.logger.info(f'Losses and scores: {drawing}')

    def _draw(self, runner: Any) -> None:
        try:
            logged, _ = read_log(Path(runner.work_dir))
        except FileNotFoundError:  # nothing is logged yet
            return
        losses = [key for key in logged if key == 'loss' or key.startswith('loss_')]
        scores = [key for key in logged if '/' in key and max(logged[key].values()) >= 0]
        validation = _curves(logged, scores[: self.metrics])
        constant = runner.message_hub.get_info(CONSTANT, None)
        for name, value in zip(('bbox_mAP', 'bbox_mAP_50'), constant or ()):
            if name in validation:
                key, x, _ = validation[name]
                validation[f'{name} of a constant box'] = (key, [0, x[-1]], [value, value])
        panels = [('loss', _curves(logged, losses)), ('validation', validation)]
        panels = [(title, curves) for title, curves in panels if curves]
        if panels:
            draw_curves(panels, Path(runner.work_dir, 'curves.png'))


def _curves(
    logged: Mapping[str, Mapping[int, float]], keys: Sequence[str]
) -> dict[str, tuple[str, list[int], list[float]]]:
    found = {}
    for key in keys:
        points = sorted(logged[key].items())
        if points:
            found[key.rpartition('/')[2]] = (key, [at for at, _ in points], [y for _, y in points])
    return found
