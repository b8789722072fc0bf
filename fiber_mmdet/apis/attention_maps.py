"""Maps of where phrases look in an image, and how much its cells read of them."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from fiber_mmdet.outputs import image_format
from fiber_mmdet.text.phrases import find_phrase
from fiber_mmdet.text.positive_map import span_to_tokens
from fiber_mmdet.text.prompts import Span
from fiber_mmdet.text.tokenizer import TokenizedPrompts
from fiber_mmdet.visualization.attention import draw_attention

from .attention_weights import FusedStep
from .inputs import ImageLike
from .showing import Drawable, save_drawing, searched_image

PhraseLike = str | Span
WORD = re.compile(r"\w+(?:['’-]\w+)*")


@dataclass(frozen=True)
class Phrase:
    """Words of a text.

    Attributes:
        words: as in the text.
        span: their characters (begin, end).
        tokens: indices of their tokens; ``<s>`` is 0.
    """

    words: str
    span: Span
    tokens: tuple[int, ...]


def find_phrases(
    tokenized: TokenizedPrompts, wanted: None | PhraseLike | Sequence[PhraseLike] = None
) -> list[Phrase]:
    """Find phrases in a text.

    Args:
        tokenized: the text, cut where the model stops to read.
        wanted: words, whose first occurrence is meant, see
            :func:`~fiber_mmdet.text.find_phrase`; or characters (begin, end); or a list of these.
            None for each word.

    Raises:
        ValueError: a phrase that is not in the text, or was cut off.
    """
    text = tokenized.captions[0]
    phrases: Sequence[Any]
    if wanted is None:
        phrases = [word.span() for word in WORD.finditer(text)]
    elif isinstance(wanted, str) or (len(wanted) == 2 and all(isinstance(x, int) for x in wanted)):
        phrases = [wanted]
    else:
        phrases = wanted
    found = []
    for phrase in phrases:
        begin, end = _span_of(phrase, text)
        tokens = tuple(span_to_tokens(tokenized.encodings[0].char_to_token, begin, end))
        if tokens:
            found.append(Phrase(text[begin:end], (begin, end), tokens))
        elif isinstance(phrase, str):
            raise ValueError(
                f'{phrase!r} lies behind the {tokenized.ids.shape[1]} tokens that the '
                'model reads: shorten the text'
            )
    if not found:
        raise ValueError(f'no words in {text!r}')
    return found


def _span_of(phrase: Any, text: str) -> Span:
    if not isinstance(phrase, str):
        begin, end = phrase
        if not 0 <= begin < end <= len(text):
            raise ValueError(f'characters {begin} to {end} are not in a text of {len(text)}')
        return begin, end
    return find_phrase(text, phrase)[0]


@dataclass(frozen=True, eq=False, repr=False)
class AttentionMaps(Drawable):
    """Cross-attention between the phrases of a text and the cells of an image.

    It shows itself as a drawing in notebooks.

    Attributes:
        text: the text.
        phrases: n phrases, in the order in which they were asked for.
        looks: (n, H, W) float32, where each phrase looks: weights over the cells that sum to 1,
            the mean of those of its tokens.
        reads: (n, H, W) float32, what each cell reads of a phrase: the share of its attention
            that goes to the phrase's tokens; the rest goes to other words, ``<s>`` and ``</s>``.
        layer: number of the fused layer; None for the mean of all.
        head: number of the attention head; None for the mean of all.
        gates: gates of the text layers and of the image blocks that are shown, in order: the
            factors of what was read.
        image: path of the image; None if it came as pixels.
    """

    text: str
    phrases: tuple[Phrase, ...]
    looks: np.ndarray
    reads: np.ndarray
    layer: int | None
    head: int | None
    gates: tuple[tuple[float, ...], tuple[float, ...]]
    image: str | None = None

    def __repr__(self) -> str:
        words = ', '.join(repr(phrase.words) for phrase in self.phrases)
        where = '' if self.image is None else f' in {self.image!r}'
        return f'<{type(self).__name__}: {words} of {self.text!r}{where}>'

    def to_dict(self) -> dict[str, Any]:
        """The maps in plain Python, ready for JSON, weights with five decimals."""
        phrases = [
            dict(
                phrase=phrase.words,
                span=list(phrase.span),
                tokens=list(phrase.tokens),
                looks=np.round(looks.astype(float), 5).tolist(),
                reads=np.round(reads.astype(float), 5).tolist(),
            )
            for phrase, looks, reads in zip(self.phrases, self.looks, self.reads)
        ]
        return dict(
            image=self.image,
            text=self.text,
            layer=self.layer,
            head=self.head,
            text_gates=list(self.gates[0]),
            image_gates=list(self.gates[1]),
            phrases=phrases,
        )

    def draw(
        self,
        image: ImageLike | None = None,
        path: str | Path | None = None,
        direction: str = 'looks',
    ) -> np.ndarray:
        """Draw the maps over the image; see :func:`~.visualization.attention.draw_attention`.

        Args:
            image: the image that was looked at; may be left out if it came from a file.
            path: also write the drawing there, in the format of its ending; folders are made.
            direction: 'looks', 'reads' or 'both'.

        Returns:
            (H', W', 3) uint8 RGB.

        Raises:
            ValueError: no image, an unknown direction, or a path that :func:`save_drawing` refuses.
            OSError: the drawing cannot be written; what was there before is unchanged.
        """
        if path is not None:
            image_format(path)
        layer = 'mean of all fused layers' if self.layer is None else f'fused layer {self.layer}'
        head = 'mean of heads' if self.head is None else f'head {self.head}'
        drawing = draw_attention(
            searched_image(image, self.image),
            self.text,
            [phrase.words for phrase in self.phrases],
            self.looks,
            self.reads,
            f'{layer}, {head}',
            direction,
        )
        if path is not None:
            save_drawing(drawing, path, inputs=[image, self.image])
        return drawing


def attention_maps(
    steps: Sequence[FusedStep],
    text: str,
    phrases: Sequence[Phrase],
    layer: int | None = None,
    head: int | None = None,
    image: str | None = None,
) -> AttentionMaps:
    """Maps of phrases, over one fused layer or all of them.

    Steps may have maps of different sizes: all are resized to the largest, where the small cells
    in a large one share its weight.

    Args:
        steps: of :func:`~.attention_weights.record_fusion`.
        text: the text.
        phrases: of :func:`find_phrases`.
        layer: number of a fused layer, from 0; None for the mean of all.
        head: number of an attention head; None for the mean of all.
        image: path of the image; None if it came as pixels.

    Raises:
        ValueError: no such layer or head.
    """
    chosen = list(steps) if layer is None else [_pick(steps, layer, 'layer')]
    height, width = max(step.looks.shape[-2:] for step in chosen)
    tokens = [list(phrase.tokens) for phrase in phrases]
    looks, reads = [], []
    for step in chosen:
        look, read = (
            weights.mean(0) if head is None else _pick(list(weights), head, 'head')
            for weights in (step.looks, step.reads.movedim(-1, 1))
        )
        look = torch.stack([look[of_phrase].mean(0) for of_phrase in tokens])
        look = _resize(look, height, width)
        looks.append(look / look.sum((-2, -1), keepdim=True))
        read = torch.stack([read[of_phrase].sum(0) for of_phrase in tokens])
        reads.append(_resize(read, height, width))
    gates = tuple(step.text_gate for step in chosen), tuple(step.image_gate for step in chosen)
    return AttentionMaps(
        text,
        tuple(phrases),
        torch.stack(looks).mean(0).numpy(),
        torch.stack(reads).mean(0).numpy(),
        layer,
        head,
        gates,
        image,
    )


def _resize(maps: Tensor, height: int, width: int) -> Tensor:
    """(n, H, W) to a larger size; cells stay cells."""
    return F.interpolate(maps[None], (height, width), mode='area')[0]


def _pick(items: Sequence, number: int, name: str) -> Any:
    if not 0 <= number < len(items):
        raise ValueError(f'there is no {name} {number}: choose from 0 to {len(items) - 1}')
    return items[number]
