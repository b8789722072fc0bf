"""Captions as the token ids of an exported model, by the library ``tokenizers`` alone."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from threading import Lock
from typing import Any

import numpy as np

from fiber_mmdet.fields import WHOLE, check_record
from fiber_mmdet.host import need_extra
from fiber_mmdet.text.encodings import LONE_BLANK, WordEncoding, too_long
from fiber_mmdet.text.prompts import Prompt, PromptError, refuse_half_characters

FIELDS = dict.fromkeys(('max_tokens', 'pad_id', 'start_id', 'end_id'), WHOLE)


@dataclass
class TokenizedCaptions:
    """A batch of captions as a program reads them.

    Attributes:
        ids: (B, L) int64, padded to the longest.
        mask: (B, L) bool, True at real tokens.
        encodings: of each caption what tells the token of a character.
        captions: the captions.
    """

    ids: np.ndarray
    mask: np.ndarray
    encodings: list[Any]
    captions: tuple[str, ...]


class CaptionTokens:
    """The tokenizer of an exported model.

    Args:
        tokenizer: of the library ``tokenizers``.
        max_tokens: most tokens of a caption.
        pad_id: id of the padding.
        start_id: id of the token that begins every text.
        end_id: id of the token that ends every text.
    """

    def __init__(
        self, tokenizer: Any, max_tokens: int, pad_id: int, start_id: int, end_id: int
    ) -> None:
        self.tokenizer = tokenizer
        self.max_tokens, self.pad_id = max_tokens, pad_id
        self.start_id, self.end_id = start_id, end_id
        tokenizer.no_padding()
        self._alone = Lock()

    @classmethod
    def read(cls, path: Path, record: Any) -> 'CaptionTokens':
        """From the file of a folder and what its manifest says of texts.

        Raises:
            MissingExtra: ``tokenizers`` is not installed.
            ValueError: the record lacks a field.
        """
        check_record(record, FIELDS, f'{path.parent}: text')
        library = need_extra('tokenizers', 'export', 'reading prompts')
        return cls(library.Tokenizer.from_file(str(path)), **{key: record[key] for key in FIELDS})

    def __call__(
        self, prompts: Sequence[Prompt | str], truncate: bool = False
    ) -> TokenizedCaptions:
        """Tokenize a batch, as ``PromptTokenizer`` does.

        Args:
            prompts: prompts or bare captions.
            truncate: cut captions that are too long, instead of refusing them.

        Raises:
            PromptError: a caption that is no text, or too long.
        """
        captions = tuple(p.caption if isinstance(p, Prompt) else p for p in prompts)
        for caption in captions:
            refuse_half_characters(caption, 'caption')
        encodings = self._encode(captions, truncate)
        for prompt, encoding in zip(prompts, encodings):
            if len(encoding.ids) > self.max_tokens:
                raise PromptError(too_long(prompt, encoding, len(encoding.ids), self.max_tokens))
        rows = [encoding.ids for encoding in encodings]
        ids = np.full((len(rows), max(map(len, rows))), self.pad_id, np.int64)
        mask = np.zeros(ids.shape, bool)
        for i, row in enumerate(rows):
            ids[i, : len(row)], mask[i, : len(row)] = row, True
        encodings = [WordEncoding(e) if LONE_BLANK in e.tokens else e for e in encodings]
        return TokenizedCaptions(ids, mask, encodings, captions)

    def _encode(self, captions: Sequence[str], truncate: bool) -> list[Any]:
        with self._alone:  # what is cut is a setting of the tokenizer
            if truncate:
                self.tokenizer.enable_truncation(self.max_tokens)
            else:
                self.tokenizer.no_truncation()
            return self.tokenizer.encode_batch(list(captions))

    def length(self, caption: str) -> int:
        """Number of tokens of a caption, counted with those that begin and end it."""
        return len(self._encode([caption], False)[0].ids)

    def text(self, ids: Sequence[int]) -> str:
        """The text of ids, without special tokens."""
        return self.tokenizer.decode(list(ids), skip_special_tokens=True).strip()
