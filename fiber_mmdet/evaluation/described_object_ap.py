"""Average precision of described objects (the dataset D³)."""

from collections.abc import Sequence

import numpy as np
from mmdet.datasets.api_wrappers import COCOeval
from mmdet.evaluation.metrics import DODCocoMetric
from mmdet.registry import METRICS
from mmengine.evaluator import BaseMetric
from mmengine.fileio import get_local_path

from fiber_mmdet.datasets.detection.coco_file import TRUTH_FIELDS, open_coco
from fiber_mmdet.records import need

from .coco_ap import warn_if_empty
from .ordering import in_order

# Numbers of words, first to last.
LENGTHS = {'short': (1, 3), 'mid': (4, 6), 'long': (7, 9), 'very_long': (10, np.inf)}
AREAS = {'mAP_s': 1, 'mAP_m': 2, 'mAP_l': 3}


@METRICS.register_module()
class DescribedObjectAP(DODCocoMetric):
    """COCO's AP over the sentences of one annotation file of D³ (Xie et al., NeurIPS 2023).

    One instance scores one of d3_full, d3_pres and d3_abs. Predictions for
    sentences that are not in the file are ignored, so the same predictions serve all three.

    Every image of the file counts for every sentence of the file: a box for a
    sentence on an image where nothing fits it is a false positive, whatever
    group the image belongs to. The intra-scenario protocol is therefore a matter of the
    dataset, not of this metric: the dataset asks the model for the sentences of
    the image's own group only, and no box can be predicted for the others.

    Reported: mAP, mAP_50, mAP_75, by size (mAP_s, mAP_m, mAP_l), and the mean
    over the sentences of a length, counted in words (mAP_short 1-3, mAP_mid 4-6,
    mAP_long 7-9, mAP_very_long 10 and more); -1 where there is no true box.

    Differs from mmdet's ``DODCocoMetric``: values are not rounded; a length
    that no sentence has does not divide by zero; without predictions the metrics are 0; ties
    are ranked by :func:`in_order`, among images by id.

    Args:
        ann_file: COCO json whose categories are sentences.
        collect_device: 'cpu' or 'gpu', where results of processes are gathered.
        prefix: prefix of the metric names.
        backend_args: of mmengine's file backend.

    Raises:
        KeyError: a sample without ``sent_ids`` (the sentence id of each label).
        ValueError: ``ann_file`` is malformed, or lacks an image with predictions.
    """

    identity = ('img_id',)
    truth = ()

    def __init__(
        self,
        ann_file: str,
        collect_device: str = 'cpu',
        prefix: str | None = None,
        backend_args: dict | None = None,
    ) -> None:
        # mmdet's would read the file unchecked
        BaseMetric.__init__(self, collect_device=collect_device, prefix=prefix)
        self.ann_file = ann_file
        with get_local_path(ann_file, backend_args=backend_args) as path:
            self._coco_api = open_coco(path, ann_file, TRUTH_FIELDS)
        annotations = self._coco_api.dataset['annotations']
        for annotation in annotations:
            annotation['iscrowd'] = int(annotation.get('iscrowd') or 0)  # pycocotools requires it
        warn_if_empty(annotations, type(self).__name__, ann_file)

    def process(self, data_batch: dict, data_samples: Sequence[dict]) -> None:
        """As in mmdet, with the predictions in order.

        Raises:
            KeyError: a sample has no ``sent_ids``.
        """
        for sample in data_samples:
            need(sample, ('sent_ids',), 'a sample', 'add it to PackDetInputs.meta_keys', KeyError)
            sample = dict(in_order(sample), sent_ids=np.asarray(sample['sent_ids'], int))
            super().process(data_batch, [sample])

    def compute_metrics(self, results: list[dict]) -> dict[str, float]:
        """APs by pycocotools, for at most 100 boxes per sentence and image.

        Raises:
            ValueError: a prediction on an image that the file lacks.
        """
        api = self._coco_api
        rows = [row for row in self.results2json(results) if row['category_id'] in api.cats]
        foreign = {row['image_id'] for row in rows} - set(api.imgs)
        if foreign:
            raise ValueError(
                f'{self.ann_file} has no image {min(foreign)}, on which there are '
                'predictions: give metric and dataset the same file'
            )
        # pycocotools rejects an empty list; a box without area hits nothing.
        rows = rows or [
            dict(image_id=min(api.imgs), category_id=min(api.cats), bbox=[0, 0, 0, 0], score=0.0)
        ]
        evaluation = COCOeval(api, api.loadRes(rows), 'bbox')
        evaluation.evaluate()
        evaluation.accumulate()
        # axes: IoU threshold, recall, sentence, area, and number of boxes, of which the last is 100
        precision = evaluation.eval['precision'][..., -1]
        everywhere = precision[..., 0]
        by_sentence = [mean(everywhere[:, :, i]) for i in range(everywhere.shape[2])]
        words = [len(api.cats[i]['name'].split()) for i in evaluation.params.catIds]
        return {
            'mAP': mean(everywhere),
            'mAP_50': mean(everywhere[0]),
            'mAP_75': mean(everywhere[5]),
            **{name: mean(precision[..., area]) for name, area in AREAS.items()},
            **{
                f'mAP_{name}': mean([ap for ap, n in zip(by_sentence, words) if low <= n <= high])
                for name, (low, high) in LENGTHS.items()
            },
        }


def mean(values: np.ndarray | Sequence[float]) -> float:
    """Mean of the values that are not -1 (nothing to find), -1 if all are."""
    values = np.asarray(values)
    values = values[values > -1]
    return float(values.mean()) if values.size else -1.0
