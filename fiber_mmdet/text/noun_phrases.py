"""Noun phrases of a caption, with their characters."""

import logging
import string
import unicodedata
from functools import cache

from .prompts import PromptError

# Determiner, number, adjectives, nouns. FIBER's demo has no number.
GRAMMAR = 'NP: {<DT>?<CD>?<JJ.*>*<NN.*>+}'
TAGGER_DATA = 'averaged_perceptron_tagger_eng'
_CLITICS = ("'s", "'m", "'d", "'ll", "'re", "'ve")
_PUNCTUATION = string.punctuation + '’‘“”«»…–—'

logger = logging.getLogger(__name__)


def noun_phrases(caption: str) -> list[tuple[int, int]]:
    """The noun phrases of an English caption (FIBER's demo, GLIP).

    Words are tagged by nltk's perceptron when its data is on this machine, else by the built-in
    word lists, with one warning; nothing is ever downloaded. A phrase is an optional determiner,
    an optional number, any adjectives and one or more nouns. A phrase that occurs twice is found
    twice.

    Args:
        caption: in any case; only the tagger sees it lower-cased.

    Returns:
        Character spans ``[begin, end)`` in reading order, without punctuation at either end; empty
        if there are none.

    Raises:
        PromptError: nltk is not installed.
    """
    nltk = _import_nltk()
    spans = _words(caption)
    if not spans:
        return []
    tags = _tag([caption[b:e].lower() for b, e in spans])
    # the parser sees word numbers, so that its chunks point back at spans
    tree = nltk.RegexpParser(GRAMMAR).parse(list(enumerate(tags)))
    chunks = [
        [i for i, _ in chunk.leaves()] for chunk in tree.subtrees(lambda t: t.label() == 'NP')
    ]
    return [(spans[chunk[0]][0], spans[chunk[-1]][1]) for chunk in chunks]


def is_foreign(text: str) -> bool:
    """Whether most words of a text have letters that are not Latin, as no English word has."""
    words = text.split()
    foreign = sum(
        any(c.isalpha() and 'LATIN' not in unicodedata.name(c, '') for c in word) for word in words
    )
    return 2 * foreign > len(words)


def _import_nltk():
    try:
        import nltk
    except ImportError:
        raise PromptError(
            'finding noun phrases in a caption needs nltk: pip install nltk, '
            'or name the things to look for as a list.'
        ) from None
    return nltk


def _words(caption: str) -> list[tuple[int, int]]:
    """Spans of words and of single punctuation marks, in order.

    nltk leaves the period of every sentence but the last on its word, and
    ``"cat. dog"`` would become one phrase; marks are therefore cut off.
    """
    from nltk.tokenize import NLTKWordTokenizer

    try:
        tokens = list(NLTKWordTokenizer().span_tokenize(caption))
    except (ValueError, RuntimeError):
        # nltk loses its place in captions with unusual quotation marks
        from nltk.tokenize import WhitespaceTokenizer

        tokens = list(WhitespaceTokenizer().span_tokenize(caption))
    spans = []
    for begin, end in tokens:
        text = caption[begin:end]
        head = begin + len(text) - len(text.lstrip(_PUNCTUATION))
        tail = max(head, begin + len(text.rstrip(_PUNCTUATION)))
        if text.lower() in _CLITICS:
            head = begin
        spans += [(i, i + 1) for i in range(begin, head)]
        spans += [(head, tail)] if head < tail else []
        spans += [(i, i + 1) for i in range(tail, end)]
    return spans


def _tag(words: list[str]) -> list[str]:
    if _has_tagger_data():
        tagged = _perceptron().tag(words)
    else:
        from .word_lists import tag_words

        tagged = tag_words(words)
    return [tag if any(map(str.isalnum, word)) else 'PUNCT' for word, tag in tagged]


@cache
def _has_tagger_data() -> bool:
    """Whether the perceptron's data is there; looked up once, with one warning if not."""
    import nltk

    try:
        nltk.data.find(f'taggers/{TAGGER_DATA}')
        return True
    except LookupError:
        logger.warning(
            'nltk data "%s" not found: noun phrases come from built-in word '
            'lists, good for plain captions. For better ones run '
            '"python -m nltk.downloader %s".',
            TAGGER_DATA,
            TAGGER_DATA,
        )
        return False


@cache
def _perceptron():
    from nltk.tag.perceptron import PerceptronTagger

    return PerceptronTagger()
