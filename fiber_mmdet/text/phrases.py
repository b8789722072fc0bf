"""Phrases of a caption, given as words: where they stand in it."""

import re
import unicodedata
from collections.abc import Sequence
from typing import Any

from .prompts import Prompt, PromptError, Span, check_caption

# Thai, Lao; Burmese; Khmer; Japanese, Chinese; Korean, whose particles follow without a blank
UNSPACED = re.compile(
    '[\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u9fff\uac00-\ud7af'
    '\uf900-\ufaff\U00020000-\U0003ffff]'
)


def phrase_prompt(caption: str, phrases: str | Sequence[str]) -> Prompt:
    """A caption whose phrases are given as words.

    Label ``i`` is ``phrases[i]``, as given; its spans are all of the phrase's occurrences
    (:func:`find_phrase`). Phrases may overlap: with "red car" and "car", every "red car" is also a
    "car".

    Args:
        caption: used verbatim.
        phrases: a list, or a string that separates them by ";".

    Raises:
        PromptError: no phrases, one that is blank, no string or does not occur, or two with the
            same occurrences.
    """
    check_caption(caption)
    phrases = split_phrases(phrases)
    spans: list[tuple[Span, ...]] = []
    for i, phrase in enumerate(phrases):
        found = tuple(find_phrase(caption, phrase))
        if found in spans:
            raise PromptError(
                f'phrases {phrases[spans.index(found)]!r} and {phrase!r} (labels '
                f'{spans.index(found)} and {i}) are the same words of the caption: leave one out'
            )
        spans.append(found)
    return Prompt(caption, tuple(phrases), tuple(spans))


def split_phrases(phrases: Any) -> list[str]:
    """Phrases as a list, checked; a string is split at ";", and stripped."""
    if isinstance(phrases, str):
        phrases = [part.strip() for part in phrases.split(';') if part.strip()]
    if not isinstance(phrases, (list, tuple)) or not phrases:
        raise PromptError(
            'phrases must be a list of words in the caption, ["train", "sidewalk"], or a string '
            f'that separates them by ";", got {phrases!r}'
        )
    for i, phrase in enumerate(phrases):
        if not isinstance(phrase, str) or not phrase.strip():
            raise PromptError(f'phrases[{i}] is {phrase!r}: write words of the caption')
    return list(phrases)


def find_phrase(caption: str, phrase: str) -> list[Span]:
    """Where a phrase stands in a caption.

    - Upper and lower case differ if the phrase occurs exactly as given ("US", not "us");
      otherwise case does not matter.
    - Any blanks within the phrase match any others; blanks around it are ignored.
    - Words are whole: "man" does not occur in "woman", nor "train" in "trains". Scripts without
      blanks between words are not restricted.
    - A letter and its accent are one, written as one character or as two; no accent is left out.
    - Occurrences do not overlap; the first counts.

    Args:
        caption: the text.
        phrase: words.

    Returns:
        The half-open spans of all occurrences, at least one, in order.

    Raises:
        PromptError: it does not occur.
    """
    pattern = r'\s+'.join(map(re.escape, unicodedata.normalize('NFC', phrase).split()))
    text, places = _composed(caption)
    within: list[Span] = []
    for flags in (0, re.IGNORECASE):
        found, within = _search(re.compile(pattern, flags), text) if pattern else ([], [])
        if found:
            return [(places[begin][0], places[end - 1][1]) for begin, end in found]
    hint = ':'
    if within:
        hint = f' but within {_word_around(text, *within[0])!r}: give whole words,'
    raise PromptError(
        f'phrase {phrase!r} does not occur in the caption {caption!r}{hint} write it as it stands '
        'there, or give its characters'
    )


def _composed(text: str) -> tuple[str, list[Span]]:
    """A text with letters and accents in one character each, and where each character was."""
    characters: list[str] = []
    places: list[Span] = []
    for match in re.finditer(r'.[\u0300-\u036f]*', text, re.DOTALL):
        letter = unicodedata.normalize('NFC', match[0])
        characters += letter
        places += [match.span()] * len(letter)
    return ''.join(characters), places


def _search(pattern: re.Pattern, text: str) -> tuple[list[Span], list[Span]]:
    """Matches of whole words, from left to right without overlaps, and of parts of words."""
    whole, within = [], []
    place = 0
    while match := pattern.search(text, place):
        begin, end = match.span()
        if _joined(text, begin) or _joined(text, end):
            within.append((begin, end))
            place = begin + 1
        else:
            whole.append((begin, end))
            place = end
    return whole, within


def _joined(text: str, place: int) -> bool:
    """Whether a word goes on from the character before a place to the one after it."""
    pair = text[place - 1 : place + 1] if place else ''
    marks = [_is_mark(character) for character in pair]
    if len(pair) < 2 or marks[1]:  # an accent or a vowel sign goes with its letter
        return len(pair) == 2
    letters = all(mark or character.isalnum() for mark, character in zip(marks, pair))
    return letters and not UNSPACED.search(pair)


def _is_mark(character: str) -> bool:
    """Whether a character is an accent or a vowel sign; not one that chooses a drawing."""
    chooses = '\ufe00' <= character <= '\ufe0f'
    return unicodedata.category(character).startswith('M') and not chooses


def _word_around(text: str, begin: int, end: int) -> str:
    while _joined(text, begin):
        begin -= 1
    while _joined(text, end):
        end += 1
    return text[begin:end]
