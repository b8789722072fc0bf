"""Prompts: a caption, the phrases to look for, and where they stand in it."""

import operator
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from .errors import PromptError
from .noun_phrases import noun_phrases

Span = tuple[int, int]
Words = Mapping[str, str]
CaptionPrompt = Mapping[str, Words] | Sequence[Words]


@dataclass(frozen=True)
class Prompt:
    """What the model reads, and what each label of its answer means.

    Label ``i`` stands for ``phrases[i]``, whose words are the characters
    ``spans[i]`` of ``caption``. Lists are accepted and stored as tuples.

    Args:
        caption (str): The text given to the model, case kept.
        phrases (tuple[str]): The caller's own string for every label.
        spans (tuple[tuple[tuple[int, int]]]): For every label one or more
            half-open character spans ``[begin, end)`` of ``caption``.

    Raises:
        PromptError: Blank caption, no phrases, unequal lengths, a label
            without a span, or a span that is empty or outside the caption.
    """

    caption: str
    phrases: tuple[str, ...]
    spans: tuple[tuple[Span, ...], ...]

    def __post_init__(self) -> None:
        _check_caption(self.caption)
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
    """Make a category name readable, exactly as FIBER and GLIP were trained.

    Everything from the first "(" to the last ")" goes, "_" becomes a space
    and every double space becomes one. Nothing is stripped: LVIS'
    ``bat_(animal)`` becomes ``'bat '`` because the published numbers were
    measured on that text.
    """
    name = re.sub(r'\(.*\)', '', name)
    return name.replace('_', ' ').replace('  ', ' ')


def category_prompt(
    names: Sequence[str],
    caption_prompt: CaptionPrompt | None = None,
    separator: str = '. ',
    clean: bool = True,
) -> Prompt:
    """Write category names into one caption, ``'person. bicycle. car'``.

    Args:
        names (Sequence[str]): Category names in label order.
        caption_prompt (dict | list, optional): Words around a name, as
            mmdet's GLIP means it: ``{name: dict(prefix=, name=, suffix=)}``
            with every key optional, or a list of such dicts in label order.
            The caption gets prefix + name + suffix and the span covers the
            name alone; a ``name`` given here is used uncleaned. A dict may
            hold entries for names that are not asked for.
        separator (str): Text between names; none follows the last.
        clean (bool): Pass names through :func:`clean_name` first. Phrases
            keep the caller's spelling either way.

    Returns:
        Prompt: One label per name, in the given order. Different names may
        read alike once cleaned (``bow_(weapon)``, ``bow_(ribbon)``).

    Raises:
        PromptError: A bare string instead of a list, no names, a blank or
            repeated name, or a malformed ``caption_prompt``.
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


def whole_prompt(caption: str) -> Prompt:
    """Take the whole caption as one phrase (referring expressions).

    Label 0 is ``caption``; its span leaves out blanks at either end, which
    no token owns. Raises :class:`PromptError` if the caption is blank.
    """
    _check_caption(caption)
    begin = len(caption) - len(caption.lstrip())
    return Prompt(caption, (caption,), (((begin, len(caption.rstrip())),),))


def span_prompt(caption: str, tokens_positive: Sequence[Sequence[Sequence[int]]]) -> Prompt:
    """Look for phrases given by their characters.

    Args:
        caption (str): The caption, used verbatim.
        tokens_positive (Sequence): One entry per phrase, each a list of
            ``[begin, end)`` character pairs; a phrase of several pieces is
            named ``'piece / piece'`` as mmdet does.

    Raises:
        PromptError: A flat list of pairs, or spans that :class:`Prompt`
            refuses.
    """
    _check_caption(caption)
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


def noun_phrase_prompt(caption: str) -> Prompt:
    """Look for every noun phrase of a caption.

    Each occurrence is a label of its own, in reading order, so a phrase that
    is said twice gives two labels with the same name.

    Raises:
        PromptError: Blank caption, or one without noun phrases.
    """
    _check_caption(caption)
    spans = noun_phrases(caption)
    if not spans:
        raise PromptError(
            f'no noun phrase found in {caption!r}: name the things to look '
            'for as a list, set custom_entities=True for "a. b. c" text, or '
            'mark them with tokens_positive (-1 for the whole caption).'
        )
    return Prompt(caption, tuple(caption[b:e] for b, e in spans), tuple((span,) for span in spans))


def split_entities(text: str) -> list[str]:
    """Split ``'a red circle . a small square.'`` into its stripped names.

    A period parts two names where a blank or the end of the text follows,
    so ``'3.5 inch disk'`` stays whole; empty names are dropped.
    """
    parts = (part.strip() for part in re.split(r'\.(?=\s|$)', text))
    return [part for part in parts if part]


def chunk_names(names: Sequence[str], chunked_size: int = -1) -> list[tuple[int, tuple[str, ...]]]:
    """Cut a long vocabulary into runs that fit a prompt each.

    Args:
        names (Sequence[str]): Category names in label order.
        chunked_size (int): Names per run; zero or less means one run.

    Returns:
        list[tuple[int, tuple[str]]]: ``(offset, names)`` of every run; label
        ``i`` of a run is label ``offset + i`` of the whole vocabulary. A
        ``caption_prompt`` given as a list must be sliced alike.

    Raises:
        PromptError: As for :func:`category_prompt`, above all for a string,
            which would otherwise be cut into characters.
    """
    names = _check_names(names)
    size = chunked_size if chunked_size > 0 else len(names)
    return [(i, names[i : i + size]) for i in range(0, len(names), size)]


def parse_prompt(
    text: str | Sequence[str],
    custom_entities: bool = False,
    tokens_positive: int | list | dict | None = None,
    caption_prompt: CaptionPrompt | None = None,
) -> Prompt:
    """Read a prompt as users of mmdet's Grounding DINO write it.

    =================== ========================= =========================
    ``text``            with                      phrases
    =================== ========================= =========================
    list of names       (``caption_prompt``)      the names
    ``'a. b. c'``       ``custom_entities=True``  the names between periods
    caption             ``tokens_positive=-1``    the whole caption
    caption             ``tokens_positive=[…]``   the marked characters
    caption             ``tokens_positive={…}``   likewise, by label
    caption             nothing else              its noun phrases
    =================== ========================= =========================

    Args:
        text (str | Sequence[str]): Caption or category names. The caption
            is used verbatim: no period is added and none is taken away.
        custom_entities (bool): Whether a string is a list of names.
        tokens_positive (int | list | dict, optional): -1, a list with the
            ``[begin, end)`` pairs of each phrase, or the training contract
            ``{label: pairs}``, read in the order of its sorted labels (the
            prompt's label ``i`` is then the i-th smallest key). It wins over
            ``custom_entities``.
        caption_prompt (dict | list, optional): See :func:`category_prompt`.

    Raises:
        PromptError: Arguments that contradict each other, or text from
            which no prompt can be made.
    """
    if not isinstance(text, str):
        if tokens_positive is not None:
            raise PromptError(
                'tokens_positive marks characters of a caption, but text is '
                'a list of names: give the caption as one string, or drop '
                'tokens_positive.'
            )
        return category_prompt(text, caption_prompt)
    if tokens_positive is None and custom_entities:
        names = split_entities(text)
        if not names:
            raise PromptError(
                f'text {text!r} names nothing to look for: separate names by '
                'periods, as in "person. red car".'
            )
        return category_prompt(names, caption_prompt)
    if caption_prompt is not None:
        raise PromptError(
            'caption_prompt decorates category names, but text is a caption: '
            'give text as a list of names, or drop caption_prompt.'
        )
    if tokens_positive is None:
        return noun_phrase_prompt(text)
    if isinstance(tokens_positive, int) and tokens_positive == -1:
        return whole_prompt(text)
    if isinstance(tokens_positive, Mapping):
        tokens_positive = [tokens_positive[label] for label in sorted(tokens_positive)]
    return span_prompt(text, tokens_positive)


def prompt_passes(
    text: str | Sequence[str],
    custom_entities: bool = False,
    tokens_positive: int | list | dict | None = None,
    caption_prompt: CaptionPrompt | None = None,
    chunked_size: int = -1,
) -> list[Prompt]:
    """Read a prompt as :func:`parse_prompt` does, long vocabularies in runs.

    Args:
        text, custom_entities, tokens_positive, caption_prompt: See
            :func:`parse_prompt`.
        chunked_size (int): Names per prompt; zero or less means all in one.
            Captions are never cut.

    Returns:
        list[Prompt]: The same phrases in the same order, in one prompt or
        several.

    Raises:
        PromptError: As for :func:`parse_prompt`.
    """
    whole = parse_prompt(text, custom_entities, tokens_positive, caption_prompt)
    is_caption = isinstance(text, str) and (not custom_entities or tokens_positive is not None)
    if chunked_size <= 0 or is_caption:
        return [whole]
    passes = []
    for start, names in chunk_names(whole.phrases, chunked_size):
        around = caption_prompt
        if around is not None and not isinstance(around, Mapping):
            around = around[start : start + len(names)]
        passes.append(category_prompt(names, around))
    return passes


def _check_caption(caption) -> None:
    if not isinstance(caption, str):
        raise PromptError(f'caption must be a string, got {type(caption).__name__}: {caption!r}.')
    if not caption.strip():
        raise PromptError('caption is empty: write what to look for.')


def _check_names(names) -> tuple[str, ...]:
    if isinstance(names, str):
        raise PromptError(
            f'names is the single string {names!r}, which would be read '
            'letter by letter: pass a list of names, or '
            'split_entities(text) for "a. b. c" text.'
        )
    try:
        names = tuple(names)
    except TypeError:
        raise PromptError(f'names must be a list of strings, got {type(names).__name__}.') from None
    if not names:
        raise PromptError('names is empty: give at least one category name.')
    seen = {}
    for i, name in enumerate(names):
        if not isinstance(name, str) or not name.strip():
            raise PromptError(
                f'names[{i}] is {name!r}: every category needs a name with letters in it.'
            )
        if name in seen:
            raise PromptError(
                f'category name {name!r} is given twice (labels {seen[name]} '
                f'and {i}), so its boxes could carry either label: remove or '
                'rename one.'
            )
        seen[name] = i
    return names


def _check_spans(owner, pieces, caption) -> tuple[Span, ...]:
    """Return ``pieces`` as pairs of int, or say what is wrong with them."""
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


def _words_around(caption_prompt, i, name, readable, num_names) -> Mapping:
    """Return the prefix, name and suffix asked for at label ``i``."""
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
