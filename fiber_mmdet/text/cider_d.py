"""CIDEr-D, the consensus of a caption with reference captions (Vedantam et al., CVPR 2015)."""

import math
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence

from .document_frequency import NGram, read_document_frequency, write_document_frequency

EOS = '<eos>'
ENDS = re.compile(r'(?<![.?!])([.?!])(?=\s|$)')
# what the COCO caption evaluation leaves out (it keeps brackets, as "-lrb-")
PUNCTUATION = frozenset(("''", "'", '``', '`', '.', '?', '!', ',', ':', '-', '--', '...', ';'))


def caption_words(text: str) -> list[str]:
    """The words of a caption, in small letters and without punctuation.

    Close to the tokenizer of the COCO caption evaluation, but without Java:
    nltk's, which differs in abbreviations ("U.S." at the end) and signs.

    Args:
        text: the caption.

    Returns:
        The words; none for a blank text.
    """
    from nltk.tokenize import NLTKWordTokenizer

    words = NLTKWordTokenizer().tokenize(ENDS.sub(r' \1', text), convert_parentheses=True)
    return [word for word in map(str.lower, words) if word not in PUNCTUATION]


def ngrams(words: Sequence[str], n: int) -> Iterator[NGram]:
    """All runs of 1 to ``n`` words."""
    for size in range(1, n + 1):
        yield from zip(*(words[start:] for start in range(size)))


class CiderD:
    """Similarity of captions by n-grams that are rare among the captions of other images.

    An n-gram weighs its count in a caption times log(``ref_len`` / its document
    frequency). For each n, the weights of candidate and reference, those of the
    candidate cut to the reference's, have a cosine; it is multiplied by
    exp(-d² / (2 sigma²)) for d bigrams more or less. The score is 10 times the
    mean over n and references: 10 for a caption equal to all references (of
    n words or more, each n-gram of which is not in every image), and 0 for one
    without a word in common. Published figures are 100 times the mean score.

    Args:
        document_frequency: n-gram (a tuple of words) -> number of images whose
            references have it. Those it lacks count as in one image.
        ref_len: number of images it was counted in.
        n: longest n-gram.
        sigma: width of the penalty on length, bigrams.

    Raises:
        ValueError: ``ref_len`` is less than one.
    """

    def __init__(
        self,
        document_frequency: Mapping[NGram, float],
        ref_len: float,
        n: int = 4,
        sigma: float = 6.0,
    ) -> None:
        if not ref_len >= 1:
            raise ValueError(f'ref_len={ref_len} must be the number of images of the corpus')
        self.document_frequency = document_frequency
        self.ref_len = ref_len
        self.n = n
        self.sigma = sigma

    @classmethod
    def from_captions(
        cls, images: Iterable[Iterable[Sequence[str]]], n: int = 4, sigma: float = 6.0
    ) -> 'CiderD':
        """Count document frequencies.

        Args:
            images: the reference captions of each image, as words.
            n: longest n-gram.
            sigma: width of the penalty on length, bigrams.

        Raises:
            ValueError: no image.
        """
        counts, total = Counter(), 0
        for captions in images:
            counts.update({ngram for words in captions for ngram in ngrams(words, n)})
            total += 1
        return cls(dict(counts), total, n, sigma)

    @classmethod
    def load(cls, path: str, n: int = 4, sigma: float = 6.0) -> 'CiderD':
        """Read document frequencies, see :func:`read_document_frequency`."""
        return cls(*read_document_frequency(path), n=n, sigma=sigma)

    def save(self, path: str) -> None:
        """Write document frequencies as json."""
        write_document_frequency(path, self.document_frequency, self.ref_len)

    @property
    def ends(self) -> list[str]:
        """What captions have to end with: ``['<eos>']`` if those of the corpus did, or nothing."""
        return [EOS] if (EOS,) in self.document_frequency else []

    def score(self, candidate: Sequence[str], references: Sequence[Sequence[str]]) -> float:
        """Of one caption, see :meth:`scores`."""
        return self.scores([candidate], references)[0]

    def scores(
        self, candidates: Sequence[Sequence[str]], references: Sequence[Sequence[str]]
    ) -> list[float]:
        """Score captions of one image.

        Args:
            candidates: the captions, as words.
            references: the references, as words.

        Returns:
            Scores from 0 to 10, one a candidate.

        Raises:
            ValueError: no reference.
        """
        if not references:
            raise ValueError('CIDEr-D needs at least one reference caption for each image')
        known = [_Vector(words, self) for words in references]
        found = [_Vector(words, self) for words in candidates]
        return [
            10 * sum(_similarity(vector, reference, self.sigma) for reference in known) / len(known)
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


def _similarity(candidate: _Vector, reference: _Vector, sigma: float) -> float:
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
    penalty = math.exp(-((candidate.bigrams - reference.bigrams) ** 2) / (2 * sigma**2))
    return penalty * total / len(reference.weights)
