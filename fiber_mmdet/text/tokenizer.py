"""RoBERTa's tokenizer: how it is found, checked and applied to prompts."""

import socket
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit
from urllib.request import getproxies

import torch
from torch import Tensor

from .prompts import Prompt, PromptError, refuse_half_characters

ASSETS = Path(__file__).resolve().parents[1] / 'assets'
OWN_PREFIX = 'fiber_mmdet:'
# The text tower counts positions from <pad> on and starts every text at <s>.
ROBERTA_LAYOUT = {'<s>': 0, '<pad>': 1, '</s>': 2, '<unk>': 3}


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
        name_or_path: what :meth:`load` reads.
        max_tokens: most tokens a caption may have, special tokens included; 256 in FIBER.
        vocab_size: rows of the model's word embedding, to be checked against the tokenizer at once;
            None to leave that out.

    Attributes:
        tokenizer: the fast tokenizer of transformers, shared between callers.

    Raises:
        PromptError: no usable tokenizer, or one larger than the model's vocabulary.
    """

    def __init__(
        self, name_or_path: str, max_tokens: int = 256, vocab_size: int | None = None
    ) -> None:
        self.name_or_path = str(name_or_path)
        self.tokenizer = self.load(self.name_or_path)
        self.max_tokens = max_tokens
        if vocab_size is not None:
            self.check_vocabulary(vocab_size)

    @staticmethod
    def load(name_or_path: str) -> Any:
        """RoBERTa's fast tokenizer, see :func:`load_tokenizer`.

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
    def mask_id(self) -> int:
        """The id of ``<mask>``, for masked language modelling."""
        return self.tokenizer.mask_token_id

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
                raise PromptError(_too_long(prompt, encoding, length, self.max_tokens))
        return TokenizedPrompts(encoded['input_ids'], mask, list(encoded.encodings), captions)


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
    cfg: Mapping[str, Any], default: type[PromptTokenizer], vocab_size: int | None = None
) -> PromptTokenizer:
    """The tokenizer of a model.

    Args:
        cfg: ``model.tokenizer``: ``name_or_path``, ``max_tokens``, and the class's other arguments;
            ``type`` for another class than the text tower's.
        default: the text tower's ``tokenizer_class``.
        vocab_size: rows of the model's word embedding; None for no check.

    Returns:
        The tokenizer.

    Raises:
        PromptError: no usable tokenizer, or one larger than the model's vocabulary.
    """
    arguments = dict(cfg)
    kind = tokenizer_class(arguments.pop('type', default))
    return kind(vocab_size=vocab_size, **arguments)


# the fast tokenizers are shared, and keep how the last call cut and padded
_SHARED = threading.Lock()


@cache
def load_tokenizer(name_or_path: str) -> Any:
    """A RoBERTa tokenizer, read once per process.

    Args:
        name_or_path: a directory with ``vocab.json`` and ``merges.txt`` (or ``tokenizer.json``);
            ``'fiber_mmdet:mini'``, the small tokenizer inside this package; or a hub name such as
            ``'roberta-base'``.

    Returns:
        A ``transformers.RobertaTokenizerFast``, shared between callers.

    Raises:
        PromptError: unknown name, missing files, unreachable hub, or files that are not a RoBERTa
            tokenizer.
    """
    # The Fast name is the one with char_to_token on transformers 4 and 5;
    # AutoTokenizer cannot read a directory without a config.
    from transformers import RobertaTokenizerFast

    source = _find(str(name_or_path))
    online = not Path(source).is_dir() and hub_answers()
    try:
        tokenizer = RobertaTokenizerFast.from_pretrained(source, local_files_only=not online)
    except Exception as error:
        if Path(source).is_dir():
            raise PromptError(
                f'the tokenizer files in {source!r} cannot be read: {error}'
            ) from error
        raise _not_found(source) from error
    # transformers 5 answers an unreachable hub with an empty vocabulary
    if len(tokenizer) < 256 and not Path(source).is_dir():
        raise _not_found(source)
    _check_layout(tokenizer, source)
    return tokenizer


def hub_answers() -> bool:
    """Whether the Hugging Face hub can be reached, found out within five seconds.

    Its own library would retry every file for minutes.
    """
    from huggingface_hub import constants

    if constants.HF_HUB_OFFLINE:
        return False
    if getproxies():
        return True  # whether the proxy can reach it is the proxy's affair
    hub = urlsplit(constants.ENDPOINT)
    try:
        socket.create_connection((hub.hostname or '', hub.port or 443), timeout=5).close()
    except OSError:
        return False
    return True


def _find(name: str) -> str:
    """The directory meant by ``name``, or ``name`` itself for the hub."""
    if not name.strip():
        raise PromptError(
            f'tokenizer {name!r} has no name: give a directory, or "{OWN_PREFIX}mini".'
        )
    if name.startswith(OWN_PREFIX):
        folder = ASSETS / f'tokenizer_{name[len(OWN_PREFIX) :]}'
        if not folder.is_dir():
            known = ', '.join(
                OWN_PREFIX + path.name[len('tokenizer_') :]
                for path in sorted(ASSETS.glob('tokenizer_*'))
            )
            raise PromptError(f'tokenizer {name!r} is not part of fiber_mmdet: use one of {known}.')
        return str(folder)
    path = Path(name).expanduser()
    if path.is_dir():
        files = {file.name for file in path.iterdir()}
        if not ({'vocab.json', 'merges.txt'} <= files or 'tokenizer.json' in files):
            raise PromptError(
                f'tokenizer directory {name!r} lacks vocab.json and '
                'merges.txt (or tokenizer.json): copy them there from '
                'roberta-base.'
            )
        return str(path)
    # a hub name is "name" or "owner/name"
    if name.startswith(('/', '.', '~')) or name.count('/') > 1:
        raise PromptError(
            f'tokenizer directory {name!r} does not exist: give a directory '
            'with vocab.json and merges.txt of roberta-base. The hub is not '
            'asked for paths.'
        )
    return name


def _not_found(name: str) -> PromptError:
    return PromptError(
        f'tokenizer {name!r} is neither a directory here nor reachable on '
        'the Hugging Face hub (offline?): give the path of a directory with '
        f'vocab.json and merges.txt of roberta-base, or "{OWN_PREFIX}mini".'
    )


def _check_layout(tokenizer, source: str) -> None:
    """Refuse wrong vocabularies, which transformers loads silently."""
    ids = {token: tokenizer.convert_tokens_to_ids(token) for token in ROBERTA_LAYOUT}
    if ids != ROBERTA_LAYOUT or tokenizer.mask_token != '<mask>':
        raise PromptError(
            f'tokenizer {source!r} is not laid out like RoBERTa: its special '
            f'tokens are {ids}, expected {ROBERTA_LAYOUT} and <mask>.'
        )
    probe = tokenizer('a photo')['input_ids']
    if (probe[0], probe[-1]) != (0, 2) or len(probe) < 4 or 3 in probe:
        raise PromptError(
            f'tokenizer {source!r} writes "a photo" as {probe}, not as '
            '<s> … </s> around known words: its vocabulary is empty or its '
            'files do not belong together.'
        )


def _shorten(text: str, length: int = 60) -> str:
    return repr(text if len(text) <= length else text[: length - 1] + '…')


def _too_long(prompt: Prompt | str, encoding: Any, length: int, limit: int) -> str:
    """What to do about a prompt of too many tokens.

    Args:
        prompt: prompt or caption.
        encoding: of its caption.
        length: number of its tokens.
        limit: the most that the model reads.
    """
    caption = prompt if isinstance(prompt, str) else prompt.caption
    said = f'caption {_shorten(caption)} has {length} tokens but the model reads {limit}'
    if isinstance(prompt, str):
        return f'{said}: shorten it.'
    special = encoding.special_tokens_mask
    words = [span for span, ignored in zip(encoding.offsets, special) if not ignored]
    for phrase, spans in zip(prompt.phrases, prompt.spans):
        begin, end = spans[0][0], spans[-1][1]
        own = sum(first < end and last > begin for first, last in words)
        if own + 2 > limit:
            return (
                f'{_shorten(phrase)} alone takes {own + 2} tokens but the model reads {limit}: '
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
