"""LVIS: fixed and ordinary average precision."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING

import numpy as np
from mmdet.evaluation.metrics.lvis_metric import LVISFixedAPMetric, LVISMetric
from mmdet.registry import METRICS
from mmengine.evaluator import BaseMetric
from mmengine.logging import MMLogger

from .coco_ap import OrderIndependent
from .ordering import in_order

if TYPE_CHECKING:
    from lvis import LVIS


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

    Labels follow the dataset's class names; if the file has as many categories with other
    names, or the classes are not known, they follow rising ids.

    Raises:
        ValueError: the file lacks classes and has a different number of categories.
    """
    ids = sorted(lvis_api.cats)
    id_of = {category['name']: i for i, category in lvis_api.cats.items()}
    classes = (dataset_meta or {}).get('classes')
    if classes is None:
        return ids
    missing = [name for name in classes if name not in id_of]
    if missing and len(classes) != len(ids):
        raise ValueError(
            f'the dataset has {len(classes)} classes, the ann_file of the metric '
            f'{len(ids)} categories, without {missing[0]!r}: give both the same file'
        )
    return ids if missing else [id_of[name] for name in classes]


@METRICS.register_module()
class PromptLVISFixedAP(LVISFixedAPMetric):
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
        super().__init__(
            ann_file,
            topk=topk,
            collect_device=collect_device,
            prefix=prefix,
            backend_args=backend_args,
        )
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
class PromptLVISMetric(OrderIndependent, LVISMetric):
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
        super().__init__(ann_file, **kwargs)

    def compute_metrics(self, results: list) -> dict[str, float]:
        """The metrics of ``LVISMetric``."""
        self.cat_ids = category_ids(self._lvis_api, self.dataset_meta)
        with numpy_float():
            return super().compute_metrics(results)
