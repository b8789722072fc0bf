"""Training prompts from categories: the positives and a random choice of negatives."""
from typing import Optional, Sequence

import numpy as np
from mmcv.transforms import BaseTransform
from mmcv.transforms.utils import cache_randomness
from mmdet.registry import TRANSFORMS


@TRANSFORMS.register_module()
class SampleCategories(BaseTransform):
    """Keep all positive categories, draw some negatives, shuffle, renumber the labels.

    With probability ``full_prob`` up to ``max_negatives`` negatives are drawn,
    else a uniform number from 1 to ``usual_negatives``; labels become positions
    in the prompt.

    Args:
        max_negatives: negative categories at most.
        full_prob: probability of taking that many.
        usual_negatives: negative categories at most otherwise; ``max_negatives``
            if not given.
        templates: how the names are worded; each prompt draws one, such as
            ``'a {}'``, for all its names. Samples with a ``caption_prompt`` are
            worded by that alone.
    """

    def __init__(self, max_negatives: int = 85, full_prob: float = 0.5,
                 usual_negatives: Optional[int] = None, templates: Sequence[str] = ('{}',)) -> None:
        self.max_negatives = max_negatives
        self.full_prob = full_prob
        self.usual_negatives = usual_negatives or max_negatives
        self.templates = tuple(templates)

    @cache_randomness
    def _choose(self, names: int, positives: tuple[int, ...]) -> list[int]:
        """Indices of the categories of the prompt, in its order."""
        negatives = np.setdiff1d(np.arange(names), positives)
        count = min(self.max_negatives, len(negatives))
        if count and np.random.rand() >= self.full_prob:
            count = np.random.randint(1, min(self.usual_negatives, count) + 1)
        chosen = np.concatenate([np.array(positives, int),
                                 np.random.choice(negatives, count, replace=False)])
        return np.random.permutation(chosen).tolist()

    def transform(self, results: dict) -> dict:
        """Replace ``text`` (category names) and ``gt_bboxes_labels`` (indices into it)."""
        names, labels = results['text'], results['gt_bboxes_labels']
        order = self._choose(len(names), tuple(np.unique(labels).tolist()))
        position = np.zeros(len(names), dtype=np.int64)
        position[order] = np.arange(len(order))
        template = '{}'
        if not results.get('caption_prompt'):
            template = self.templates[np.random.randint(len(self.templates))]
        results['text'] = [template.format(names[i]) for i in order]
        results['gt_bboxes_labels'] = position[labels]
        return results
