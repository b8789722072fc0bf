"""Accuracies of the objectives of image-text pre-training."""

from collections.abc import Sequence
from typing import Any

import torch
from mmdet.registry import METRICS
from mmengine.evaluator import BaseMetric
from mmengine.logging import MMLogger
from torch import Tensor

from fiber_mmdet.arguments import strict_arguments

from .ordering import first_ranks

TOKENS = ('mlm', 'mvm')
ROWS = 1024  # of similarities computed together


@METRICS.register_module()
@strict_arguments
class PretrainingAccuracy(BaseMetric):
    """Accuracies of those objectives whose predictions the samples have.

    - ``mlm_accuracy``: share of masked tokens predicted correctly (``mlm_hits`` of
      ``mlm_count``); ``mvm_accuracy`` likewise for hidden image cells.
    - ``itm_accuracy``: share of pairs whose ``pred_match`` is on the correct side of
      0.5, given ``match`` (1 or 0). Without ``match`` all pairs are taken to match, and
      the name is ``itm_true_pairs``.
    - ``itc_i2t`` and ``itc_t2i``: share of images whose nearest text among all samples is
      one of their own, and likewise for texts (``image_feature``,
      ``text_feature``, ``image_id``). They depend on the number of samples and are not
      benchmark figures; for those see :class:`RetrievalRecall`.

    Args:
        collect_device: 'cpu' or 'gpu', where results of processes are gathered.
        prefix: prefix of the metric names.
    """

    default_prefix = 'pretrain'
    identity = ('image_id',)
    truth = ()

    def __init__(self, collect_device: str = 'cpu', prefix: str | None = None) -> None:
        super().__init__(collect_device=collect_device, prefix=prefix)
        self._warned: set[str] = set()

    def _warn(self, text: str) -> None:
        """Log a warning once."""
        if text not in self._warned:
            self._warned.add(text)
            MMLogger.get_current_instance().warning(text)

    def process(self, data_batch: Any, data_samples: Sequence[dict]) -> None:
        """Keep the predictions of each sample."""
        wanted = [
            'image_id',
            'match',
            'pred_match',
            'image_feature',
            'text_feature',
            *(f'{name}_{part}' for name in TOKENS for part in ('hits', 'count')),
        ]
        # numpy, because pickling a row of a tensor sends the whole tensor to other processes
        self.results += [
            {key: plain(sample[key]) for key in wanted if key in sample} for sample in data_samples
        ]

    def compute_metrics(self, results: list[dict]) -> dict[str, float]:
        """Accuracies, and the number of ``pairs``."""
        metrics = {}
        for name in TOKENS:
            counted = [r for r in results if f'{name}_count' in r]
            if counted:
                total = sum(r[f'{name}_count'] for r in counted)
                hits = sum(r[f'{name}_hits'] for r in counted)
                metrics[f'{name}_accuracy'] = hits / total if total else 0.0
        matched = [r for r in results if 'pred_match' in r]
        if matched:
            known = any('match' in r for r in matched)
            right = [(r['pred_match'] > 0.5) == bool(r.get('match', 1)) for r in matched]
            metrics['itm_accuracy' if known else 'itm_true_pairs'] = sum(right) / len(right)
            if known and len({bool(r.get('match', 1)) for r in matched}) < 2:
                self._warn('itm_accuracy is of pairs that all have the same answer')
        contrasted = [r for r in results if 'image_feature' in r and 'text_feature' in r]
        if contrasted:
            metrics.update(nearest(contrasted))
            if len({r.get('image_id', i) for i, r in enumerate(contrasted)}) < 2:
                self._warn('itc_i2t and itc_t2i of a single image are 1 whatever the model says')
        return dict(metrics, pairs=float(len(results)))


def plain(value: Any) -> Any:
    """A tensor as a float32 array, anything else unchanged."""
    return value.detach().float().cpu().numpy() if isinstance(value, Tensor) else value


def nearest(pairs: Sequence[dict]) -> dict[str, float]:
    """``itc_i2t`` and ``itc_t2i`` of pairs with features."""
    images, texts = (
        torch.stack([torch.as_tensor(pair[f'{kind}_feature']).float() for pair in pairs])
        for kind in ('image', 'text')
    )
    numbers: dict[Any, int] = {}
    owners = torch.tensor(
        [
            numbers.setdefault(pair.get('image_id', ('pair', i)), len(numbers))
            for i, pair in enumerate(pairs)
        ]
    )
    return dict(
        itc_i2t=found_first(images, texts, owners), itc_t2i=found_first(texts, images, owners)
    )


def found_first(queries: Tensor, candidates: Tensor, owners: Tensor) -> float:
    """Share of queries whose nearest candidate has the same owner.

    Args:
        queries: (N, C).
        candidates: (N, C).
        owners: (N,) int64, of queries and candidates alike.
    """
    ranks = [
        first_ranks(rows @ candidates.T, own, owners)
        for rows, own in zip(queries.split(ROWS), owners.split(ROWS))
    ]
    return float((torch.cat(ranks) < 1).double().mean())
