"""What a tokenizer says of a caption: which token a character belongs to, and too many of them.

Nothing here needs torch.
"""

from typing import Any

from .prompts import Prompt

LONE_BLANK = '▁'  # how SentencePiece writes one


class WordEncoding:
    """An encoding whose blanks own no character of the word after them.

    SentencePiece writes a word without a piece of its own as a blank and the word's pieces, and the
    blank claims the first character. The label of a word of one character, as many are in Chinese,
    would have the blank alone.

    Args:
        encoding: of a fast tokenizer.
    """

    def __init__(self, encoding: Any) -> None:
        self.encoding = encoding
        self.offsets = encoding.offsets
        self.special_tokens_mask = encoding.special_tokens_mask
        self._blanks = {
            first: token + 1
            for token, (first, last) in enumerate(self.offsets[:-1])
            if encoding.tokens[token] == LONE_BLANK and self.offsets[token + 1][0] == first < last
        }

    def char_to_token(self, character: int) -> int | None:
        """The token of a character, None if it has none."""
        return self._blanks.get(character, self.encoding.char_to_token(character))


def shorten(text: str, length: int = 60) -> str:
    """A text as errors quote it, cut after ``length`` characters."""
    return repr(text if len(text) <= length else text[: length - 1] + '…')


def too_long(prompt: Prompt | str, encoding: Any, length: int, limit: int) -> str:
    """What to do about a prompt of too many tokens.

    Args:
        prompt: prompt or caption.
        encoding: of its caption.
        length: number of its tokens.
        limit: the most that the model reads.
    """
    caption = prompt if isinstance(prompt, str) else prompt.caption
    said = f'caption {shorten(caption)} has {length} tokens but the model reads {limit}'
    if isinstance(prompt, str):
        return f'{said}: shorten it.'
    special = encoding.special_tokens_mask
    words = [span for span, ignored in zip(encoding.offsets, special) if not ignored]
    for phrase, spans in zip(prompt.phrases, prompt.spans):
        begin, end = spans[0][0], spans[-1][1]
        own = sum(first < end and last > begin for first, last in words)
        if own + 2 > limit:
            return (
                f'{shorten(phrase)} alone takes {own + 2} tokens but the model reads {limit}: '
                'shorten it (of a category, its "name" in caption_prompt is read instead).'
            )
    if not _lists_names(prompt):
        return f'{said}: shorten it (chunks are for names only).'
    return (
        f'{said}: set chunked_size to ask for fewer categories at a time, or shorten the caption.'
    )


def _lists_names(prompt: Prompt) -> bool:
    """Whether a prompt is a list of names, which can be read in chunks."""
    ends = [spans[-1][1] for spans in prompt.spans]
    begins = [spans[0][0] for spans in prompt.spans]
    gaps = [prompt.caption[end:begin] for end, begin in zip(ends, begins[1:])]
    return bool(gaps) and all('. ' in gap for gap in gaps)
