"""Tokenizers from their files: found, read by their kind, and checked."""

import json
import socket
import unicodedata
from functools import cache
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit
from urllib.request import getproxies, proxy_bypass

from .prompts import PromptError

ASSETS = Path(__file__).resolve().parents[1] / 'assets'
OWN_PREFIX = 'fiber_mmdet:'
ROBERTA_LAYOUT = {'<s>': 0, '<pad>': 1, '</s>': 2, '<unk>': 3}
PROBE = 'a photo'
# all that a hub may hold of a tokenizer; transformers converts the last
FILES = (
    'tokenizer.json',
    'tokenizer_config.json',
    'special_tokens_map.json',
    'added_tokens.json',
    'config.json',
    'vocab.json',
    'merges.txt',
    'vocab.txt',
    '*.model',
)


@cache
def load_tokenizer(name_or_path: str) -> Any:
    """A fast tokenizer, read once per process.

    Byte-level BPE with RoBERTa's layout is read as RoBERTa's; any other kind (BERT's WordPiece,
    XLM-R's Unigram) by the class that its files name.

    Args:
        name_or_path: a directory with ``vocab.json`` and ``merges.txt``, ``tokenizer.json`` or
            ``vocab.txt``; ``'fiber_mmdet:mini'``, the small tokenizer inside this package; or a
            hub name such as ``'roberta-base'``.

    Returns:
        A fast tokenizer of ``transformers``, shared between callers.

    Raises:
        PromptError: unknown name, missing files, unreachable hub, or a kind that is not understood.
    """
    source = _find(str(name_or_path))
    folder = Path(source) if Path(source).is_dir() else _from_hub(source)
    try:
        reader, kind = _reader(folder)
        # code beside the files would otherwise be asked for, at the terminal
        tokenizer = reader.from_pretrained(
            str(folder), local_files_only=True, trust_remote_code=False
        )
        _check_kind(tokenizer, source, kind)
        if type(tokenizer).__name__.startswith('Roberta'):
            _check_layout(tokenizer, source)
        else:
            _check_roles(tokenizer, source)
    except PromptError:
        raise
    except Exception as error:
        raise PromptError(f'the tokenizer files in {source!r} cannot be read: {error}') from error
    # a token's place in the batch is its place in the text
    tokenizer.padding_side = tokenizer.truncation_side = 'right'
    return tokenizer


def _from_hub(name: str) -> Path:
    """The folder in the hub's cache with the files of a name, fetched if the hub answers."""
    from huggingface_hub import snapshot_download

    try:
        folder = snapshot_download(
            name, allow_patterns=list(FILES), local_files_only=not hub_answers()
        )
        check_folder(Path(folder), name)
    except Exception as error:
        raise _not_found(name) from error
    return Path(folder)


def hub_answers() -> bool:
    """Whether the Hugging Face hub can be reached, found out within five seconds.

    Its own library would retry every file for minutes.
    """
    from huggingface_hub import constants

    if constants.HF_HUB_OFFLINE:
        return False
    hub = urlsplit(constants.ENDPOINT)
    host, port = hub.hostname or '', hub.port or 443
    if getproxies().keys() - {'no'} and not proxy_bypass(host):
        return True  # whether the proxy can reach it is the proxy's affair
    try:
        socket.create_connection((host, port), timeout=5).close()
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
        check_folder(path, name)
        return str(path)
    # a hub name is "name" or "owner/name"
    if name.startswith(('/', '.', '~')) or name.count('/') > 1:
        raise PromptError(
            f'tokenizer directory {name!r} does not exist: give a directory '
            'with vocab.json and merges.txt of roberta-base. The hub is not '
            'asked for paths.'
        )
    return name


def check_folder(folder: Path, name: str) -> None:
    """Refuse a folder without the words of a tokenizer.

    Args:
        folder: the folder.
        name: as the user gave it.

    Raises:
        PromptError: none of the files that hold them is there.
    """
    files = {file.name for file in folder.iterdir()}
    if not (
        {'vocab.json', 'merges.txt'} <= files
        or files & {'tokenizer.json', 'vocab.txt'}
        or any(file.endswith('.model') for file in files)
    ):
        raise PromptError(
            f'tokenizer directory {name!r} lacks vocab.json and merges.txt (or tokenizer.json, or '
            'vocab.txt): copy them there from the model whose weights the text tower starts from, '
            'such as roberta-base.'
        )


def _not_found(name: str) -> PromptError:
    return PromptError(
        f'tokenizer {name!r} is neither a directory here nor reachable on '
        'the Hugging Face hub (offline?): give the path of a directory with '
        f'vocab.json and merges.txt of roberta-base, or "{OWN_PREFIX}mini".'
    )


def _reader(folder: Path) -> tuple[Any, str | None]:
    """The class of transformers that reads a folder, and the kind of tokenizer.json if it is there.

    AutoTokenizer asks the configs for the class, and returns one that knows no special tokens if
    they are missing; RoBERTa's, the default here, would read any vocabulary as its own.
    """
    import transformers
    from tokenizers import Tokenizer, pre_tokenizers

    settings, config = (_json(folder / f'{n}.json') for n in ('tokenizer_config', 'config'))
    named = settings.get('tokenizer_class') or config.get('tokenizer_class') or ''
    kind = None
    if (folder / 'tokenizer.json').is_file():
        written = Tokenizer.from_file(str(folder / 'tokenizer.json'))
        kind = type(written.model).__name__
        of_bytes = kind == 'BPE' and isinstance(
            written.pre_tokenizer, (type(None), pre_tokenizers.ByteLevel)
        )
    else:
        of_bytes = (folder / 'vocab.json').is_file() and not (folder / 'vocab.txt').is_file()
    # the Fast names are those with char_to_token on transformers 4 and 5
    if of_bytes and named.removesuffix('Fast') in ('', 'RobertaTokenizer'):
        reader = 'RobertaTokenizerFast'
    elif named or config.get('model_type'):
        reader = 'AutoTokenizer'
    elif kind == 'WordPiece' or (kind is None and (folder / 'vocab.txt').is_file()):
        reader = 'BertTokenizerFast'
    else:
        reader = 'XLMRobertaTokenizerFast' if kind == 'Unigram' else 'AutoTokenizer'
    return getattr(transformers, reader), kind


def _json(file: Path) -> dict:
    """The settings in a file; none if there is no such file."""
    if not file.is_file():
        return {}
    found = json.loads(file.read_text(encoding='utf-8'))
    if not isinstance(found, dict):
        raise PromptError(f'{file}: not a table of settings: copy it from the model again.')
    return found


def _check_kind(tokenizer: Any, source: str, kind: str | None) -> None:
    """Refuse a class that reads the files as something else than they are."""
    if not getattr(tokenizer, 'is_fast', False):
        raise PromptError(
            f'tokenizer {source!r} ({type(tokenizer).__name__}) has no fast version, which tells '
            'the characters of each token: use one with a tokenizer.json.'
        )
    read = type(tokenizer.backend_tokenizer.model).__name__
    if kind is not None and read != kind:
        raise PromptError(
            f'tokenizer {source!r}: tokenizer.json is {kind}, but {type(tokenizer).__name__}, '
            f'which tokenizer_config.json or config.json names, would read it as {read}: files of '
            'different tokenizers are mixed; copy all of them from one model.'
        )


def _check_layout(tokenizer: Any, source: str) -> None:
    """Refuse wrong vocabularies, which transformers loads silently."""
    ids = {token: tokenizer.convert_tokens_to_ids(token) for token in ROBERTA_LAYOUT}
    if ids != ROBERTA_LAYOUT or tokenizer.mask_token != '<mask>':
        raise PromptError(
            f'tokenizer {source!r} is not laid out like RoBERTa: its special '
            f'tokens are {ids}, expected {ROBERTA_LAYOUT} and <mask>.'
        )
    probe = tokenizer(PROBE)['input_ids']
    if (probe[0], probe[-1]) != (0, 2) or len(probe) < 4 or 3 in probe:
        raise PromptError(
            f'tokenizer {source!r} writes "a photo" as {probe}, not as '
            '<s> … </s> around known words: its vocabulary is empty or its '
            'files do not belong together.'
        )


def _check_roles(tokenizer: Any, source: str) -> None:
    """Refuse a tokenizer whose special tokens are not known, or not where the tower needs them."""
    roles = {role: getattr(tokenizer, f'{role}_token_id') for role in ('pad', 'unk', 'mask')}
    roles['cls'], roles['sep'] = start_id(tokenizer), end_id(tokenizer)
    lacking = [role for role, number in roles.items() if number is None]
    kind = type(tokenizer.backend_tokenizer.model).__name__
    if lacking:
        raise PromptError(
            f'tokenizer {source!r} ({kind}, read by {type(tokenizer).__name__}) does not say which '
            f'token is its {", ".join(lacking)}: copy tokenizer_config.json and config.json of the '
            'same model beside it. Only tokenizers that begin each text with a cls token and end '
            'it with a sep token can be used, like those of RoBERTa, XLM-R and BERT.'
        )
    ids = tokenizer(PROBE)['input_ids']
    if len(set(roles.values())) < len(roles) or (ids[0], ids[-1]) != (roles['cls'], roles['sep']):
        raise PromptError(
            f'tokenizer {source!r} ({kind}) has the special tokens {roles} and writes "a photo" as '
            f'{ids}: the text tower needs five different ones, with cls first and sep last.'
        )


def start_id(tokenizer: Any) -> int | None:
    """The id of the token that begins every text: cls, or bos where no cls is named."""
    first = tokenizer.cls_token_id
    return tokenizer.bos_token_id if first is None else first


def end_id(tokenizer: Any) -> int | None:
    """The id of the token that ends every text: sep, or eos where no sep is named."""
    last = tokenizer.sep_token_id
    return tokenizer.eos_token_id if last is None else last


def check_probe(tokenizer: Any, name: str, probe: str) -> None:
    """Refuse a tokenizer that loses letters of a text.

    Case, accents, blanks and forms of the same letter (Unicode's NFKD) may differ.

    Args:
        tokenizer: of transformers.
        name: of it, as the user gave it.
        probe: the text.

    Raises:
        PromptError: the text is blank, or does not come back from its tokens.
    """
    if not _letters(probe):
        raise PromptError(f'probe {probe!r} has no letters: give a text in your language.')
    ids = tokenizer(probe)['input_ids']
    back = tokenizer.decode(ids, skip_special_tokens=True, clean_up_tokenization_spaces=False)
    if _letters(probe) not in _letters(back):
        lost = ''.join(sorted(set(_letters(probe)) - set(_letters(back))))
        raise PromptError(
            f'tokenizer {name!r} reads {probe!r} back as {back!r}'
            + (f': it loses {lost!r}' if lost else '')
            + ". It does not know this language, or its files do not belong together. The tower's "
            'tokenizer must know the language of your captions; '
            "model.tokenizer.probe='…' sets another text for this check."
        )


def _letters(text: str) -> str:
    """A text without case, accents and blanks."""
    folded = unicodedata.normalize('NFKD', text.casefold())
    return ''.join(c for c in folded if not (c.isspace() or unicodedata.combining(c)))
