"""Prompts from text and marks, as users of mmdet's Grounding DINO write them."""

from collections.abc import Mapping, Sequence
from typing import Any

from .dataset_names import expand_dataset
from .descriptions import DescribedNames
from .noun_phrases import is_foreign, noun_phrases
from .phrases import phrase_prompt
from .prompts import (
    CaptionPrompt,
    Prompt,
    PromptError,
    category_prompt,
    check_caption,
    chunk_names,
    span_prompt,
    split_entities,
    whole_prompt,
)


def noun_phrase_prompt(caption: str) -> Prompt:
    """A caption whose phrases are its noun phrases.

    Each occurrence is a label of its own, in reading order, so that a phrase that occurs twice
    gives two labels of the same name.

    Raises:
        PromptError: the caption is blank, has no noun phrases, or is not in Latin letters, as
            English, whose words alone are known, is.
    """
    check_caption(caption)
    if is_foreign(caption):
        raise PromptError(
            f'noun phrases are found in English captions only, and {caption!r} is in another '
            'script: name the things to look for as a list, or as "a . b" with periods between '
            'blanks, or give their words of the caption as phrases (tokens_positive=-1 is the '
            'whole caption).'
        )
    spans = noun_phrases(caption)
    if not spans:
        raise PromptError(
            f'no noun phrase found in {caption!r}: name the things to look '
            'for as a list, set custom_entities=True for "a. b. c" text, or give their words of '
            'the caption as phrases (tokens_positive=-1 is the whole caption).'
        )
    return Prompt(caption, tuple(caption[b:e] for b, e in spans), tuple((span,) for span in spans))


def parse_prompt(
    text: str | Sequence[str],
    custom_entities: bool = False,
    tokens_positive: int | list | dict | None = None,
    caption_prompt: CaptionPrompt | None = None,
    phrases: str | Sequence[str] | None = None,
) -> Prompt:
    """The prompt that is meant by what users of mmdet's Grounding DINO write.

    =================== ========================= =========================
    ``text``            with                      phrases
    =================== ========================= =========================
    list of names       (``caption_prompt``)      the names
    ``'$: coco'``       (``caption_prompt``)      the names of a dataset that mmdet knows
    ``'a . b . c'``     ``custom_entities=True``  the names, see :func:`split_entities`
    caption             ``tokens_positive=-1``    the whole caption
    caption             ``tokens_positive=[…]``   the marked characters
    caption             ``tokens_positive={…}``   likewise, by label
    caption             ``phrases=[…]``           these words, wherever they occur
    caption             nothing else              its English noun phrases
    =================== ========================= =========================

    Args:
        text: a caption or category names. A caption is used verbatim: no period is added or
            removed.
        custom_entities: whether a string is a list of names.
        tokens_positive: -1; or a list with the ``[begin, end)`` pairs of each phrase; or the
            training contract ``{label: pairs}``, read in the order of its sorted labels (label
            ``i`` of the prompt is then the i-th smallest key). It wins over ``custom_entities``.
            A list of strings means ``phrases``, for callers who can pass no others (mmdet's
            ``DetInferencer``).
        caption_prompt: see :func:`category_prompt`.
        phrases: words of the caption, see :func:`~.phrases.phrase_prompt`; they win over
            ``custom_entities`` too.

    Raises:
        PromptError: arguments that contradict each other, or text from which no prompt can be made.
    """
    if tokens_positive is None and phrases is None:
        text = expand_dataset(text)
    if phrases is None and isinstance(tokens_positive, (list, tuple)) and tokens_positive:
        if all(isinstance(mark, str) for mark in tokens_positive):
            phrases, tokens_positive = tokens_positive, None
    if phrases is not None and tokens_positive is not None:
        raise PromptError(
            'phrases and tokens_positive both mark the phrases of the caption: give one of them.'
        )
    if not isinstance(text, str):
        for key, given in dict(tokens_positive=tokens_positive, phrases=phrases).items():
            if given is not None:
                raise PromptError(
                    f'{key} marks words of a caption, but text is a list of names: give the '
                    f'caption as one string, or drop {key}.'
                )
        return category_prompt(text, caption_prompt)
    if tokens_positive is None and phrases is None and custom_entities:
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
    if phrases is not None:
        return phrase_prompt(text, phrases)
    if tokens_positive is None:
        return noun_phrase_prompt(text)
    if isinstance(tokens_positive, int) and tokens_positive == -1:
        return whole_prompt(text)
    marks: Any = tokens_positive  # checked in span_prompt
    if isinstance(marks, Mapping):
        marks = [marks[label] for label in sorted(marks)]
    return span_prompt(text, marks)


def prompt_passes(
    text: str | Sequence[str],
    custom_entities: bool = False,
    tokens_positive: int | list | dict | None = None,
    caption_prompt: CaptionPrompt | None = None,
    chunked_size: int | Sequence[int] = -1,
    phrases: str | Sequence[str] | None = None,
) -> list[Prompt]:
    """The prompt of :func:`parse_prompt`, long vocabularies in several.

    Args:
        text: as for :func:`parse_prompt`.
        custom_entities: as for :func:`parse_prompt`.
        tokens_positive: as for :func:`parse_prompt`.
        caption_prompt: as for :func:`parse_prompt`.
        chunked_size: names per prompt; zero or less means all in one. A list has the number of
            each prompt. Captions are never cut.
        phrases: as for :func:`parse_prompt`.

    Returns:
        The same phrases in the same order, in one prompt or several.

    Raises:
        PromptError: as for :func:`parse_prompt`, or words of :func:`~.descriptions.describe` for
            another number of names per prompt.
    """
    if tokens_positive is None and phrases is None:
        text = expand_dataset(text)
    whole = parse_prompt(text, custom_entities, tokens_positive, caption_prompt, phrases)
    is_caption = isinstance(text, str) and not (
        custom_entities and tokens_positive is None and phrases is None
    )
    if is_caption:
        return [whole]
    runs = chunk_names(whole.phrases, chunked_size)
    if isinstance(caption_prompt, DescribedNames):
        made = chunk_names(whole.phrases, caption_prompt.size)
        if made != runs:
            raise PromptError(
                f'the descriptions are worded for {len(made[0][1])} names per prompt, but '
                f'{len(runs[0][1])} are asked at a time: set chunked_size={caption_prompt.size}, '
                f'or word them for {chunked_size}'
            )
    if len(runs) == 1:
        return [whole]
    passes = []
    for start, names in runs:
        around = caption_prompt
        if around is not None and not isinstance(around, Mapping):
            around = around[start : start + len(names)]
        passes.append(category_prompt(names, around))
    return passes


def prompt_options(sample: Any, training: bool = False) -> dict[str, Any]:
    """The keyword arguments of :func:`parse_prompt` that a sample carries beside its ``text``.

    Args:
        sample: a data sample or record, with ``get``.
        training: whether a text without marks is a list of names whatever ``custom_entities`` says.
    """
    options = {
        key: sample.get(key, None) for key in ('tokens_positive', 'caption_prompt', 'phrases')
    }
    unmarked = options['tokens_positive'] is None and options['phrases'] is None
    options['custom_entities'] = (
        unmarked if training else bool(sample.get('custom_entities', False))
    )
    return options
