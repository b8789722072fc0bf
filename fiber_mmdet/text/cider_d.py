"""CIDEr-D, the consensus of a caption with reference captions (Vedantam et al., CVPR 2015)."""

import math
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path

from .document_frequency import NGram, read_document_frequency, write_document_frequency

EOS = '<eos>'
SIGMA = 6.0  # width of the penalty on length, in bigrams: the paper's
ENDS = re.compile(r'(?<![.?!])([.?!])(?=\s|$)')
# what the COCO caption evaluation leaves out (it keeps brackets, as "-lrb-")
PUNCTUATION = frozenset(("''", "'", '``', '`', '.', '?', '!', ',', ':', '-', '--', '...', ';'))


def caption_words(text: str) -> list[str]:
    """The words of a caption, in lower case and without punctuation.

    By nltk's tokenizer, which needs no Java and comes close to that of the COCO caption
    evaluation: it differs in abbreviations at the end ("U.S.") and in special characters.

    Args:
        text: the caption.

    Returns:
        The words; an empty list for a blank text.
    """
    from nltk.tokenize import NLTKWordTokenizer

    words = NLTKWordTokenizer().tokenize(ENDS.sub(r' \1', text), convert_parentheses=True)
    return [word for word in map(str.lower, words) if word not in PUNCTUATION]


def ngrams(words: Sequence[str], n: int) -> Iterator[NGram]:
    """All n-grams of 1 to ``n`` words, the short ones first."""
    for size in range(1, n + 1):
        yield from zip(*(words[start:] for start in range(size)))


class CiderD:
    """Similarity of captions by n-grams that are rare among the captions of other images.

    The weight of an n-gram is its count in a caption times log(``ref_len`` / its document
    frequency). For each n, the score is the cosine of the weights of candidate and reference,
    where those of the candidate are clipped to the reference's, times exp(-d² / (2 sigma²)), where
    d is the difference in length, in bigrams, and sigma is 6. The result is 10 times the mean over
    n and references: 10 for a caption that equals all references (of n words or more, and no
    n-gram of which is in every image), 0 for one without a word in common. Published figures are
    100 times the mean score.

    Args:
        document_frequency: n-gram (a tuple of words) -> number of images whose
            references have it. N-grams that are not in it count as in one image.
        ref_len: number of images of the corpus.
        n: longest n-gram.

    Raises:
        ValueError: ``ref_len`` is less than one.
    """

    def __init__(
        self,
        document_frequency: Mapping[NGram, float],
        ref_len: float,
        n: int = 4,
    ) -> None:
        if not ref_len >= 1:
            raise ValueError(f'ref_len={ref_len} must be the number of images of the corpus')
        self.document_frequency = document_frequency
        self.ref_len = ref_len
        self.n = n

    @classmethod
    def from_captions(cls, images: Iterable[Iterable[Sequence[str]]], n: int = 4) -> 'CiderD':
        """Count document frequencies.

        Args:
            images: the reference captions of each image, as words.
            n: longest n-gram.

        Raises:
            ValueError: there are no images.
        """
        counts: Counter[NGram] = Counter()
        total = 0
        for captions in images:
            counts.update({ngram for words in captions for ngram in ngrams(words, n)})
            total += 1
        return cls(dict(counts), total, n)

    @classmethod
    def load(cls, path: str, n: int = 4) -> 'CiderD':
        """Read document frequencies.

        Raises:
            FileNotFoundError: as :func:`read_document_frequency`.
            ValueError: as :func:`read_document_frequency`.
        """
        return cls(*read_document_frequency(path), n=n)

    def save(self, path: str, inputs: Sequence[str | Path] = ()) -> None:
        """Write document frequencies as json, onto none of the ``inputs``.

        Raises:
            OutputError, OSError: the file cannot be written.
        """
        write_document_frequency(path, self.document_frequency, self.ref_len, inputs)

    @property
    def ends(self) -> list[str]:
        """The words that end a caption: ``['<eos>']`` if those of the corpus end so, else none."""
        return [EOS] if (EOS,) in self.document_frequency else []

    def score(self, candidate: Sequence[str], references: Sequence[Sequence[str]]) -> float:
        """The score of one caption.

        Raises:
            ValueError: as :meth:`scores`.
        """
        return self.scores([candidate], references)[0]

    def scores(
        self, candidates: Sequence[Sequence[str]], references: Sequence[Sequence[str]]
    ) -> list[float]:
        """Score captions of one image.

        Args:
            candidates: the captions, as words.
            references: the references, as words.

        Returns:
            Per candidate, a score from 0 to 10.

        Raises:
            ValueError: there are no references.
        """
        if not references:
            raise ValueError('CIDEr-D needs at least one reference caption for each image')
        known = [_Vector(words, self) for words in references]
        found = [_Vector(words, self) for words in candidates]
        return [
            10 * sum(_similarity(vector, reference) for reference in known) / len(known)
            for vector in found
        ]

    def weight(self, ngram: NGram, count: int) -> float:
        """Weight of an n-gram that occurs ``count`` times in a caption."""
        frequency = max(1.0, self.document_frequency.get(ngram, 0))
        return count * (math.log(self.ref_len) - math.log(frequency))


class _Vector:
    """Weights of the n-grams of a caption, by n, their norms, and the number of bigrams."""

    def __init__(self, words: Sequence[str], cider: CiderD) -> None:
        self.weights: list[dict[NGram, float]] = [{} for _ in range(cider.n)]
        for ngram, count in Counter(ngrams(words, cider.n)).items():
            self.weights[len(ngram) - 1][ngram] = cider.weight(ngram, count)
        self.norms = [math.sqrt(sum(w * w for w in weights.values())) for weights in self.weights]
        self.bigrams = max(len(words) - 1, 0)


def _similarity(candidate: _Vector, reference: _Vector) -> float:
    """Mean of the clipped cosines over n, with the penalty on length."""
    total = 0.0
    for n, known in enumerate(reference.weights):
        norm = candidate.norms[n] * reference.norms[n]
        if norm:
            total += (
                sum(
                    min(weight, known[ngram]) * known[ngram]
                    for ngram, weight in candidate.weights[n].items()
                    if ngram in known
                )
                / norm
            )
    penalty = math.exp(-((candidate.bigrams - reference.bigrams) ** 2) / (2 * SIGMA**2))
    return penalty * total / len(reference.weights)
