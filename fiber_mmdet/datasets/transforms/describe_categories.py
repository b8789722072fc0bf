"""Training prompts that say what categories look like (DesCo, section 3)."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from mmcv.transforms import BaseTransform
from mmcv.transforms.utils import cache_randomness
from mmdet.registry import TRANSFORMS

from fiber_mmdet.text import Description, read_descriptions
from fiber_mmdet.text.description_files import need_descriptions
from fiber_mmdet.text.descriptions import END, START, word_category

from .category_sampling import SampleCategories, distinct_names
from .inclusive_boxes import keep_boxes
from .token_budget import TokenBudget

Draw = tuple[list[int], list[bool], list[int]]


@TRANSFORMS.register_module()
class DescribeCategories(BaseTransform):
    """Ask for a few categories by descriptions, or, in the other samples, for many by name.

    With ``prob``, the prompt is ``Detect: N, a kind of TYPE, PIECE, …. …``, see
    :func:`fiber_mmdet.text.describe`; otherwise :class:`SampleCategories` makes it. Of an image
    with p positive categories, a description prompt has

    - with ``all_prob``, all p, and ``size`` - p negatives;
    - with ``fewer_negatives_prob``, all p, and 0 to ``size`` - p negatives;
    - otherwise 0 to p positives, and ``size`` - p negatives;

    numbers and categories drawn evenly. The labels are shuffled, and kept up to the first that does
    not fit into ``max_tokens``. Each is written with its name with ``name_prob``, else without:
    ``a kind of TYPE, PIECE, …``. Its span is name and type, up to the comma. Boxes of categories
    outside the prompt are dropped, so that the image may end without any: the prompt is then
    negative as a whole, and trained on.

    A category without a description is written as its name. Samples with a ``caption_prompt`` of
    their own are left to ``SampleCategories``; those whose text is a caption pass through.

    Differs from the reference: an image of more than ``size`` categories gets no negatives (there,
    nearly all of them, see ``legacy_overflow``); a prompt has at least one category; tokens are
    counted in the prompt as it is written, with each label's wording drawn once.

    Args:
        descriptions: address of a description file, see
            :func:`fiber_mmdet.text.read_descriptions`.
        tokenizer: ``dict(name_or_path=…, max_tokens=256)`` of the model.
        prob: probability of a description prompt.
        size: categories in one.
        all_prob: see above.
        fewer_negatives_prob: see above.
        name_prob: probability that a category's name is said.
        plain: arguments of ``SampleCategories`` for the other samples, beside the tokenizer.
        legacy_overflow: with p > ``size``, draw all but p - ``size`` negatives, as the reference
            does.
        backend_args: of mmengine's file reading.

    Raises:
        ValueError: a probability outside [0, 1], or a description longer than a prompt.
        FileNotFoundError: there is no such file.
    """

    def __init__(
        self,
        descriptions: str,
        tokenizer: Mapping[str, Any],
        prob: float = 0.7,
        size: int = 8,
        all_prob: float = 0.5,
        fewer_negatives_prob: float = 0.1,
        name_prob: float = 0.5,
        plain: Mapping[str, Any] | None = None,
        legacy_overflow: bool = False,
        backend_args: dict | None = None,
    ) -> None:
        chances = dict(
            prob=prob,
            all_prob=all_prob,
            fewer_negatives_prob=fewer_negatives_prob,
            name_prob=name_prob,
        )
        for name, chance in (*chances.items(), ('their sum', all_prob + fewer_negatives_prob)):
            if not 0 <= chance <= 1 + 1e-9:
                raise ValueError(
                    f'DescribeCategories: {name}={chance} is a probability: 0 to 1 '
                    '(all_prob and fewer_negatives_prob together at most 1)'
                )
        if size < 1:
            raise ValueError(f'DescribeCategories: size={size} must be 1 or more categories')
        self.source = descriptions
        self.descriptions = read_descriptions(descriptions, backend_args)
        self.prob = prob
        self.size = size
        self.all_prob = all_prob
        self.fewer_negatives_prob = fewer_negatives_prob
        self.name_prob = name_prob
        self.legacy_overflow = legacy_overflow
        self.budget = TokenBudget(**tokenizer)
        self.plain = SampleCategories(**{'tokenizer': tokenizer, **(plain or {})})
        self._found: dict[tuple[str, ...], dict[str, Description]] = {}

    def transform(self, results: dict) -> dict:
        """Replace ``text`` (category names), ``caption_prompt`` and ``gt_bboxes_labels``."""
        if isinstance(results['text'], str):
            return results
        if results.get('caption_prompt') or not self._describes():
            return self.plain.transform(results)
        names, labels, _ = distinct_names(results)
        found = self.descriptions_of(tuple(names))
        candidates, named, order = self._draw(len(names), tuple(np.unique(labels).tolist()))
        words = [
            word_category(names[i], found.get(names[i]), said) for i, said in zip(candidates, named)
        ]
        kept = self._fitting([names[i] for i in candidates], words)
        chosen = [i for i in order if i < kept]
        words = [words[i] for i in chosen]
        words[0]['prefix'] = START
        words[-1]['suffix'] += END
        position = np.full(len(names), -1, dtype=np.int64)
        position[[candidates[i] for i in chosen]] = np.arange(len(chosen))
        results['text'] = [names[candidates[i]] for i in chosen]
        results['caption_prompt'] = words
        results['gt_bboxes_labels'] = position[labels]
        keep_boxes(results, results['gt_bboxes_labels'] >= 0)
        return results

    def descriptions_of(self, names: tuple[str, ...]) -> dict[str, Description]:
        """The descriptions of a vocabulary, looked up once; the log names categories without.

        Raises:
            PromptError: none of the categories is described.
        """
        if names not in self._found:
            self._found[names] = need_descriptions(names, self.descriptions, self.source)
        return self._found[names]

    @cache_randomness
    def _describes(self) -> bool:
        return np.random.rand() < self.prob

    @cache_randomness
    def _draw(self, num_names: int, positives: tuple[int, ...]) -> Draw:
        """Categories in the order in which they are fitted, whether each is named, and the order
        in which they are written.
        """
        wanted = np.array(positives, dtype=int)
        others = np.setdiff1d(np.arange(num_names), wanted)
        kept, room = len(wanted), self.size - len(wanted)
        if room < 0:
            room = len(others) + room if self.legacy_overflow else 0
        room = negatives = min(max(room, 0), len(others))
        chance = np.random.rand()
        if chance >= self.all_prob + self.fewer_negatives_prob:
            kept = np.random.randint(kept + 1)
        elif chance >= self.all_prob:
            negatives = np.random.randint(room + 1)
        chosen = np.concatenate(
            [
                np.random.choice(wanted, kept, replace=False),
                np.random.choice(others, negatives, replace=False),
            ]
        )
        if not len(chosen):
            chosen = np.random.choice(others if len(others) else wanted, 1)
        chosen = np.random.permutation(chosen)
        named = np.random.rand(len(chosen)) < self.name_prob
        return chosen.tolist(), named.tolist(), np.random.permutation(len(chosen)).tolist()

    def _fitting(self, names: Sequence[str], words: Sequence[Mapping[str, str]]) -> int:
        """How many of the categories, from the first on, the model can read.

        Each follows a blank and ends with a full stop, so that the tokens of a prompt are the sum
        of those of its categories.
        """
        total = 2 + self.budget.tokens(START.rstrip()) + self.budget.tokens(' ')
        for i, word in enumerate(words):
            total += self.budget.tokens(f' {word["name"]}{word["suffix"]}.')
            if total > self.budget.max_tokens:
                if not i:
                    raise ValueError(
                        f'{self.source}: the description of {names[0]!r} alone takes {total} '
                        f'tokens, a prompt has {self.budget.max_tokens}: shorten it'
                    )
                return i
        return len(words)
