"""Recall of image-text retrieval."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from mmdet.registry import METRICS
from mmengine.evaluator import BaseMetric
from mmengine.logging import MMLogger
from torch import Tensor

from fiber_mmdet.arguments import strict_arguments
from fiber_mmdet.structures import need_field

from .ordering import first_ranks


@METRICS.register_module()
@strict_arguments
class RetrievalRecall(BaseMetric):
    """Recall of texts for images and of images for texts, for each kind of score.

    - ``TR@k``: share of images with one of their texts among the k best;
    - ``IR@k``: share of texts whose image is among the k best;
    - ``R@1_sum``: ``TR@1`` + ``IR@1``, for the choice of checkpoints.

    Ties are ranked in the order of the dataset; a score that is
    not a number ranks last. Names are ``itc/TR@1``, ``itm/IR@10``, ….

    A sample is an image, as :class:`RetrievalValLoop` provides them in the order
    of the dataset: ``scores``, kind -> (T,) of the image with all texts, and
    ``text_rows``, the numbers of its own texts; those of all images are 0 to T-1.

    Args:
        topk: values of k.
        collect_device: 'cpu' or 'gpu', where results of processes are gathered.
        prefix: prefix of the metric names.

    Raises:
        KeyError: samples of an ordinary loop.
        ValueError: texts that belong to no image, or to several.
    """

    default_prefix = 'retrieval'
    identity = ('image_id',)
    truth = ()
    needs_model = (
        'the scores of all images with all captions come from the test loop '
        '(RetrievalTestLoop), which needs the model'
    )

    def __init__(
        self,
        topk: Sequence[int] = (1, 5, 10),
        collect_device: str = 'cpu',
        prefix: str | None = None,
    ) -> None:
        super().__init__(collect_device=collect_device, prefix=prefix)
        self.topk = tuple(topk)
        self._warned = False

    def process(self, data_batch: Any, data_samples: Sequence[dict]) -> None:
        """Keep the scores and the texts of each image.

        Raises:
            KeyError: samples of an ordinary loop.
        """
        remedy = (
            "use val_cfg=dict(type='RetrievalValLoop'), test_cfg=dict(type='RetrievalTestLoop')"
        )
        for sample in data_samples:
            # numpy, because pickling a row of a tensor sends the whole tensor to other processes
            scores = {
                kind: torch.as_tensor(row).float().cpu().numpy()
                for kind, row in need_field(sample, 'scores', remedy).items()
            }
            self.results.append((scores, list(need_field(sample, 'text_rows', remedy))))

    def compute_metrics(self, results: list[tuple]) -> dict[str, float]:
        """Recalls of each kind of score, and the numbers of ``images`` and ``texts``.

        Raises:
            ValueError: texts that belong to no image, or to several.
        """
        owners = text_owners([rows for _, rows in results])
        self._warn_of_certain(len(results), len(owners))
        metrics = {}
        for kind in results[0][0] if results else ():
            scores = torch.from_numpy(np.stack([scores[kind] for scores, _ in results]))
            metrics.update(
                {f'{kind}/{name}': value for name, value in self.recalls(scores, owners).items()}
            )
        return dict(metrics, images=float(len(results)), texts=float(len(owners)))

    def _warn_of_certain(self, images: int, texts: int) -> None:
        """Say once which recalls are 1 whatever the scores: those of no more candidates than k."""
        certain = [
            f'{name}@{k}'
            for name, candidates in (('TR', texts), ('IR', images))
            for k in self.topk
            if 0 < candidates <= k
        ]
        if certain and not self._warned:
            self._warned = True
            MMLogger.get_current_instance().warning(
                f'{", ".join(certain)} of {images} images and {texts} texts are 1 whatever the '
                'model says: there are no more candidates than places'
            )

    def recalls(self, scores: Tensor, owners: Tensor) -> dict[str, float]:
        """Both recalls for each k, and the sum of those at 1.

        Args:
            scores: (I, T).
            owners: (T,) int64, the image of each text.
        """
        images = torch.arange(len(scores))
        ranks = dict(
            TR=first_ranks(scores, images, owners), IR=first_ranks(scores.T, owners, images)
        )
        recall = {
            f'{name}@{k}': float((rank < k).double().mean())
            for name, rank in ranks.items()
            for k in self.topk
        }
        best = (float((rank < 1).double().mean()) for rank in ranks.values())
        return {**recall, 'R@1_sum': sum(best)}


def text_owners(rows: Sequence[Sequence[int]]) -> Tensor:
    """Image of each text (T,) int64, from the texts of each image.

    Raises:
        ValueError: texts that belong to no image, or to several, or an image
            without any.
    """
    total = sum(map(len, rows))
    owners = torch.full((total,), -1)
    for image, texts in enumerate(rows):
        for text in texts:
            if not 0 <= text < total or owners[text] >= 0:
                raise ValueError(
                    f'text {text} of {total} belongs to image {image}, but also to '
                    'another, or there are gaps: text_rows must number the texts of '
                    'all images'
                )
            owners[text] = image
        if not texts:
            raise ValueError(f'image {image} has no text: retrieval needs one for each image')
    return owners
