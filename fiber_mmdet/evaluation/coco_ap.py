"""COCO's average precision for prompts."""

import shutil
import tempfile
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from mmdet.evaluation import CocoMetric
from mmdet.registry import METRICS
from mmengine.evaluator import BaseMetric
from mmengine.fileio import get_local_path
from mmengine.logging import MMLogger

from fiber_mmdet.datasets.detection.coco_file import TRUTH_FIELDS, open_coco
from fiber_mmdet.outputs import write_json, writing

from .ordering import in_order


def category_ids(categories: Sequence[Mapping], classes: Sequence[str], metric: str) -> list:
    """Category id of each label, by name: files may list the same categories in any order.

    Args:
        categories: of the metric's file.
        classes: names of the dataset's labels.
        metric: what errors call it.

    Raises:
        ValueError: the file lacks a class, or has two of its name.
    """
    id_of: dict[str, Any] = {}
    for category in categories:
        name = category['name']
        if name in id_of and name in classes:
            raise ValueError(
                f'the ann_file of {metric} has two categories named {name!r}: rename one of them'
            )
        id_of[name] = category['id']
    missing = [name for name in classes if name not in id_of]
    if missing:
        raise ValueError(
            f'the ann_file of {metric} has no category '
            f'{", ".join(map(repr, missing))}, which the dataset has: give metric and '
            'dataset the same file'
        )
    return [id_of[name] for name in classes]


def warn_if_empty(annotations: Sequence[Mapping], metric: str, ann_file: str) -> None:
    """Log that a file has no box to find."""
    if all(annotation.get('iscrowd') for annotation in annotations):
        kind = f'all of its {len(annotations)} boxes are crowds' if annotations else 'it has no box'
        MMLogger.get_current_instance().warning(
            f'{metric}: nothing is to be found in {ann_file} ({kind}), so AP is -1: no result, and '
            'no ground for choosing weights'
        )


class OrderIndependent(BaseMetric):
    """Mixin before ``CocoMetric`` and the like: always a result, whatever the order of samples.

    - Ties: within an image the smaller label, then the smaller box comes first (see
      :func:`in_order`); among images the smaller id.
    - No prediction in the whole dataset: mmdet then reports no metric at all, which breaks
      ``save_best``. Here each metric is 0, or -1 if it has no true box, as always.
    """

    identity = ('img_id',)
    truth = ('gt_instances',)

    def __init__(self, *args, **kwargs) -> None:
        super().__init__(*args, **kwargs)
        self._inputs = [kwargs.get('ann_file', args[0] if args else None)]

    def process(self, data_batch: dict, data_samples: Sequence[dict]) -> None:
        """As in mmdet, with the predictions in order."""
        super().process(data_batch, [in_order(sample) for sample in data_samples])

    def compute_metrics(self, results: list) -> dict[str, float]:
        """As in mmdet, also when there is no prediction.

        Raises:
            ValueError: there is no sample.
        """
        if not results:
            raise ValueError(f'{type(self).__name__} got no sample: the dataset is empty')
        if self.format_only or any(len(pred['labels']) for _, pred in results):
            return super().compute_metrics(results)
        # COCO's tools reject an empty list; a box without area at score 0 hits nothing.
        (gt, pred), *rest = results
        pred = dict(pred, bboxes=np.zeros((1, 4)), scores=np.zeros(1), labels=np.zeros(1, int))
        metrics = super().compute_metrics([(gt, pred), *rest])
        if self.outfile_prefix is not None:
            write_json(f'{self.outfile_prefix}.bbox.json', [], self._inputs)
        return metrics

    def results2json(self, results: Sequence[dict], outfile_prefix: str) -> dict[str, str]:
        """As in mmdet, but each file is written whole or not at all, and not onto
        ``ann_file``.

        Raises:
            OutputError, OSError: a file cannot be written; what was there before is unchanged.
        """
        if self.outfile_prefix is None:  # into a temporary folder
            return super().results2json(results, outfile_prefix)
        files = {}
        with tempfile.TemporaryDirectory() as folder:
            for kind, part in super().results2json(results, f'{folder}/found').items():
                files[kind] = outfile_prefix + part[len(f'{folder}/found') :]
                with writing(files[kind], self._inputs) as place:
                    shutil.copyfile(part, place)
        return files


@METRICS.register_module()
class PromptCocoMetric(OrderIndependent, CocoMetric):
    """mmdet's ``CocoMetric``, made independent of order (see :class:`OrderIndependent`).

    Differs from mmdet's ``CocoMetric``: labels stand for the categories of their names, whatever
    the order of ``ann_file``, also in the figures per class; the file is checked when the metric
    is built (:func:`~fiber_mmdet.datasets.detection.coco_file.open_coco`), and its names as soon
    as the dataset is known.

    The numbers are those of ``CocoMetric``, rounded to three decimals as there. Widths are
    x2 - x1, so a model trained on inclusive boxes needs ``exclusive_boxes=True``. pycocotools
    never matches an annotation with id 0: files that have one lose a box. All images of
    ``ann_file`` count, even those that were not tested; without ``ann_file`` the ground truth
    comes with the samples (``instances`` among their meta keys). Annotations without
    ``iscrowd`` are not crowds.

    Args:
        ann_file: COCO json; None if the ground truth comes with the samples.
        *args: those of ``CocoMetric``.
        **kwargs: those of ``CocoMetric``.

    Raises:
        ValueError: ``ann_file`` is malformed, or lacks a class of the dataset or a tested image,
            or there is no sample.
    """

    def __init__(self, ann_file: str | None = None, *args, **kwargs) -> None:
        super().__init__(None, *args, **kwargs)
        self._inputs = [ann_file]
        if ann_file is None:
            return
        with get_local_path(ann_file, backend_args=self.backend_args) as path:
            self._coco_api = open_coco(path, ann_file, TRUTH_FIELDS, annotated=not self.format_only)
        annotations = self._coco_api.dataset['annotations']
        for annotation in annotations:
            annotation['iscrowd'] = int(annotation.get('iscrowd') or 0)  # pycocotools requires it
        if not self.format_only:
            warn_if_empty(annotations, type(self).__name__, ann_file)

    @property
    def dataset_meta(self) -> dict | None:
        """Meta information of the tested dataset."""
        return self._dataset_meta

    @dataset_meta.setter
    def dataset_meta(self, dataset_meta: dict) -> None:
        self._dataset_meta = dataset_meta
        self.find_categories()

    def find_categories(self) -> list | None:
        """Category id of each label; None while the dataset or the categories are not known.

        Raises:
            ValueError: the file lacks a class.
        """
        if self._coco_api is None or not isinstance(self.dataset_meta, Mapping):
            return None
        return category_ids(
            self._coco_api.dataset['categories'],
            self.dataset_meta['classes'],
            type(self).__name__,
        )

    def results2json(self, results: Sequence[dict], outfile_prefix: str) -> dict:
        """Write predictions with the category ids of their labels.

        mmdet's figures per class go by rising id, so this is how ``cat_ids`` are sorted afterwards.
        """
        of_label = self.find_categories() or []
        self.cat_ids = of_label
        files = super().results2json(results, outfile_prefix)
        self.cat_ids = sorted(of_label)
        return files

    def compute_metrics(self, results: list) -> dict[str, float]:
        """The metrics of ``CocoMetric``.

        Raises:
            ValueError: see the class.
        """
        if self._coco_api is not None:
            foreign = {pred['img_id'] for _, pred in results} - set(self._coco_api.imgs)
            if foreign:
                raise ValueError(
                    f'image {min(foreign)} was tested, but the ann_file of '
                    'PromptCocoMetric lacks it: give metric and dataset the same file'
                )
        return super().compute_metrics(results)
