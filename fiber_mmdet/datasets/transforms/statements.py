"""Statements of a caption prompt: its sentences, descriptions of its phrases, and false ones."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from fiber_mmdet.text import Description
from fiber_mmdet.text.caption_descriptions import SentenceDescriptions

# Phrases with one of these words are not described: their descriptions say nothing of the person.
PEOPLE = re.compile(r'\b(man|woman|child|men|women|children|people|person)\b', re.IGNORECASE)
SENTENCE = re.compile(r'[^.?]*[.?]?')

Mark = tuple[int, int, int]  # label, begin, end


@dataclass(frozen=True)
class Statement:
    """A part of a prompt.

    Attributes:
        text: without the full stop.
        marks: label and characters of each span in it.
    """

    text: str
    marks: tuple[Mark, ...] = ()

    @property
    def closed(self) -> str:
        """The text as it stands in a prompt."""
        return self.text + (' ' if self.text.endswith('?') else '. ')


@dataclass
class Group:
    """A true statement with the false ones that belong to it."""

    true: Statement
    false: list[str] = field(default_factory=list)


def split_sentences(caption: str, spans: Sequence[Sequence[Sequence[int]]]) -> list[Statement]:
    """The sentences of a caption, each with its spans.

    Args:
        caption: the text; sentences end with "." or "?".
        spans: [begin, end) characters of each label. Those that are a blank apart become one; one
            that runs beyond its sentence ends with it.

    Returns:
        The sentences that have a letter or digit, without blanks and full stops around.
    """
    joined = [(label, b, e) for label, own in enumerate(spans) for b, e in _joined(own)]
    statements = []
    for match in SENTENCE.finditer(caption):
        sentence = match[0].rstrip(' \t\n.')
        begin = match.start() + len(sentence) - len(sentence.lstrip())
        end = match.start() + len(sentence)
        if any(map(str.isalnum, sentence)):
            marks = tuple(
                (label, b - begin, min(e, end) - begin)
                for label, b, e in joined
                if begin <= b < end
            )
            statements.append(Statement(caption[begin:end], marks))
    return statements


def _joined(spans: Sequence[Sequence[int]]) -> list[list[int]]:
    """The spans of a label in order; those with one character between them are one."""
    joined: list[list[int]] = []
    for begin, end in sorted(map(tuple, spans)):
        if joined and begin <= joined[-1][1] + 1:
            joined[-1][1] = max(joined[-1][1], end)
        else:
            joined.append([begin, end])
    return joined


def sentence_key(sentence: str) -> str:
    """A sentence without blanks and marks around it, by which what was written of it is found."""
    return ' '.join(sentence.split()).strip(' .?')


def group_statements(
    sentences: Sequence[Statement],
    written: Mapping[str, SentenceDescriptions],
    describe: bool,
    rng: np.random.Generator,
    name_prob: float = 0.5,
) -> list[Group]:
    """True statements with the false ones that belong to them.

    Args:
        sentences: of :func:`split_sentences`.
        written: :func:`sentence_key` -> what was written about the sentence.
        describe: whether descriptions of phrases are statements, too.
        rng: source of the draws.
        name_prob: probability that a description begins with what it describes.

    Returns:
        A group for each sentence and, with ``describe``, for each phrase with a label that is
        described; the latter's false statements describe what may be confused with it.
    """
    groups = []
    for sentence in sentences:
        about = written.get(sentence_key(sentence.text))
        if about is None:
            groups.append(Group(sentence))
            continue
        groups.append(Group(sentence, [n.strip().rstrip('.') for n in about.negatives]))
        if not describe:
            continue
        confusable = [
            _description(thing, text, rng.random() < name_prob)[0]
            for thing, text in about.confusable.items()
        ]
        for phrase, text in about.phrases.items():
            labels = _labels_of(phrase, sentence)
            if labels and not PEOPLE.search(phrase):
                said, end = _description(phrase, text, rng.random() < name_prob)
                marks = tuple((label, 0, end) for label in labels)
                groups.append(Group(Statement(said, marks), list(confusable)))
    return groups


def _labels_of(phrase: str, sentence: Statement) -> list[int]:
    """The labels one of whose spans lies inside an occurrence of a phrase, or contains it."""
    found = [match.span() for match in re.finditer(re.escape(phrase), sentence.text, re.IGNORECASE)]
    return sorted(
        {
            label
            for label, begin, end in sentence.marks
            for first, last in found
            if first <= begin and end <= last or begin <= first and last <= end
        }
    )


def _description(thing: str, text: str, named: bool) -> tuple[str, int]:
    """A description as a statement, and where its span, name and type with the comma, ends."""
    text = text.strip().rstrip('.')
    head = f'{thing}, ' if named else ''
    kind, comma, _ = text.partition(',')
    return head + text, len(head) + len(kind) + len(comma)


def word_noun(noun: str, description: Description, named: bool) -> tuple[str, int]:
    """A noun of a vocabulary as a statement, and where its span, name and type, ends."""
    said = ', '.join([description.kind, *description.pieces])
    return _description(noun, said, named)


def words_of(text: str) -> int:
    """Words between blanks."""
    return len(text.split())
