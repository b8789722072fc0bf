"""Training prompts from categories: the positives and a random choice of negatives."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from mmcv.transforms import BaseTransform
from mmcv.transforms.utils import cache_randomness
from mmdet.registry import TRANSFORMS

from fiber_mmdet.text import category_prompt

from .inclusive_boxes import keep_boxes
from .token_budget import TokenBudget

POOLS = ('negatives', 'all')


@TRANSFORMS.register_module()
class SampleCategories(BaseTransform):
    """Keep the positive categories, draw some negatives, shuffle, renumber the labels.

    With ``some_prob``, only some of the positives are named, from none to all but one, equally
    likely; the boxes of the others are dropped. Without it, each object that is annotated has its
    name in each prompt, and a model may learn to give every object a box, of the name that fits
    it best.

    Each sample draws its number of negatives: one with ``one_prob``, none with ``none_prob``,
    ``max_negatives`` with ``full_prob``, otherwise a number from 1 to ``usual_negatives``, all
    equally likely. Labels become positions in the prompt. An image without boxes gets at least one
    name. Categories with the same name are merged. Samples whose text is a caption pass through,
    so that mixed data can share a pipeline.

    With a ``tokenizer`` the prompt never exceeds the tokens that the model reads: from the
    positives in random order, followed by the negatives as drawn, the names before the first one
    that does not fit are kept. Boxes of positives that do not fit are dropped, which happens only
    if there are too many positives.

    The papers' settings of (``one_prob``, ``none_prob``, ``full_prob``) are (0, 0, 0.5) for GLIP,
    (0.05, 0.05, 0.5) for FIBER on Objects365 and (0, 0, 1) on LVIS. FIBER's published configs
    contain a fourth number, for dropping positives, which its code rejects; it is not implemented
    here.

    Args:
        max_negatives: largest number of negative categories.
        full_prob: probability of taking that many.
        usual_negatives: largest number otherwise; ``max_negatives`` if not given.
        templates: wordings of the names; each prompt draws one, such as ``'a {}'``, for all its
            names. Samples with a ``caption_prompt`` use only that.
        one_prob: probability of a single negative.
        none_prob: probability of no negatives.
        some_prob: probability of naming only some of the positives.
        shuffle: names in random order, otherwise in the order of the dataset.
        tokenizer: ``dict(name_or_path=…, max_tokens=256)`` of the model; None for no limit.
        draw_from: 'negatives', or 'all' as in the reference: the names are drawn from all
            categories and the positive ones discarded, so that more positives mean fewer
            negatives.
        count_tokens: 'exact' or 'reference', see :class:`TokenBudget`.

    Raises:
        ValueError: probabilities that do not form a distribution, an unknown choice, or, for a
            sample, a name longer than a prompt or a ``caption_prompt`` whose length differs from
            the number of categories.
    """

    def __init__(
        self,
        max_negatives: int = 85,
        full_prob: float = 0.5,
        usual_negatives: int | None = None,
        templates: Sequence[str] = ('{}',),
        one_prob: float = 0.0,
        none_prob: float = 0.0,
        some_prob: float = 0.0,
        shuffle: bool = True,
        tokenizer: Mapping[str, Any] | None = None,
        draw_from: str = 'negatives',
        count_tokens: str = 'exact',
    ) -> None:
        chances = dict(one_prob=one_prob, none_prob=none_prob, full_prob=full_prob)
        if min(chances.values()) < 0 or sum(chances.values()) > 1 + 1e-9:
            raise ValueError(
                f'SampleCategories: {", ".join(f"{k}={v}" for k, v in chances.items())} must not '
                'be negative nor exceed 1 together; the rest to 1 is the probability of a random '
                'number of negatives'
            )
        if not 0 <= some_prob <= 1:
            raise ValueError(f'SampleCategories: some_prob={some_prob} must be between 0 and 1')
        if draw_from not in POOLS:
            raise ValueError(
                f'SampleCategories: draw_from={draw_from!r} is unknown: use '
                f'{" or ".join(map(repr, POOLS))}'
            )
        if max_negatives < 0 or (usual_negatives is not None and usual_negatives < 1):
            raise ValueError(
                f'SampleCategories: max_negatives={max_negatives} must be at least 0, '
                f'usual_negatives={usual_negatives} at least 1'
            )
        self.max_negatives = max_negatives
        self.full_prob = full_prob
        self.usual_negatives = usual_negatives or max_negatives
        self.templates = tuple(templates)
        self.one_prob = one_prob
        self.none_prob = none_prob
        self.some_prob = some_prob
        self.shuffle = shuffle
        self.draw_from = draw_from
        self.budget = TokenBudget(count=count_tokens, **tokenizer) if tokenizer else None

    def transform(self, results: dict) -> dict:
        """Replace ``text`` (category names) and ``gt_bboxes_labels`` (indices into it)."""
        if isinstance(results['text'], str):
            return results
        names, labels, words = distinct_names(results)
        candidates, order, positives = self._draw(len(names), tuple(np.unique(labels).tolist()))
        template = '{}' if words else self.templates[self._draw_template()]
        names = [template.format(name) for name in names]
        kept = self._fitting(
            [names[i] for i in candidates], _of(words, candidates), order, positives
        )
        chosen = [candidates[i] for i in order if i < kept]
        position = np.full(len(names), -1, dtype=np.int64)
        position[chosen] = np.arange(len(chosen))
        results['text'] = [names[i] for i in chosen]
        results['gt_bboxes_labels'] = position[labels]
        if words:
            results['caption_prompt'] = _of(words, chosen)
        keep_boxes(results, results['gt_bboxes_labels'] >= 0)
        return results

    @cache_randomness
    def _draw(self, num_names: int, positives: tuple[int, ...]) -> tuple[list[int], list[int], int]:
        """Categories, positives first; the permutation that orders them in the prompt; how many
        of them are positives."""
        present = np.array(positives, dtype=int)
        wanted = self._some(present)
        pool = np.arange(num_names)
        if self.draw_from == 'negatives':
            pool = np.setdiff1d(pool, present)
        drawn = np.random.choice(pool, self._how_many(len(pool)), replace=False)
        negatives = drawn[~np.isin(drawn, present)]
        if not len(wanted) and not len(negatives):
            if len(pool):
                negatives = np.random.choice(pool, 1, replace=False)
            else:  # all names are positives
                wanted = present[:1]
        if self.budget:
            wanted = np.random.permutation(wanted)
        candidates = np.concatenate([wanted, negatives])
        order = np.random.permutation(len(candidates)) if self.shuffle else candidates.argsort()
        return candidates.tolist(), order.tolist(), len(wanted)

    def _some(self, present: np.ndarray) -> np.ndarray:
        """The positives to name."""
        # nothing is drawn without the option, so that former trainings repeat
        if not self.some_prob or not len(present) or np.random.rand() >= self.some_prob:
            return present
        return np.random.choice(present, np.random.randint(len(present)), replace=False)

    def _how_many(self, available: int) -> int:
        """Names to draw."""
        full = min(self.max_negatives, available)
        if not full:
            return 0
        chance = np.random.rand()
        if chance < self.one_prob:
            return 1
        if chance < self.one_prob + self.none_prob:
            return 0
        if chance < self.one_prob + self.none_prob + self.full_prob:
            return full
        return np.random.randint(1, min(self.usual_negatives, full) + 1)

    @cache_randomness
    def _draw_template(self) -> int:
        return np.random.randint(len(self.templates))

    def _fitting(self, names: list[str], words: Any, order: list[int], positives: int) -> int:
        """How many of the names, from the first on, the model can read."""
        if not self.budget or not names:
            return len(names)
        written = [
            category_prompt(
                [name], words if isinstance(words, Mapping) else _of(words, [i])
            ).caption
            for i, name in enumerate(names)
        ]
        kept = self.budget.fit(written, order, positives)
        if not kept:
            raise ValueError(
                f'category {names[0]!r} alone takes more than the '
                f'{self.budget.max_tokens} tokens of a prompt: shorten its name'
            )
        return kept


def distinct_names(results: dict) -> tuple[list[str], np.ndarray, Any]:
    """Distinct names, labels that index them, and the wording of each.

    Args:
        results: a sample with names as ``text``, ``gt_bboxes_labels``, and possibly
            ``caption_prompt``.

    Raises:
        ValueError: ``caption_prompt`` is a list of another length.
    """
    given, words = results['text'], results.get('caption_prompt')
    names = list(dict.fromkeys(given))
    number = {name: i for i, name in enumerate(names)}
    labels = np.array([number[name] for name in given], dtype=np.int64)[results['gt_bboxes_labels']]
    if words and not isinstance(words, Mapping):
        if len(words) != len(given):
            raise ValueError(
                f'caption_prompt lists {len(words)} entries for {len(given)} '
                'categories: give one per category, or a dict keyed by name'
            )
        first = {name: around for name, around in reversed(list(zip(given, words)))}
        words = [first[name] for name in names]
    return names, labels, words


def _of(words: Any, chosen: Sequence[int]) -> Any:
    """The wordings of these categories from a list of wordings; anything else unchanged."""
    if not words or isinstance(words, Mapping):
        return words
    return [words[i] for i in chosen]
