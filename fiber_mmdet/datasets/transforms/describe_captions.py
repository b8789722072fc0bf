"""Training captions whose phrases are described, among statements that are false (DesCo)."""

import re
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from mmcv.transforms import BaseTransform
from mmcv.transforms.utils import cache_randomness
from mmdet.registry import TRANSFORMS

from fiber_mmdet.text.caption_descriptions import parse_sentence, read_vocabulary

from .inclusive_boxes import keep_boxes
from .statement_mix import LONGEST, StatementMix
from .statements import (
    Group,
    Statement,
    group_statements,
    sentence_key,
    split_sentences,
    word_noun,
    words_of,
)
from .token_budget import TokenBudget

RATIOS = ('statements', 'vocabulary')
LONG, FULL = 200, 180  # words at hand from which on statements are limited, and words wanted then
COMMON = 10_000  # nouns that occur more often say little


@TRANSFORMS.register_module()
class DescribeCaptions(BaseTransform):
    """Turn a caption with boxes into statements, some of them false, as DesCo trains on captions.

    ``ratios`` says how often each of two ways is taken; the rest stays as it is.

    *statements* (DesCo's V4) needs what language models wrote about the caption, see
    :mod:`fiber_mmdet.text.caption_descriptions`; captions without stay as they are. True
    statements are the sentences and, with ``describe_prob``, the descriptions of phrases that have
    boxes, but of people; false ones are the negative sentences and the descriptions of things that
    may be confused with those. A description begins with its phrase with ``name_prob``; its span,
    which its boxes get beside those in the sentence, is name and type, up to the comma. How many
    statements are taken, and how many true ones, is up to :class:`StatementMix`, whose counters
    live in each worker process and start again with it. (A resumed training therefore draws other
    prompts than an uninterrupted one.)

    *vocabulary* (V3) asks by nouns alone: for each phrase with a box, those of its nouns that the
    vocabulary describes and that occur at most 10 000 times; things similar to them, and then
    random nouns, are false, unless the caption has them. Nouns come with the data
    (``phrase_nouns``), or are the longest ending of the phrase that the vocabulary has ("brown
    horse", "horse"). A caption without one stays.

    Statements are shuffled, and written up to the first that does not fit into ``max_tokens``.
    Boxes none of whose spans is left are dropped, so that an image may end without any.

    Reads ``text``, ``tokens_positive`` (spans of each label), ``sentence_descriptions`` and
    ``phrase_nouns`` (a list per label), as ``MDETRGroundingDataset(with_descriptions=True)`` gives
    them. Samples with names, or whose caption is one phrase (-1), pass through. Belongs before
    ``CaptionFlip``.

    Differs from the reference: the descriptions of confusable things begin with their names as
    often as those of phrases, which would otherwise tell false from true.

    Args:
        tokenizer: ``dict(name_or_path=…, max_tokens=256)`` of the model.
        ratios: probability of each way; DesCo-FIBER: statements 0.8, DesCo-GLIP: statements 0.5,
            vocabulary 0.4.
        vocabulary: address of a vocabulary, see
            :func:`fiber_mmdet.text.caption_descriptions.read_vocabulary`.
        describe_prob: see above.
        name_prob: see above.
        backend_args: of mmengine's file reading.

    Raises:
        ValueError: ratios of unknown ways or beyond 1, a ratio of ``vocabulary`` without a file, or
            a malformed file.
        FileNotFoundError: there is no such file.
    """

    def __init__(
        self,
        tokenizer: Mapping[str, Any],
        ratios: Mapping[str, float] | None = None,
        vocabulary: str | None = None,
        describe_prob: float = 0.8,
        name_prob: float = 0.5,
        backend_args: dict | None = None,
    ) -> None:
        ratios = dict(statements=0.8) if ratios is None else dict(ratios)
        unknown = sorted(set(ratios) - set(RATIOS))
        if unknown or min(ratios.values(), default=0) < 0 or sum(ratios.values()) > 1 + 1e-9:
            raise ValueError(
                f'DescribeCaptions: ratios={ratios} must be probabilities of '
                f'{" and ".join(map(repr, RATIOS))}, together at most 1'
            )
        if bool(ratios.get('vocabulary')) != (vocabulary is not None):
            raise ValueError(
                f'DescribeCaptions: ratios={ratios}, vocabulary={vocabulary!r}: the way '
                "'vocabulary' needs a file of nouns, and a file is read by no other: give both"
            )
        self.ratios = ratios
        self.vocabulary = {} if vocabulary is None else read_vocabulary(vocabulary, backend_args)
        self.nouns = list(self.vocabulary)
        self.describe_prob = describe_prob
        self.name_prob = name_prob
        self.budget = TokenBudget(**tokenizer)
        self.mix = StatementMix()

    def transform(self, results: dict) -> dict:
        """Replace ``text``, ``tokens_positive`` and the labels of the boxes."""
        written = results.pop('sentence_descriptions', None)
        nouns = results.pop('phrase_nouns', None)
        spans = results.get('tokens_positive')
        if isinstance(spans, Mapping):
            keys = sorted(spans)
            spans = [spans[key] for key in keys]
        elif isinstance(spans, Sequence):
            keys = list(range(len(spans)))
        if not isinstance(results['text'], str) or not isinstance(spans, Sequence) or not spans:
            return results
        way, seed = self._draw()
        rng = np.random.default_rng(seed)
        if way == 'statements' and written:
            statements = self._statements(results['text'], spans, written, rng)
        elif way == 'vocabulary':
            statements = self._of_vocabulary(results['text'], spans, nouns, rng)
        else:
            return results
        if statements:
            self._write(results, statements, keys)
        return results

    @cache_randomness
    def _draw(self) -> tuple[str | None, int]:
        """The way, None to leave the caption; and a seed for all other draws."""
        chance, way = np.random.rand(), None
        for name in reversed(RATIOS):
            ratio = self.ratios.get(name, 0.0)
            if 0 <= chance < ratio:
                way = name
            chance -= ratio
        return way, np.random.randint(2**31)

    # ----------------------------------------------------------- statements
    def _statements(
        self, caption: str, spans: Sequence, written: Mapping[str, str], rng: np.random.Generator
    ) -> list[Statement]:
        about = {sentence_key(key): parse_sentence(text) for key, text in written.items()}
        sentences = split_sentences(caption, spans)
        if not any(sentence_key(sentence.text) in about for sentence in sentences):
            return []
        describe = bool(rng.random() < self.describe_prob)
        groups = group_statements(sentences, about, describe, rng, self.name_prob)
        true = {group.true.text for group in groups}
        false = list(
            dict.fromkeys(text for group in groups for text in group.false if text not in true)
        )
        total, wanted = self.mix.choose(len(groups), len(false), _most([*true, *false]))
        taken = _take(groups, false, total, wanted, rng)
        kept = self._fitting([taken[i] for i in rng.permutation(len(taken))])
        self.mix.count(len(kept), sum(statement.text in true for statement in kept))
        return kept

    # ----------------------------------------------------------- vocabulary
    def _of_vocabulary(
        self, caption: str, spans: Sequence, nouns: Sequence | None, rng: np.random.Generator
    ) -> list[Statement]:
        """Texts of the phrases' nouns, of what is similar to them, and of others."""
        own: dict[str, set[int]] = {}
        words_there = _words(caption)
        there = {*words_there, *map(' '.join, zip(words_there, words_there[1:]))}
        for label in rng.permutation(len(spans)).tolist():
            given = nouns[label] if nouns else _endings(caption, spans[label])
            there.update(given)
            for noun in self._usable(given, first_only=not nouns):
                own.setdefault(noun, set()).add(label)
        if not own:
            return []
        order: list[str] = []
        for noun in own:
            similar = self.vocabulary[noun][0].similar
            order += [noun, *(one for one in similar if one in self.vocabulary)]
        order += [self.nouns[i] for i in rng.permutation(len(self.nouns))[:FULL].tolist()]
        statements: list[Statement] = []
        words = 0
        for noun in dict.fromkeys(order):
            if noun in there and noun not in own:
                continue  # said of the image, if too often to be described
            said, end = word_noun(noun, self.vocabulary[noun][0], rng.random() < self.name_prob)
            words += words_of(said)
            if statements and words > FULL:
                break
            statements.append(
                Statement(said, tuple((i, 0, end) for i in sorted(own.get(noun, ()))))
            )
        return self._fitting([statements[i] for i in rng.permutation(len(statements))])

    def _usable(self, nouns: Sequence[str], first_only: bool) -> list[str]:
        """The nouns that the vocabulary describes and that are not too common."""
        found = [
            noun for noun in nouns if noun in self.vocabulary and self.vocabulary[noun][1] <= COMMON
        ]
        return found[:1] if first_only else found

    # ---------------------------------------------------------- the prompt
    def _fitting(self, statements: Sequence[Statement]) -> list[Statement]:
        """The statements before the first that does not fit into a prompt."""
        total = 2 + self.budget.tokens(' ')
        for i, statement in enumerate(statements):
            total += self.budget.tokens(f'{" " if i else ""}{statement.closed.rstrip()}')
            if total > self.budget.max_tokens:
                return list(statements[:i])
        return list(statements)

    @staticmethod
    def _write(results: dict, statements: Sequence[Statement], keys: Sequence[int]) -> None:
        """Make the statements the prompt of a sample, in place; label i of a mark is keys[i]."""
        caption = ''
        spans_of: dict[int, list[list[int]]] = {}
        for statement in statements:
            for label, begin, end in statement.marks:
                spans_of.setdefault(label, []).append([len(caption) + begin, len(caption) + end])
            caption += statement.closed
        number = {keys[label]: i for i, label in enumerate(sorted(spans_of))}
        labels = np.array(
            [number.get(label, -1) for label in results['gt_bboxes_labels'].tolist()],
            dtype=np.int64,
        )
        results['text'] = caption
        results['tokens_positive'] = [spans_of[label] for label in sorted(spans_of)]
        results['gt_bboxes_labels'] = labels
        if results.get('phrase_ids') is not None:
            results['phrase_ids'] = labels.tolist()
        keep_boxes(results, labels >= 0)


def _most(texts: Sequence[str]) -> int:
    """How many statements there may be, so that they have no more than 180 words on average."""
    words = sum(map(words_of, texts))
    return LONGEST if words <= LONG else int(FULL * len(texts) / words)


def _take(
    groups: Sequence[Group],
    false: Sequence[str],
    total: int,
    wanted: int,
    rng: np.random.Generator,
) -> list[Statement]:
    """Statements of random groups: ``wanted`` true ones and false ones, ``total`` in all.

    Each group that gives its true statement also gives a random number of its first false ones;
    the rest are drawn from all.
    """
    taken: list[Statement] = []
    lies: list[str] = []
    for i in rng.permutation(len(groups))[:wanted].tolist():
        taken.append(groups[i].true)
        own = [text for text in groups[i].false if text in false and text not in lies]
        lies += own[: min(int(rng.integers(len(own) + 1)), total - wanted - len(lies))]
    others = [text for text in false if text not in lies]
    missing = total - wanted - len(lies)
    lies += [others[i] for i in rng.permutation(len(others))[:missing].tolist()]
    return taken + [Statement(text) for text in lies]


def _endings(caption: str, spans: Sequence[Sequence[int]]) -> list[str]:
    """A phrase without its first words, the longest ending first, in lower case."""
    words = _words(' '.join(caption[b:e] for b, e in spans))
    return [' '.join(words[i:]) for i in range(len(words))]


def _words(text: str) -> list[str]:
    return re.findall(r"[\w'-]+", text.lower())
