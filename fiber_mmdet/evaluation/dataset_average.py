"""Several datasets in one test, and their average."""

from collections.abc import Mapping, Sequence
from typing import Any

from mmdet.evaluation.evaluator import MultiDatasetsEvaluator
from mmengine.evaluator import BaseMetric
from mmengine.logging import MMLogger
from mmengine.registry import EVALUATOR
from mmengine.structures import BaseDataElement

from fiber_mmdet.arguments import refuse_unknown

from .ordering import in_order

ROBUSTNESS = ('coco_ap', 'coco_prefix', 'beta', 'key')


@EVALUATOR.register_module()
class DatasetAverageEvaluator(MultiDatasetsEvaluator):
    """mmdet's ``MultiDatasetsEvaluator`` with averages over the datasets.

    The i-th metric scores the i-th dataset of a ``ConcatDataset`` and reports
    ``dataset prefix/metric prefix/name`` (for instance ``Aquarium/coco/bbox_mAP``).
    The unweighted means over the datasets follow as ``average/name``. A value of -1 means
    that a dataset has nothing to find (no small object, say): it is left out of that mean,
    with a warning.

    Also differs from mmdet's: further metrics (such as the one that ``tools/test.py --out``
    adds) see all samples, where mmdet drops them; predictions are moved to the CPU and put
    in order once, not by each metric.

    Args:
        metrics: a metric, or the config of one, per dataset.
        dataset_prefixes: distinct names of the datasets.
        average_keys: names to average, which each dataset must report. None: all
            that every dataset reports; an empty list: none.
        robustness: None, or a dict for ``average/effective_robustness``, the AP beyond that of
            a typical detector with the same AP on COCO (COCO-O, Mao et al., ICCV 2023):
            mean AP - ``beta`` x COCO AP. Its keys: ``coco_ap``, the AP on COCO
            val2017 as a fraction; or instead ``coco_prefix``, the one of
            ``dataset_prefixes`` that is COCO val2017: this dataset is scored in the
            same run and left out of the averages; ``beta`` (0.45); ``key``
            ('bbox_mAP'), the name of AP.

    Raises:
        ValueError: the numbers of prefixes and metrics differ, prefixes repeat, ``robustness``
            is inconsistent, or a dataset reports no value for a name to be averaged.
        TypeError: unknown key in ``robustness``.
    """

    def __init__(
        self,
        metrics: dict | BaseMetric | Sequence,
        dataset_prefixes: Sequence[str],
        average_keys: Sequence[str] | None = None,
        robustness: dict | None = None,
    ) -> None:
        super().__init__(metrics, list(dataset_prefixes))
        if len(self.metrics) != len(self.dataset_prefixes):
            raise ValueError(
                f'there are {len(self.dataset_prefixes)} dataset_prefixes for '
                f'{len(self.metrics)} metrics; each dataset needs one of each'
            )
        if len(set(self.dataset_prefixes)) < len(self.dataset_prefixes):
            raise ValueError(f'dataset_prefixes must differ: {", ".join(self.dataset_prefixes)}')
        self.average_keys = None if average_keys is None else list(average_keys)
        self.robustness = None if robustness is None else self._checked(robustness)

    @property
    def dataset_meta(self) -> dict | Sequence[dict] | None:
        """Meta information of the datasets: one for all of them, or a list."""
        return self._dataset_meta

    @dataset_meta.setter
    def dataset_meta(self, dataset_meta: dict | Sequence[dict]) -> None:
        """Give each metric the meta information of its own dataset, before the test begins."""
        self._dataset_meta = dataset_meta
        one = isinstance(dataset_meta, Mapping)
        for i, metric in enumerate(self.metrics):
            if one or i >= len(dataset_meta):
                metric.dataset_meta = dataset_meta
            else:
                metric.dataset_meta = dataset_meta[i]

    def _checked(self, robustness: dict) -> dict:
        """``robustness`` with its defaults filled in."""
        refuse_unknown('robustness', robustness, ROBUSTNESS)
        robustness = {
            'coco_ap': None,
            'coco_prefix': None,
            'beta': 0.45,
            'key': 'bbox_mAP',
            **robustness,
        }
        ap, prefix = robustness['coco_ap'], robustness['coco_prefix']
        if (ap is None) == (prefix is None):
            raise ValueError(
                'robustness needs either coco_ap, a fraction, or coco_prefix, one of '
                'dataset_prefixes'
            )
        if ap is not None and not 0 <= ap <= 1:
            raise ValueError(f'robustness.coco_ap is a fraction, 0.495 say, not {ap}')
        if prefix is not None and prefix not in self.dataset_prefixes:
            raise ValueError(
                f'robustness.coco_prefix {prefix!r} is not among dataset_prefixes: '
                f'{", ".join(self.dataset_prefixes)}'
            )
        return robustness

    def process(self, data_samples: Sequence, data_batch: Any | None = None) -> None:
        """Pass each sample to each metric, which selects its own by position at the end."""
        super().process(
            [
                in_order(sample.to_dict() if isinstance(sample, BaseDataElement) else sample)
                for sample in data_samples
            ],
            data_batch,
        )

    def evaluate(self, size: int) -> dict[str, float]:
        """Metrics of each dataset, then the averages (see the class)."""
        values = super().evaluate(size)
        for metric in self.metrics[len(self.dataset_prefixes) :]:
            values.update(metric.evaluate(size))
        return {**values, **self.averages(values)}

    def averages(self, values: dict[str, float]) -> dict[str, float]:
        """``average/name`` of the values of all datasets."""
        of_set = {}
        for prefix, metric in zip(self.dataset_prefixes, self.metrics):
            start = f'{prefix}/{metric.prefix}/' if metric.prefix else f'{prefix}/'
            of_set[prefix] = {
                key[len(start) :]: value for key, value in values.items() if key.startswith(start)
            }
        coco = of_set.pop(self.robustness['coco_prefix'], None) if self.robustness else None
        averages = {f'average/{key}': self.average(key, of_set) for key in self.keys(of_set)}
        if self.robustness:
            key, ap = self.robustness['key'], self.robustness['coco_ap']
            if ap is None:
                ap = self.average(key, {self.robustness['coco_prefix']: coco or {}})
            averages['average/effective_robustness'] = (
                self.average(key, of_set) - self.robustness['beta'] * ap
            )
        return averages

    def keys(self, of_set: dict[str, dict]) -> list[str]:
        """Names to average.

        Raises:
            ValueError: the datasets report no name in common.
        """
        if self.average_keys is not None:
            return self.average_keys
        first, *others = of_set.values()
        common = [key for key in first if all(key in other for other in others)]
        if not common:
            raise ValueError(
                'no metric is reported by all datasets: '
                + '; '.join(
                    f'{prefix}: {", ".join(found) or "none"}' for prefix, found in of_set.items()
                )
            )
        return common

    def average(self, key: str, of_set: dict[str, dict]) -> float:
        """Mean of one name over the datasets that have something to find, -1 if none has.

        Raises:
            ValueError: a dataset does not report the name.
        """
        for prefix, found in of_set.items():
            if key not in found:
                raise ValueError(
                    f'dataset {prefix} reports no {key!r}; it reports '
                    f'{", ".join(found) or "nothing"}'
                )
        empty = [prefix for prefix, found in of_set.items() if found[key] == -1]
        if empty:
            MMLogger.get_current_instance().warning(
                f'average/{key} is without {", ".join(empty)}: nothing to find there.'
            )
        kept = [found[key] for prefix, found in of_set.items() if prefix not in empty]
        return sum(kept) / len(kept) if kept else -1.0
