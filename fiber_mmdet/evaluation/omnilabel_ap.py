"""Average precision of OmniLabel: free-form descriptions and categories."""

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
from mmdet.registry import METRICS
from mmengine.evaluator import BaseMetric

from fiber_mmdet.datasets.detection.omnilabel_file import AskedText, read_omnilabel
from fiber_mmdet.outputs import write_json
from fiber_mmdet.records import need

from .coco_ap import warn_if_empty
from .ordering import in_order
from .pooled_precision import Group, Pair, PairMatcher, Pool

CATEGORY, PRESENT, ABSENT = 'category', 'present', 'absent'
DESCRIPTIONS = (PRESENT, ABSENT)


GROUPS = {
    'categ': Group((CATEGORY,)),
    'descr': Group(DESCRIPTIONS),
    'descr-pos': Group((PRESENT,)),
    'descr-S': Group(DESCRIPTIONS, (0, 3)),
    'descr-M': Group(DESCRIPTIONS, (4, 8)),
    'descr-L': Group(DESCRIPTIONS, (9, np.inf)),
}


@METRICS.register_module()
class OmniLabelAP(BaseMetric):
    """OmniLabel's average precision (Schulter et al., ICCV 2023), as its toolkit 0.1 computes it.

    For each image and each text of its label space, COCO's matching of the 100 best boxes at ten
    IoUs. Unlike in COCO, the boxes of all images and texts of a group are then ranked together by
    their scores: a text that nothing in its image fits is a source of false positives, and scores
    have to be comparable between texts. The groups:

    ===================== =====================================================================
    ``AP-categ``          names of categories
    ``AP-descr``          free-form descriptions
    ``AP-descr-pos``      those that fit something in their image
    ``AP-descr-S/M/L``    free-form descriptions of up to 3, of 4 to 8, of 9 words or more
    ===================== =====================================================================

    ``AP`` is 2ab / (a + b + 1e-5), the harmonic mean of ``AP-categ`` and ``AP-descr``. Of both,
    ``AP50``, ``AP75`` and ``AR@100`` are reported, too (``AP50-descr``). A group without a true box
    is -1, and so is ``AP`` if one of its two groups is.

    Every image of ``ann_file`` counts, whether it was tested or not. Detections for a text outside
    the label space of their image are ignored. Ties are ranked by image id, then by the order of
    texts in the file, then as in :func:`in_order`. Sizes of boxes play no part.

    Args:
        ann_file: json of OmniLabel. Types of descriptions (``anno_info``) and boxes may be missing
            with ``format_only``.
        format_only: only write predictions, for files without boxes.
        outfile_prefix: predictions are written to ``PREFIX.omnilabel.json``, in the form that the
            benchmark's toolkit reads; None: they are not.
        collect_device: 'cpu' or 'gpu', where results of processes are gathered.
        prefix: prefix of the metric names.
        backend_args: of mmengine's file backend.

    Raises:
        KeyError: a sample without ``description_ids`` (the description of each label).
        ValueError: ``ann_file`` is malformed, or lacks an image with predictions; or
            ``format_only`` without ``outfile_prefix``.
    """

    default_prefix = 'omnilabel'
    identity = ('img_id',)
    truth = ()

    def __init__(
        self,
        ann_file: str,
        format_only: bool = False,
        outfile_prefix: str | None = None,
        collect_device: str = 'cpu',
        prefix: str | None = None,
        backend_args: dict | None = None,
    ) -> None:
        super().__init__(collect_device=collect_device, prefix=prefix)
        if format_only and outfile_prefix is None:
            raise ValueError(
                'OmniLabelAP: format_only=True writes a file, so outfile_prefix must say where'
            )
        self.ann_file = ann_file
        self.format_only = format_only
        self.outfile_prefix = outfile_prefix
        self.content = read_omnilabel(ann_file, not format_only, backend_args)
        if not format_only:
            boxes = [box for boxes in self.content.boxes.values() for box in boxes]
            warn_if_empty(boxes, type(self).__name__, ann_file)

    def process(self, data_batch: dict, data_samples: Sequence[dict]) -> None:
        """Keep the detections of each sample, in order.

        Raises:
            KeyError: a sample has no ``description_ids``.
            ValueError: a label beyond them, or an image that ``ann_file`` lacks.
        """
        for sample in data_samples:
            remedy = 'add it to PackDetInputs.meta_keys'
            need(sample, ('description_ids',), 'a sample', remedy, KeyError)
            image, ids = sample['img_id'], list(sample['description_ids'])
            if image not in self.content.label_spaces:
                raise ValueError(
                    f'{self.ann_file} has no image {image!r}, on which there are predictions: give '
                    'metric and dataset the same file'
                )
            found = in_order(sample)['pred_instances']
            labels = found['labels'].tolist()
            if max(labels, default=-1) >= len(ids):
                raise ValueError(
                    f'image {image!r} has label {max(labels)}, but description_ids names '
                    f'{len(ids)} descriptions only'
                )
            x1, y1, x2, y2 = found['bboxes'].numpy().astype(float).T
            boxes = np.stack([x1, y1, x2 - x1, y2 - y1], axis=1)
            self.results.append((image, ids, boxes, found['scores'].numpy(), labels))

    def compute_metrics(self, results: list[tuple]) -> dict[str, float]:
        """APs by group, or the number of ``images`` with ``format_only``; writes the file if asked.

        Raises:
            OutputError, OSError: the file cannot be written.
        """
        samples: dict[tuple, tuple] = {}
        for sample in results:  # those that a sampler repeats count once
            samples.setdefault((sample[0], tuple(sample[1])), sample)
        if self.outfile_prefix is not None:
            rows = [row for sample in samples.values() for row in result_rows(*sample)]
            write_json(f'{self.outfile_prefix}.omnilabel.json', rows, [self.ann_file])
        of_image: dict[Any, list[tuple]] = {}
        for image, *found in samples.values():
            of_image.setdefault(image, []).append(tuple(found))
        if self.format_only:
            return dict(images=float(len(of_image)))
        matcher, pools = PairMatcher(), {name: Pool(group) for name, group in GROUPS.items()}
        for image in sorted(self.content.label_spaces):
            pairs = list(self.pairs(image, of_image.get(image, ()), matcher))
            for pool in pools.values():
                pool.add(pairs)
        return figures({name: pool.precisions() for name, pool in pools.items()})

    def pairs(self, image: Any, samples: Iterable[tuple], matcher: PairMatcher) -> Iterable[Pair]:
        """An image with each text of its label space that has detections or true boxes.

        Args:
            image: id.
            samples: description ids, boxes (N, 4) as x, y, w, h, scores (N,) and labels of each
                of its samples.
            matcher: of detections and true boxes.
        """
        found: dict[Any, list] = {}
        for ids, boxes, scores, labels in samples:
            for box, score, label in zip(boxes, scores.tolist(), labels):
                found.setdefault(ids[label], []).append((score, box))
        true: dict[Any, list[dict]] = {}
        for annotation in self.content.boxes.get(image, ()):
            for i in annotation['description_ids']:
                true.setdefault(i, []).append(annotation)
        for position in self.content.label_spaces[image]:
            text = self.content.descriptions[position]
            own, truths = found.get(text.id, []), true.get(text.id, [])
            if own or truths:
                yield Pair(
                    kind_of(text, bool(truths)),
                    len(text.text.split()),
                    *matcher.match(own, truths),
                    sum(not box.get('iscrowd') for box in truths),
                )


def kind_of(text: AskedText, present: bool) -> str:
    """Kind of a text on an image where something fits it, or nothing."""
    if text.category:
        return CATEGORY
    return PRESENT if present else ABSENT


def result_rows(
    image: Any, ids: Sequence, boxes: np.ndarray, scores: np.ndarray, labels: Sequence[int]
) -> Iterable[dict]:
    """Predictions as the benchmark's toolkit reads them; equal boxes share a row."""
    rows: dict[tuple, dict] = {}
    for box, score, label in zip(boxes.tolist(), scores.tolist(), labels):
        row = rows.setdefault(
            tuple(box), dict(image_id=image, bbox=box, description_ids=[], scores=[])
        )
        row['description_ids'].append(ids[label])
        row['scores'].append(score)
    return rows.values()


def figures(found: dict[str, tuple[np.ndarray, np.ndarray] | None]) -> dict[str, float]:
    """The reported figures.

    Args:
        found: (average precisions, recalls) at each IoU threshold, by group; None for -1.
    """

    def mean(values: np.ndarray) -> float:
        return float(values.mean())

    aps = {name: mean(parts[0]) if parts else -1.0 for name, parts in found.items()}
    a, b = aps['categ'], aps['descr']
    metrics = {'AP': -1.0 if min(a, b) < 0 else 2 * a * b / (a + b + 1e-5)}
    metrics.update({f'AP-{name}': value for name, value in aps.items()})
    for name in ('categ', 'descr'):
        parts = found[name]
        metrics[f'AP50-{name}'] = float(parts[0][0]) if parts else -1.0
        metrics[f'AP75-{name}'] = float(parts[0][5]) if parts else -1.0
        metrics[f'AR@100-{name}'] = mean(parts[1]) if parts else -1.0
    return metrics
