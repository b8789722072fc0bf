"""Prompts as the token ids of a text tower."""

import logging
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from .encodings import LONE_BLANK, WordEncoding, shorten, too_long
from .prompts import Prompt, PromptError, refuse_half_characters
from .tokenizer_files import PROBE, check_probe, end_id, load_tokenizer, start_id

logger = logging.getLogger(__name__)


@dataclass
class TokenizedPrompts:
    """A batch of captions as the model reads them.

    Attributes:
        ids: (B, L) int64; L is the longest caption of the batch, counted with ``<s>`` and
            ``</s>``; the rest is ``<pad>``.
        mask: (B, L) bool, True for tokens, False for padding.
        encodings: for each caption the object whose ``char_to_token(character)`` gives a token
            index or None.
        captions: the captions themselves.
    """

    ids: Tensor
    mask: Tensor
    encodings: list[Any]
    captions: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.captions)

    def to(self, device: str | torch.device) -> 'TokenizedPrompts':
        """The batch with its tensors on ``device``."""
        return replace(self, ids=self.ids.to(device), mask=self.mask.to(device))


class PromptTokenizer:
    """Turns prompts into token ids for the text tower.

    Captions are taken verbatim: case kept, no period added. Padding goes to the longest caption of
    the batch rather than to ``max_tokens``, which changes no output because padding is masked
    throughout. A subclass for another tower overrides :meth:`load`.

    Args:
        name_or_path: what :meth:`load` reads, the tokenizer that the text tower was trained with.
        max_tokens: most tokens a caption may have, special tokens included; 256 in FIBER.
        vocab_size: rows of the model's word embedding, to be checked against the tokenizer at once;
            None to leave that out.
        probe: a text in the language of the captions, whose letters must come back from its tokens;
            None for 'a photo', or, in a subclass with its own :meth:`load`, for no such check.

    Attributes:
        tokenizer: the fast tokenizer of transformers, shared between callers.

    Raises:
        PromptError: no usable tokenizer, one larger than the model's vocabulary, or one that loses
            letters of the probe.
    """

    def __init__(
        self,
        name_or_path: str,
        max_tokens: int = 256,
        vocab_size: int | None = None,
        probe: str | None = None,
    ) -> None:
        self.name_or_path = str(name_or_path)
        self.tokenizer = self.load(self.name_or_path)
        self.max_tokens = max_tokens
        self._unread: set[str] = set()
        if vocab_size is not None:
            self.check_vocabulary(vocab_size)
        if probe is None and type(self).load is PromptTokenizer.load:
            probe = PROBE  # the words of a subclass may be any
        if probe is not None:
            check_probe(self.tokenizer, self.name_or_path, probe)

    @staticmethod
    def load(name_or_path: str) -> Any:
        """A fast tokenizer, see :func:`load_tokenizer`.

        Args:
            name_or_path: directory, hub name, or ``'fiber_mmdet:mini'``.

        Returns:
            The tokenizer, read once per process.

        Raises:
            PromptError: it cannot be read.
        """
        return load_tokenizer(name_or_path)

    @property
    def vocab_size(self) -> int:
        """Rows an embedding needs for every id this tokenizer can emit.

        The largest id plus one. It is not ``len(tokenizer)``: vocabulary files may leave gaps, and
        RoBERTa's ``<mask>`` comes after one.
        """
        return max(self.tokenizer.get_vocab().values()) + 1

    @property
    def pad_id(self) -> int:
        """The id of ``<pad>``."""
        return self.tokenizer.pad_token_id

    @property
    def start_id(self) -> Any:
        """The id of the token that begins every text: ``<s>``, or BERT's ``[CLS]``."""
        return start_id(self.tokenizer)

    @property
    def end_id(self) -> Any:
        """The id of the token that ends every text: ``</s>``, or BERT's ``[SEP]``."""
        return end_id(self.tokenizer)

    @property
    def mask_id(self) -> int:
        """The id of ``<mask>``, for masked language modelling."""
        return self.tokenizer.mask_token_id

    def length(self, caption: str) -> int:
        """Number of tokens of a caption, counted with those that begin and end it."""
        with _SHARED:
            return len(self.tokenizer(caption, truncation=False, verbose=False)['input_ids'])

    def check_vocabulary(self, vocab_size: int) -> None:
        """Check that every id has a row in the word embedding.

        Args:
            vocab_size: rows of the model's word embedding.

        Raises:
            PromptError: an id would miss it.
        """
        if self.vocab_size > vocab_size:
            raise PromptError(
                f'tokenizer {self.name_or_path!r} emits ids up to {self.vocab_size - 1}, but the '
                f'model embeds only {vocab_size} tokens: it is a tokenizer whose vocabulary is '
                "larger than the model's. Use the tokenizer the model was trained with, or "
                f'vocab_size={self.vocab_size}.'
            )

    def check_padding(self, pad_id: int) -> None:
        """Check that the tower takes this tokenizer's padding for padding.

        Args:
            pad_id: the tower's.

        Raises:
            PromptError: it is another id, so that the tower would read padding as words and give
                wrong positions to all tokens.
        """
        if self.pad_id != pad_id:
            raise PromptError(
                f'tokenizer {self.name_or_path!r} pads with id {self.pad_id}, but the text tower '
                f"takes id {pad_id} for padding: set the tower's pad_id={self.pad_id} "
                '(backbone.text), or use the tokenizer that the tower was trained with.'
            )

    def __call__(self, prompts: Sequence[Prompt | str], truncate: bool = False) -> TokenizedPrompts:
        """Tokenize a batch.

        Args:
            prompts: prompts, or bare captions.
            truncate: cut captions at ``max_tokens`` (training, as FIBER does) instead of refusing
                them. Words that are cut off have no token afterwards.

        Returns:
            The batch, on the CPU.

        Raises:
            PromptError: a bare string, an empty batch, something that is not text or damaged, or,
                unless ``truncate``, a caption of more than ``max_tokens`` tokens.
        """
        batch = [] if isinstance(prompts, (str, Prompt)) else list(prompts)
        captions = tuple(p.caption if isinstance(p, Prompt) else p for p in batch)
        if not captions or not all(isinstance(c, str) for c in captions):
            raise PromptError(
                'prompts must be a non-empty list with one prompt or caption '
                f'per image, got {prompts!r}.'
            )
        for caption in captions:
            refuse_half_characters(caption, 'caption')
        with _SHARED:
            encoded = self.tokenizer(
                list(captions),
                padding='longest',
                truncation=truncate,
                max_length=self.max_tokens if truncate else None,
                return_tensors='pt',
                verbose=False,
            )
        mask = encoded['attention_mask'].bool()
        for prompt, encoding, length in zip(batch, encoded.encodings, mask.sum(1).tolist()):
            if length > self.max_tokens:
                raise PromptError(too_long(prompt, encoding, length, self.max_tokens))
        self._warn_of_unknown(encoded['input_ids'], captions)
        encodings = [WordEncoding(e) if LONE_BLANK in e.tokens else e for e in encoded.encodings]
        return TokenizedPrompts(encoded['input_ids'], mask, encodings, captions)

    def _warn_of_unknown(self, ids: Tensor, captions: Sequence[str]) -> None:
        """Warn of words that have no token, at most once a caption and for ten captions."""
        unknown = self.tokenizer.unk_token_id
        if unknown is None or len(self._unread) >= 10:
            return
        for row in (ids == unknown).any(1).nonzero().flatten().tolist():
            if captions[row] not in self._unread:
                self._unread.add(captions[row])
                logger.warning(
                    'tokenizer %r does not know all words of %s and reads them as %s: the model '
                    'cannot tell them apart',
                    self.name_or_path,
                    shorten(captions[row]),
                    self.tokenizer.unk_token,
                )


def tokenizer_class(kind: str | type[PromptTokenizer]) -> type[PromptTokenizer]:
    """The class that a ``type`` in a config of a tokenizer means.

    Args:
        kind: the class itself, or its name in mmdet's ``TASK_UTILS``.

    Returns:
        The class.

    Raises:
        PromptError: no class is registered under that name.
    """
    if not isinstance(kind, str):
        return kind
    from mmdet.registry import TASK_UTILS  # what reads no such config does without mmdet

    found = TASK_UTILS.get(kind)
    if found is None:
        raise PromptError(
            f'tokenizer type {kind!r} is not registered in TASK_UTILS: name its module in '
            'custom_imports.'
        )
    return found


def build_tokenizer(
    cfg: Mapping[str, Any],
    default: type[PromptTokenizer],
    vocab_size: int | None = None,
    pad_id: int | None = None,
) -> PromptTokenizer:
    """The tokenizer of a model.

    Args:
        cfg: ``model.tokenizer``: ``name_or_path``, ``max_tokens``, and the class's other arguments;
            ``type`` for another class than the text tower's.
        default: the text tower's ``tokenizer_class``.
        vocab_size: rows of the model's word embedding; None for no check.
        pad_id: what the text tower takes for padding; None for no check.

    Returns:
        The tokenizer.

    Raises:
        PromptError: no usable tokenizer, one larger than the model's vocabulary, or with another
            padding.
    """
    arguments = dict(cfg)
    kind = tokenizer_class(arguments.pop('type', default))
    tokenizer = kind(vocab_size=vocab_size, **arguments)
    if pad_id is not None:
        tokenizer.check_padding(pad_id)
    return tokenizer


# the fast tokenizers are shared, and keep how the last call cut and padded
_SHARED = threading.Lock()
