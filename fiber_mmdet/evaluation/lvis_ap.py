"""LVIS: fixed and ordinary average precision."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING

import numpy as np
from mmdet.evaluation.metrics.lvis_metric import LVISFixedAPMetric, LVISMetric
from mmdet.registry import METRICS
from mmengine.evaluator import BaseMetric
from mmengine.fileio import get_local_path
from mmengine.logging import MMLogger

from fiber_mmdet.fields import ID, NAME, Kind, check_table, list_of
from fiber_mmdet.formats.coco_file import BOX_FIELDS, read_coco

from .coco_ap import OrderIndependent, warn_if_empty
from .ordering import in_order

if TYPE_CHECKING:
    from lvis import LVIS


IDS = list_of(ID)
IMAGE_FIELDS = dict(id=ID, neg_category_ids=IDS, not_exhaustive_category_ids=IDS)
FREQUENCY = Kind("'r', 'c' or 'f' (rare, common, frequent)", lambda value: value in ('r', 'c', 'f'))
CATEGORY_FIELDS = dict(id=ID, name=NAME, frequency=FREQUENCY)
REMEDY = (
    'add it (empty lists, one frequency for all), or use PromptCocoDataset and PromptCocoMetric '
    'for files without it'
)


def open_lvis(ann_file: str, metric: str, backend_args: dict | None = None) -> 'LVIS':
    """Read and check a file as the LVIS metrics need it.

    Args:
        ann_file: LVIS json.
        metric: what the log calls the metric.
        backend_args: of mmengine's file backend.

    Raises:
        ImportError: the package lvis is not installed.
        FileNotFoundError: the file does not exist.
        ValueError: naming the file, the record and how to correct it.
    """
    from lvis import LVIS

    class CheckedLVIS(LVIS):
        def _load_json(self, path: str) -> dict:
            content = read_coco(path, ann_file, dict(id=ID), dict(BOX_FIELDS))
            for key, fields, name in (
                ('images', IMAGE_FIELDS, 'image'),
                ('categories', CATEGORY_FIELDS, 'category'),
            ):
                check_table(content[key], fields, name, ann_file, remedy=REMEDY)
            warn_if_empty(content['annotations'], metric, ann_file)
            return content

    with get_local_path(ann_file, backend_args=backend_args) as path:
        return CheckedLVIS(path)


@contextmanager
def numpy_float() -> Iterator[None]:
    """``np.float``, which the lvis package uses and numpy 1.24 removed, within the context."""
    absent = 'float' not in vars(np)
    if absent:
        vars(np)['float'] = float
    try:
        yield
    finally:
        if absent:
            del vars(np)['float']


def category_ids(lvis_api: 'LVIS', dataset_meta: dict | None) -> list[int]:
    """Category id of each label.

    Labels follow the dataset's class names. If the file has as many categories, some of other
    names (such as corrected spellings), or the classes are not known, they follow rising ids.

    Raises:
        ValueError: the file lacks classes and has a different number of categories, or has common
            names at other places, so that rising ids would mix categories up; or a name twice.
    """
    ids = sorted(lvis_api.cats)
    names = [lvis_api.cats[i]['name'] for i in ids]
    classes = (dataset_meta or {}).get('classes')
    if classes is None:
        return ids
    id_of = dict(zip(names, ids))
    missing = [name for name in classes if name not in id_of]
    if missing and len(classes) != len(ids):
        raise ValueError(
            f'the dataset has {len(classes)} classes, the ann_file of the metric '
            f'{len(ids)} categories, without {missing[0]!r}: give both the same file'
        )
    if not missing:
        twice = next((name for name in classes if names.count(name) > 1), None)
        if twice is not None:
            raise ValueError(
                f'the ann_file of the metric has two categories named {twice!r}: rename one of them'
            )
        return [id_of[name] for name in classes]
    moved = [name for name, there in zip(classes, names) if name != there and name in id_of]
    if moved:
        raise ValueError(
            f'the ann_file of the metric lacks {missing[0]!r} of the dataset, and lists '
            f'{moved[0]!r} at another place: give both the same file'
        )
    return ids


class ChecksCategories:
    """Mixin before the LVIS metrics: names are compared as soon as the dataset is known."""

    _lvis_api: 'LVIS'

    @property
    def dataset_meta(self) -> dict | None:
        """Meta information of the tested dataset."""
        return self._dataset_meta

    @dataset_meta.setter
    def dataset_meta(self, dataset_meta: dict) -> None:
        self._dataset_meta = dataset_meta
        if isinstance(dataset_meta, Mapping):
            category_ids(self._lvis_api, dataset_meta)


@METRICS.register_module()
class PromptLVISFixedAP(ChecksCategories, LVISFixedAPMetric):
    """LVIS AP of the ``topk`` best detections of each category (fixed AP, Dave et al. 2021).

    There is no limit per image: all chunks of a vocabulary are pooled, each
    category keeps its best detections in the whole dataset, and the lvis
    package scores them by its federated rules. Its numbers are reported
    unchanged: AP, AP50, AP75, by size (APs, APm, APl) and by frequency (APr, APc,
    APf); 0 without predictions, -1 if there is no true box. Widths are
    x2 - x1: the model needs ``exclusive_boxes=False``.

    Differs from mmdet's ``LVISFixedAPMetric``: numpy >= 1.24 works; ties are
    ranked by image id, then as in :func:`in_order`; samples that a distributed
    sampler repeats count once; results are kept per sample, so that
    ``MultiDatasetsEvaluator`` works. Memory is bounded: detections that score too low for the
    best ``topk`` are dropped along the way, and those of categories that are not verified on
    their image, which no rule looks at, before the lvis package sees them. At worst that is
    24 bytes for each of twice ``topk`` detections per category, where mmdet keeps (and merges,
    at every image) lists of dicts.

    Labels are those of the dataset (see :func:`category_ids`). All images and
    categories of ``ann_file`` count: those that were not tested as if nothing
    was found. For a subset, write an annotation file of its own, like minival.

    Args:
        ann_file: LVIS json.
        topk: detections kept per category.
        collect_device: 'cpu' or 'gpu', where results of processes are gathered.
        prefix: prefix of the metric names.
        backend_args: of mmengine's file backend.

    Raises:
        ValueError: labels or images that ``ann_file`` lacks, or ``topk`` below 1.
    """

    identity = ('img_id',)
    truth = ()
    prune_above = 4_000_000  # detections; with fewer, pruning is not worth its time

    def __init__(
        self,
        ann_file: str,
        topk: int = 10000,
        collect_device: str = 'cpu',
        prefix: str | None = None,
        backend_args: dict | None = None,
    ) -> None:
        if topk < 1:
            raise ValueError(f'PromptLVISFixedAP: topk must be at least 1, not {topk}')
        # mmdet's would read the file unchecked
        BaseMetric.__init__(self, collect_device=collect_device, prefix=prefix)
        self.topk = topk
        self.backend_args = backend_args
        self._lvis_api = open_lvis(ann_file, type(self).__name__, backend_args)
        self.cat_ids = sorted(self._lvis_api.cats)
        self.results: list[tuple] = []

    def process(self, data_batch: dict, data_samples: Sequence[dict]) -> None:
        """Keep (image id, boxes, scores, labels) of each sample, without low-scoring detections.

        Raises:
            ValueError: a label beyond the categories of ``ann_file``.
        """
        for sample in data_samples:
            if not self.results:
                self.lowest = np.full(len(self._lvis_api.cats), -np.inf)
                self.stored, self.limit = 0, self.prune_above
            pred = in_order(sample)['pred_instances']
            boxes, scores, labels = (
                pred['bboxes'].numpy(),
                pred['scores'].numpy(),
                pred['labels'].int().numpy(),
            )
            if len(labels) and labels.max() >= len(self.lowest):
                raise ValueError(
                    f'image {sample["img_id"]} has label {labels.max()}, but the ann_file of '
                    f'PromptLVISFixedAP has {len(self.lowest)} categories: give metric and '
                    'dataset the same file'
                )
            self.results.append(self.high_ones((sample['img_id'], boxes, scores, labels)))
            self.stored += len(self.results[-1][-1])
            if self.stored > self.limit:
                self.prune()

    def high_ones(self, result: tuple) -> tuple:
        """One sample without the detections that cannot be among the best of their category."""
        image, boxes, scores, labels = result
        high = scores >= self.lowest[labels]
        return image, boxes[high], scores[high], labels[high]

    def prune(self) -> None:
        """Drop all detections that score below the ``topk``-th of their category."""
        scores = np.concatenate([scores for _, _, scores, _ in self.results])
        labels = np.concatenate([labels for *_, labels in self.results])
        order = np.lexsort((-scores, labels))
        counts = np.bincount(labels, minlength=len(self._lvis_api.cats))
        starts, full = counts.cumsum() - counts, counts > self.topk
        self.lowest[full] = scores[order][starts[full] + self.topk - 1]
        self.results[:] = map(self.high_ones, self.results)
        self.stored = sum(len(labels) for *_, labels in self.results)
        self.limit = max(self.prune_above, 2 * self.stored)

    def evaluate(self, size: int) -> dict:
        """Gather the first ``size`` samples of all processes and score them."""
        return BaseMetric.evaluate(self, size)

    def compute_metrics(self, results: list[tuple]) -> dict[str, float]:
        """The APs of the lvis package.

        Raises:
            ValueError: there is no sample, or an image is not in ``ann_file``.
        """
        from lvis import LVISEval, LVISResults

        if not results:
            raise ValueError('PromptLVISFixedAP got no sample: the dataset is empty')
        logger = MMLogger.get_current_instance()
        tested = {image for image, *_ in results}
        foreign = tested - set(self._lvis_api.imgs)
        if foreign:
            raise ValueError(
                f'image {min(foreign)} was tested, but the ann_file of '
                'PromptLVISFixedAP lacks it: give metric and dataset the same file'
            )
        if len(tested) < len(self._lvis_api.imgs):
            logger.warning(
                f'{len(tested)} of the {len(self._lvis_api.imgs)} images of the ann_file '
                'were tested; on the others everything counts as missed.'
            )
        self.cat_ids = category_ids(self._lvis_api, self.dataset_meta)
        rows = self.verified(*self.best(results))
        # LVISResults rejects an empty list; a box without area hits nothing.
        rows = rows or [
            dict(
                image_id=min(self._lvis_api.imgs),
                category_id=self.cat_ids[0],
                bbox=[0, 0, 0, 0],
                score=0.0,
            )
        ]
        evaluation = LVISEval(
            self._lvis_api, LVISResults(self._lvis_api, rows, max_dets=-1), iou_type='bbox'
        )
        evaluation.params.max_dets = -1
        with numpy_float():
            evaluation.run()
        evaluation.print_results()
        return {
            key: float(value) for key, value in evaluation.results.items() if key.startswith('AP')
        }

    def best(self, results: list[tuple]) -> tuple[np.ndarray, ...]:
        """Image ids (N,), boxes (N, 4), scores (N,) and labels (N,) of each category's ``topk``."""
        results = sorted(results, key=lambda result: result[0])
        images = np.repeat([image for image, *_ in results], [len(r[-1]) for r in results])
        boxes, scores, labels = (
            np.concatenate(parts) for parts in zip(*(result[1:] for result in results))
        )
        order = np.lexsort((-scores, labels))  # stable, so ties stay by image and in order
        counts = np.bincount(labels, minlength=len(self._lvis_api.cats))
        rank = np.arange(len(labels)) - (counts.cumsum() - counts)[labels[order]]
        kept = order[rank < self.topk]
        return images[kept], boxes[kept], scores[kept], labels[kept]

    def verified(
        self, images: np.ndarray, boxes: np.ndarray, scores: np.ndarray, labels: np.ndarray
    ) -> list[dict]:
        """Rows for the lvis package: detections of categories verified on their image.

        Args:
            images: (N,) image ids.
            boxes: (N, 4) x1, y1, x2, y2.
            scores: (N,).
            labels: (N,).
        """
        known = {(ann['image_id'], ann['category_id']) for ann in self._lvis_api.anns.values()}
        known.update(
            (image['id'], category)
            for image in self._lvis_api.imgs.values()
            for category in image['neg_category_ids']
        )
        rows = []
        for image, (x1, y1, x2, y2), score, label in zip(
            images.tolist(), boxes.astype(float), scores.tolist(), labels.tolist()
        ):
            category = self.cat_ids[label]
            if (image, category) in known:
                rows.append(
                    dict(
                        image_id=image,
                        category_id=category,
                        score=score,
                        bbox=[x1, y1, x2 - x1, y2 - y1],
                    )
                )
        return rows


@METRICS.register_module()
class PromptLVISMetric(ChecksCategories, OrderIndependent, LVISMetric):
    """mmdet's ``LVISMetric`` (ordinary AP, 300 detections per image), independent of order.

    Differs from mmdet's: numpy >= 1.24 works; ties and the absence of predictions are
    handled as :class:`OrderIndependent` says; labels are those of the dataset (see
    :func:`category_ids`). Images of ``ann_file`` that were not tested count as
    missed. The ground truth cannot come with the samples.

    Args:
        ann_file: LVIS json.
        **kwargs: those of ``LVISMetric``.
    """

    def __init__(self, ann_file: str, **kwargs) -> None:
        super().__init__(None, **kwargs)
        self._lvis_api = open_lvis(ann_file, type(self).__name__, self.backend_args)

    def results2json(self, results: Sequence[dict], outfile_prefix: str) -> dict:
        """Write predictions with the category ids of their labels.

        mmdet's figures per class go by rising id, so this is how ``cat_ids`` are sorted afterwards.
        """
        self.cat_ids = category_ids(self._lvis_api, self.dataset_meta)
        files = super().results2json(results, outfile_prefix)
        self.cat_ids = sorted(self.cat_ids)
        return files

    def compute_metrics(self, results: list) -> dict[str, float]:
        """The metrics of ``LVISMetric``."""
        self.cat_ids = category_ids(self._lvis_api, self.dataset_meta)
        with numpy_float():
            return super().compute_metrics(results)
