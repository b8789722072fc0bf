"""Accuracy of image-text matching on pairs that match and on similar ones that do not."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from mmdet.registry import METRICS
from mmengine.evaluator import BaseMetric

from fiber_mmdet.arguments import strict_arguments
from fiber_mmdet.structures import need_field

from .retrieval_recall import text_owners


@METRICS.register_module()
@strict_arguments
class MatchingAccuracy(BaseMetric):
    """Share of pairs whose matching score is on the right side of 0.

    Each text is judged with its own image and with the most similar other image: the nearest by
    contrast, or, if the model has no ITC head, the one with the highest matching score. So half of
    the pairs match, and those that do not are hard.

    - ``accuracy``: of both halves together;
    - ``own``: share of texts that match their own image;
    - ``other``: share of texts that do not match the other image;
    - ``pairs``: their number.

    A sample is an image, as :class:`RetrievalValLoop` provides them, see :class:`RetrievalRecall`.
    Scores have to be log odds (``ITMHead(score='log_odds')``, the default). With
    ``rerank='top-k'``, own pairs that contrast leaves out have scores below all others, and count
    as pairs that were taken not to match.

    Args:
        collect_device: 'cpu' or 'gpu', where results of processes are gathered.
        prefix: prefix of the metric names.

    Raises:
        KeyError: samples of an ordinary loop, or without matching scores.
        ValueError: texts that belong to no image, or to several, or a single image.
    """

    default_prefix = 'matching'
    identity = ('image_id',)
    truth = ()
    needs_model = (
        'the scores of images with captions come from the test loop (RetrievalTestLoop), which '
        'needs the model'
    )

    def process(self, data_batch: Any, data_samples: Sequence[dict]) -> None:
        """Keep the scores and the texts of each image.

        Raises:
            KeyError: samples of an ordinary loop, or without matching scores.
        """
        loop = "test_cfg=dict(type='RetrievalTestLoop', rerank='top-k', top_k=…)"
        for sample in data_samples:
            scores = need_field(sample, 'scores', f'use {loop}')
            if 'itm' not in scores:
                raise KeyError(f'no matching scores: use {loop}, and a model with an ITMHead')
            # numpy, because pickling a row of a tensor sends the whole tensor to other processes
            match = torch.as_tensor(scores['itm']).float().cpu().numpy()
            near = torch.as_tensor(scores.get('itc', match)).float().cpu().numpy()
            self.results.append((match, near, list(need_field(sample, 'text_rows', f'use {loop}'))))

    def compute_metrics(self, results: list[tuple]) -> dict[str, float]:
        """The accuracies, and the number of ``pairs``.

        Raises:
            ValueError: texts that belong to no image, or to several, or a single image.
        """
        if len(results) < 2:
            raise ValueError('accuracy of matching needs two images or more')
        owners = text_owners([rows for *_, rows in results]).numpy()
        match, near = (np.stack([result[i] for result in results]) for i in (0, 1))
        texts = np.arange(len(owners))
        near[owners, texts] = -np.inf
        others = near.argmax(0)
        own = float((match[owners, texts] > 0).mean())
        other = float((match[others, texts] <= 0).mean())
        return dict(accuracy=(own + other) / 2, own=own, other=other, pairs=2.0 * len(owners))
