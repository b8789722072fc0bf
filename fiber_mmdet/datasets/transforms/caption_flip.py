"""Mirroring an image and, optionally, the words "left" and "right" of its prompt."""

import re
from collections.abc import Mapping, Sequence
from typing import Any

from mmdet.datasets.transforms import RandomFlip_GLIP
from mmdet.registry import TRANSFORMS

from .each_text import split_texts

# "left", "leftmost", "left-hand", "topleft", but not "leftover" or "bright"; "_" ends a word
SIDE = re.compile(
    r'(?<![^\W_])(?:top|bottom|upper|lower|front|back|far|mid)?(left|right)'
    r'(?=(?:most|wards?|side|hand(?:ed)?)?(?![^\W_]))',
    re.IGNORECASE,
)
OTHER = dict(left='right', right='left')

# an exchanged word: where it began and ended, and how long the new one is
Edit = tuple[int, int, int]


@TRANSFORMS.register_module()
class CaptionFlip(RandomFlip_GLIP):
    """Mirror the image and its inclusive boxes, and optionally swap "left" and "right".

    In an image of width W, x becomes W - x - 1, see :class:`InclusiveBoxes`. With ``swap_words``,
    "left" and "right" are exchanged in the ``text`` (a caption or category names), its ``phrases``
    and ``caption_prompt``, and the spans of ``tokens_positive`` move with their words. Words are
    recognised by spelling alone: "right behind" becomes "left behind". The reference mirrors
    images without changing the words; so does this transform with captions. But an image with a
    box whose category name says left or right ("left shoe") is not mirrored, unless the words are
    swapped: its label would be wrong. An image with several texts is mirrored with all of them, or
    not at all. (No dataset of the paper has such names.)

    Args:
        prob: probability of mirroring.
        swap_words: exchange the words too.
    """

    def __init__(self, prob: float, swap_words: bool = False) -> None:
        super().__init__(prob=float(prob), direction='horizontal')
        self.swap_words = swap_words

    def _flip_on_direction(self, results: dict) -> None:
        direction = self._choose_direction()  # drawn for every sample, so names change no other
        parts = split_texts(results) if 'texts' in results else [results]
        if not self.swap_words and any(map(says_side, parts)):
            direction = None
        results['flip'] = direction is not None
        results['flip_direction'] = direction
        if direction is not None:
            self._flip(results)

    def _flip(self, results: dict) -> None:
        super()._flip(results)
        if self.swap_words:
            results['texts'] = [dict(text) for text in results.get('texts', ())]
            for part in results['texts'] or [results]:
                mirror_prompt(part)

    def __repr__(self) -> str:
        return f'{type(self).__name__}(prob={self.prob}, swap_words={self.swap_words})'


def says_side(results: dict) -> bool:
    """Whether a box of a sample has a category whose name, or wording, says left or right.

    Args:
        results: a sample; captions are not looked at.
    """
    text, labels = results.get('text'), results.get('gt_bboxes_labels')
    if text is None or isinstance(text, str) or labels is None:
        return False
    words = results.get('caption_prompt') or {}
    for label in {int(label) for label in labels}:
        name = text[label]
        around = words.get(name, {}) if isinstance(words, Mapping) else words[label]
        if SIDE.search(' '.join([name, *around.values()])):
            return True
    return False


def mirror_prompt(results: dict) -> None:
    """Exchange left and right in the prompt of a sample, without changing objects it shares.

    Args:
        results: a sample with ``text`` and possibly ``tokens_positive``, ``phrases`` and
            ``caption_prompt``, whose values are replaced.
    """
    text, spans = results.get('text'), results.get('tokens_positive')
    if isinstance(text, str):
        results['text'], edits = mirror_words(text)
        if isinstance(spans, Mapping):
            results['tokens_positive'] = {
                label: _mirror_spans(of_label, edits) for label, of_label in spans.items()
            }
        elif isinstance(spans, Sequence):
            results['tokens_positive'] = [_mirror_spans(of_label, edits) for of_label in spans]
    elif text is not None:
        results['text'] = [_mirrored(name) for name in text]
    for key in ('phrases', 'caption_prompt'):
        if results.get(key):
            results[key] = _mirrored(results[key])


def mirror_words(text: str) -> tuple[str, list[Edit]]:
    """Exchange the words for left and right; case is kept (left, Left, LEFT).

    Args:
        text: any text.

    Returns:
        The new text and its edits: (begin, end) of each exchanged word in the
        old text and the length of the new word, in order.
    """
    pieces, edits, done = [], [], 0
    for match in SIDE.finditer(text):
        begin, end = match.span(1)
        word = match[1]
        other = OTHER[word.lower()]
        if word.isupper():
            other = other.upper()
        elif word[0].isupper():
            other = other.capitalize()
        pieces += [text[done:begin], other]
        edits.append((begin, end, len(other)))
        done = end
    return ''.join([*pieces, text[done:]]), edits


def _mirrored(value: Any) -> Any:
    """A string, or a dict or list of strings, with the words exchanged in all keys and values."""
    if isinstance(value, str):
        return mirror_words(value)[0]
    if isinstance(value, Mapping):
        # the keys of a wording ('prefix', …) contain neither left nor right
        return {_mirrored(key): _mirrored(inner) for key, inner in value.items()}
    return [_mirrored(inner) for inner in value]


def _mirror_spans(spans: Sequence[Sequence[int]], edits: Sequence[Edit]) -> list[list[int]]:
    """Half-open spans of the old text as spans of the same words in the new one."""
    moved = []
    for begin, end in spans:
        new_begin, new_end = begin, end
        for old_begin, old_end, length in edits:
            growth = length - (old_end - old_begin)
            if begin >= old_end:
                new_begin += growth
            elif begin > old_begin:  # in the middle of a word: all of it
                new_begin -= begin - old_begin
            if end >= old_end:
                new_end += growth
            elif end > old_begin:
                new_end += growth + old_end - end
        moved.append([new_begin, new_end])
    return moved
