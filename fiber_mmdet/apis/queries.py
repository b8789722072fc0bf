"""Prompts as people type them, and the passes the model makes for them."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Union

from fiber_mmdet.text import Prompt, PromptError, parse_prompt, prompt_passes

PromptLike = Union[str, Sequence[str], Prompt]

# "a red circle . a blue square", also with a period at the end only
SEPARATED = re.compile(r'\s\.(\s|$)')


@dataclass(frozen=True)
class Query:
    """One question to the model.

    Attributes:
        prompt: the question as a whole; labels are indices into its phrases.
        passes: the same phrases in the same order, in as many prompts as the model reads.
    """

    prompt: Prompt
    passes: tuple[Prompt, ...]


def read_query(
    prompt: PromptLike,
    custom_entities: bool | None = None,
    tokens_positive: int | list | dict | None = None,
    caption_prompt: Mapping | Sequence | None = None,
    chunked_size: int = -1,
) -> Query:
    """Understand a prompt.

    ===================================== ==========================================
    ``prompt``                            looks for
    ===================================== ==========================================
    ``['red circle', 'blue square']``     each name
    ``'red circle . blue square'``        each name: a period between blanks, or one
                                          after a blank at the end, separates them
    ``'a red circle left of a square'``   its noun phrases
    a caption, ``tokens_positive=-1``     the whole expression, for one thing
    a caption, ``tokens_positive=[…]``    the marked characters
    a :class:`~fiber_mmdet.text.Prompt`   its own phrases
    ===================================== ==========================================

    Args:
        prompt: what to look for.
        custom_entities: whether a string is a list of names; None tells by the periods.
        tokens_positive: -1 for the whole caption, or for each phrase a list of its
            ``[begin, end)`` character spans.
        caption_prompt: words around category names, ``{name: dict(prefix=, name=, suffix=)}``.
        chunked_size: names read at a time, for vocabularies that fit no prompt; -1 reads all in
            one. Applies to names only, captions and a Prompt are read whole. Scores depend on
            what is read together.

    Returns:
        The query.

    Raises:
        PromptError: arguments from which no prompt can be made.
    """
    if isinstance(prompt, Prompt):
        if (custom_entities, tokens_positive, caption_prompt) != (None, None, None):
            raise PromptError(
                'a Prompt already says what its phrases are: drop custom_entities, '
                'tokens_positive and caption_prompt'
            )
        return Query(prompt, (prompt,))
    if isinstance(prompt, str) and tokens_positive is None:
        if custom_entities is None:
            custom_entities = SEPARATED.search(prompt) is not None
    options = dict(
        custom_entities=bool(custom_entities),
        tokens_positive=tokens_positive,
        caption_prompt=caption_prompt,
    )
    return Query(
        parse_prompt(prompt, **options),
        tuple(prompt_passes(prompt, **options, chunked_size=chunked_size)),
    )
