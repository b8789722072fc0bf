"""Prompts: a caption, the phrases to look for, and where they stand in it."""

import operator
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import Any

Span = tuple[int, int]  # characters [begin, end) of a caption
Words = Mapping[str, str]
CaptionPrompt = Mapping[str, Words] | Sequence[Words]


# "a red circle . a blue square", also with a period at the end only
SEPARATOR = re.compile(r'\s\.(\s|$)')
SURROGATE = re.compile('[\ud800-\udfff]')


class PromptError(ValueError):
    """A prompt, span or tokenizer that cannot be used as given.

    The message names the field or phrase at fault and says how to mend it.
    """


@dataclass(frozen=True)
class Prompt:
    """What the model reads, and what each label of its answer means.

    Label ``i`` stands for ``phrases[i]``, whose words are the characters
    ``spans[i]`` of ``caption``. Lists are accepted and stored as tuples.

    Args:
        caption: the text given to the model, case kept.
        phrases: per label, the caller's own string.
        spans: per label, one or more spans of ``caption``.

    Raises:
        PromptError: a blank caption, no phrases, unequal lengths, a label without a span, or a
            span that is empty or outside the caption.
    """

    caption: str
    phrases: tuple[str, ...]
    spans: tuple[tuple[Span, ...], ...]

    def __post_init__(self) -> None:
        check_caption(self.caption)
        phrases = tuple(self.phrases)
        spans = tuple(self.spans)
        if not phrases:
            raise PromptError('phrases is empty: a prompt needs at least one phrase.')
        if len(phrases) != len(spans):
            raise PromptError(
                f'phrases has {len(phrases)} entries but spans has '
                f'{len(spans)}: give one list of spans for every phrase.'
            )
        spans = tuple(
            _check_spans(f'phrase {phrase!r}', pieces, self.caption)
            for phrase, pieces in zip(phrases, spans)
        )
        object.__setattr__(self, 'phrases', phrases)
        object.__setattr__(self, 'spans', spans)


def clean_name(name: str) -> str:
    """A category name as FIBER and GLIP read it in training.

    Everything from the first "(" to the last ")" is removed, "_" becomes a space and each double
    space a single one. Nothing is stripped: LVIS' ``bat_(animal)`` becomes ``'bat '``, since the
    published numbers were measured on that text.
    """
    name = re.sub(r'\(.*\)', '', name)
    return name.replace('_', ' ').replace('  ', ' ')


def category_prompt(
    names: Sequence[str],
    caption_prompt: CaptionPrompt | None = None,
    separator: str = '. ',
    clean: bool = True,
) -> Prompt:
    """One caption of category names, ``'person. bicycle. car'``.

    Args:
        names: category names in label order.
        caption_prompt: words around a name, as mmdet's GLIP defines them: ``{name: dict(prefix=,
            name=, suffix=)}`` with every key optional, or a list of such dicts in label order. The
            caption gets prefix + name + suffix, and the span covers the name alone; a ``name``
            given here is used uncleaned. Entries for other names are ignored.
        separator: text between names; none follows the last.
        clean: pass names through :func:`clean_name`. Phrases keep the caller's spelling either way.

    Returns:
        A prompt with one label per name, in the given order. Different names may read alike once
        cleaned (``bow_(weapon)``, ``bow_(ribbon)``).

    Raises:
        PromptError: a bare string instead of a list, no names, a blank or repeated name, or a
            malformed ``caption_prompt``.
    """
    names = _check_names(names)
    caption = ''
    spans = []
    for i, name in enumerate(names):
        readable = clean_name(name) if clean else name
        around = _words_around(caption_prompt, i, name, readable, len(names))
        readable = around.get('name', readable)
        if not readable.strip():
            raise PromptError(
                f'category name {name!r} (label {i}) leaves no text for the '
                'caption: rename it, pass clean=False, or give its "name" in '
                'caption_prompt.'
            )
        caption += (separator if i else '') + around.get('prefix', '')
        spans.append(((len(caption), len(caption) + len(readable)),))
        caption += readable + around.get('suffix', '')
    return Prompt(caption, names, tuple(spans))


def names_that_read_alike(
    names: Sequence[str], caption_prompt: CaptionPrompt | None = None
) -> dict[str, list[str]]:
    """Different names whose words in the caption are the same: ``circle (red)``, ``circle (blue)``.

    Args:
        names: category names in label order.
        caption_prompt: words around a name, see :func:`category_prompt`.

    Returns:
        The common words -> the names, in order; empty if all can be told apart.

    Raises:
        PromptError: see :func:`category_prompt`.
    """
    of_words: dict[tuple[str, ...], list[str]] = {}
    for i, name in enumerate(names):
        words = _words_around(caption_prompt, i, name, clean_name(name), len(names))
        readable = words.get('name', clean_name(name)).strip()
        around = (words.get('prefix', ''), readable, words.get('suffix', ''))
        of_words.setdefault(around, []).append(name)
    return {''.join(words): alike for words, alike in of_words.items() if len(alike) > 1}


def whole_prompt(caption: str) -> Prompt:
    """A caption as a single phrase (referring expressions).

    Label 0 is ``caption``; its span leaves out blanks at either end, which no token owns.

    Raises:
        PromptError: the caption is blank.
    """
    check_caption(caption)
    begin = len(caption) - len(caption.lstrip())
    return Prompt(caption, (caption,), (((begin, len(caption.rstrip())),),))


def span_prompt(caption: str, tokens_positive: Sequence[Sequence[Sequence[int]]]) -> Prompt:
    """A caption whose phrases are given by their characters.

    Args:
        caption: used verbatim.
        tokens_positive: per phrase, a list of ``[begin, end)`` character pairs; a phrase of
            several pieces is named ``'piece / piece'``, as in mmdet.

    Raises:
        PromptError: a flat list of pairs, or spans that :class:`Prompt` refuses.
    """
    check_caption(caption)
    if (
        isinstance(tokens_positive, str)
        or not tokens_positive
        or not isinstance(tokens_positive, Sequence)
    ):
        raise PromptError(
            'tokens_positive must be a non-empty list with one list of '
            f'[begin, end] pairs per phrase, got {tokens_positive!r}.'
        )
    spans = tuple(
        _check_spans(f'tokens_positive[{i}]', pieces, caption)
        for i, pieces in enumerate(tokens_positive)
    )
    phrases = tuple(' / '.join(caption[b:e] for b, e in pieces) for pieces in spans)
    return Prompt(caption, phrases, spans)


def split_entities(text: str) -> list[str]:
    """The stripped names of ``'a red circle . a small square.'``

    In a text with a period between blanks, only such periods separate names, and one at the end of
    the text ends the last: ``'st. bernard . star'`` has two names. In any other text each period
    before a blank or the end separates, as in mmdet: ``'person. red car .'``. ``'3.5 inch disk'``
    stays whole either way; empty names are dropped.
    """
    between_blanks = re.search(r'\s\.\s+\S', text) is not None
    period = r'(?:^|(?<=\s))\.(?=\s|$)|\.(?=\s*$)' if between_blanks else r'\.(?=\s|$)'
    parts = (part.strip() for part in re.split(period, text))
    return [part for part in parts if part]


def has_separators(text: str) -> bool:
    """Whether a text is a list of names: a period between blanks, or after one at the end."""
    return SEPARATOR.search(text) is not None


def chunk_names(
    names: Sequence[str], chunked_size: int | Sequence[int] = -1
) -> list[tuple[int, tuple[str, ...]]]:
    """A long vocabulary in runs that fit a prompt each.

    Args:
        names: category names in label order.
        chunked_size: names per run; zero or less means one run. A list has the size of each run.

    Returns:
        ``(offset, names)`` of each run; label ``i`` of a run is label ``offset + i`` of the whole
        vocabulary. A ``caption_prompt`` given as a list has to be sliced alike.

    Raises:
        PromptError: as :func:`category_prompt`, above all for a string, which would otherwise be
            cut into characters; or sizes that do not add up to the names.
    """
    names = _check_names(names)
    try:
        if not isinstance(chunked_size, Sequence):
            size = operator.index(chunked_size)
            size = size if size > 0 else len(names)
            return [(i, names[i : i + size]) for i in range(0, len(names), size)]
        sizes = [operator.index(size) for size in chunked_size]
    except TypeError:
        raise PromptError(
            f'chunked_size is {chunked_size!r}: it must be a number of names, or a list of such'
        ) from None
    if min(sizes, default=0) < 1 or sum(sizes) != len(names):
        raise PromptError(
            f'the sizes {sizes} of the prompts must each be 1 or more, and add up to the '
            f'{len(names)} names.'
        )
    return [(end - size, names[end - size : end]) for end, size in zip(accumulate(sizes), sizes)]


def check_caption(caption: Any) -> None:
    """Refuse what is not a caption.

    Raises:
        PromptError: it is no string, blank, or damaged.
    """
    if not isinstance(caption, str):
        raise PromptError(f'caption must be a string, got {type(caption).__name__}: {caption!r}.')
    if not caption.strip():
        raise PromptError('caption is empty: write what to look for.')
    refuse_half_characters(caption, 'caption')


def refuse_half_characters(text: str, what: str) -> None:
    """Refuse lone surrogates, which are no text and have no tokens.

    Args:
        text: the text.
        what: it is, for the error.

    Raises:
        PromptError: it has one.
    """
    found = SURROGATE.search(text)
    if found:
        raise PromptError(
            f'{what} {text!r} has half a character ({found[0]!r}) at position {found.start()}: it '
            'was decoded or cut wrongly, write it again.'
        )


def _check_names(names: Any) -> tuple[str, ...]:
    if isinstance(names, str):
        raise PromptError(
            f'names is the single string {names!r}, which would be read '
            'letter by letter: pass a list of names, or '
            'split_entities(text) for "a. b. c" text.'
        )
    if isinstance(names, (bytes, bytearray, set, frozenset, Mapping)):
        remedy = (
            'decode it'
            if isinstance(names, (bytes, bytearray))
            else 'labels number the names in the order of the list'
        )
        raise PromptError(f'names must be a list of strings, got {type(names).__name__}: {remedy}.')
    try:
        names = tuple(names)
    except TypeError:
        raise PromptError(f'names must be a list of strings, got {type(names).__name__}.') from None
    if not names:
        raise PromptError('names is empty: give at least one category name.')
    seen: dict[str, int] = {}
    for i, name in enumerate(names):
        if not isinstance(name, str) or not name.strip():
            kind = '' if isinstance(name, str) else f', of type {type(name).__name__}'
            raise PromptError(
                f'names[{i}] is {name!r}{kind}: every category needs a name with letters in it.'
            )
        refuse_half_characters(name, f'names[{i}]')
        if name in seen:
            raise PromptError(
                f'category name {name!r} is given twice (labels {seen[name]} '
                f'and {i}), so its boxes could carry either label: remove or '
                'rename one.'
            )
        seen[name] = i
    return names


def _check_spans(owner: str, pieces: Any, caption: str) -> tuple[Span, ...]:
    """``pieces`` as pairs of int, checked."""
    try:
        pairs = tuple((operator.index(b), operator.index(e)) for b, e in pieces)
    except (TypeError, ValueError):
        raise PromptError(
            f'{owner} must come as a list of [begin, end] pairs, got '
            f'{pieces!r}; one phrase of one span is [[[begin, end]]].'
        ) from None
    if not pairs:
        raise PromptError(
            f'{owner} has no span: mark its characters in the caption, or leave it out.'
        )
    for begin, end in pairs:
        if begin >= end:
            raise PromptError(
                f'span [{begin}, {end}) of {owner} is empty: end is the '
                'character after the last one.'
            )
        if begin < 0 or end > len(caption):
            raise PromptError(
                f'span [{begin}, {end}) of {owner} lies outside the caption '
                f'of {len(caption)} characters.'
            )
    return pairs


def _words_around(
    caption_prompt: CaptionPrompt | None, i: int, name: str, readable: str, num_names: int
) -> Words:
    """The prefix, name and suffix asked for at label ``i``."""
    if caption_prompt is None:
        return {}
    if isinstance(caption_prompt, Mapping):
        # mmdet looks cleaned names up, people write the class name
        around = caption_prompt.get(name, caption_prompt.get(readable, {}))
    elif len(caption_prompt) == num_names:
        around = caption_prompt[i]
    else:
        raise PromptError(
            f'caption_prompt lists {len(caption_prompt)} entries for '
            f'{num_names} names: give one per name ({{}} for none), or a '
            'dict keyed by name.'
        )
    if not isinstance(around, Mapping) or not all(
        key in ('prefix', 'name', 'suffix') and isinstance(value, str)
        for key, value in around.items()
    ):
        raise PromptError(
            f'caption_prompt of {name!r} is {around!r}: use a dict with '
            'strings under "prefix", "name" and "suffix", each optional.'
        )
    return around
