"""Accuracy of statements about two images (NLVR2)."""

from collections import defaultdict
from collections.abc import Sequence
from typing import Any

from mmdet.registry import METRICS
from mmengine.evaluator import BaseMetric
from mmengine.logging import MMLogger

from fiber_mmdet.arguments import strict_arguments
from fiber_mmdet.structures import need_field

from .offline import write_text


@METRICS.register_module()
@strict_arguments
class NLVR2Accuracy(BaseMetric):
    """Share of statements judged correctly, separately for each split.

    Consistency is that of the public evaluation: the share of sentences judged correctly
    for all their pairs of images. Each statement counts once.

    Samples have ``identifier`` ("dev-850-0-1": split, set, pair, sentence),
    ``split``, ``label`` and ``pred_label`` (1 true, 0 false).

    Args:
        outfile_prefix: if given, ``{outfile_prefix}.{split}.csv`` is written for each split,
            with lines of identifier and prediction as the public evaluation reads them.
        collect_device: 'cpu' or 'gpu', where results of processes are gathered.
        prefix: prefix of the metric names.
    """

    default_prefix = 'nlvr2'
    identity = ('image_id', 'identifier', 'split')
    truth = ('label',)

    def __init__(
        self,
        outfile_prefix: str | None = None,
        collect_device: str = 'cpu',
        prefix: str | None = None,
    ) -> None:
        super().__init__(collect_device=collect_device, prefix=prefix)
        self.outfile_prefix = outfile_prefix

    def process(self, data_batch: Any, data_samples: Sequence[dict]) -> None:
        """Keep split, identifier, prediction and label of each sample.

        Raises:
            KeyError: a sample lacks one of them.
        """
        for sample in data_samples:
            label = need_field(sample, 'pred_label', 'the model needs an NLVR2Head that predicts')
            self.results.append(
                (
                    need_field(sample, 'split'),
                    need_field(sample, 'identifier'),
                    int(label),
                    int(need_field(sample, 'label')),
                )
            )

    def compute_metrics(self, results: list[tuple]) -> dict[str, float]:
        """``SPLIT``, the accuracy, ``SPLIT/consistency`` and ``SPLIT/statements`` of each split."""
        splits: dict[str, dict] = defaultdict(dict)
        for split, identifier, predicted, label in results:
            splits[split].setdefault(identifier, (predicted, label))
        metrics = {}
        for split in sorted(splits):
            found = splits[split]
            if self.outfile_prefix is not None:
                write_text(
                    f'{self.outfile_prefix}.{split}.csv',
                    ''.join(
                        f'{identifier},{bool(predicted)}\n'
                        for identifier, (predicted, _) in found.items()
                    ),
                )
            right = {name: predicted == label for name, (predicted, label) in found.items()}
            if len({label for _, label in found.values()}) < 2:
                MMLogger.get_current_instance().warning(
                    f'all {len(found)} statements of {split} have the same answer: a model that '
                    'always gives it has an accuracy of 1'
                )
            sentences = defaultdict(list)
            for name, hit in right.items():
                sentences[sentence_of(name)].append(hit)
            consistent = [all(hits) for hits in sentences.values()]
            metrics[split] = sum(right.values()) / len(right)
            metrics[f'{split}/consistency'] = sum(consistent) / len(consistent)
            metrics[f'{split}/statements'] = float(len(right))
        return metrics


def sentence_of(identifier: str) -> str:
    """An identifier without the number of its pair of images, if it has four parts."""
    parts = identifier.split('-')
    return '-'.join(parts[:2] + parts[3:]) if len(parts) == 4 else identifier
