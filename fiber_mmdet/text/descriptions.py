"""Categories asked for by what they look like: DesCo's description prompts (arXiv 2306.14060).

A description file is either a list of generated descriptions, as DesCo publishes it for LVIS and
Objects365::

    [{"object": "aerosol_can", "object_id": 1,
      "gpt3_output": "{\\"type\\": \\"container\\", \\"description\\": \\"cylindrical; …\\"}"}, …]

or an object that is easy to write::

    {"aerosol_can": ["container", ["cylindrical", "could have a nozzle"]], …}
"""

import json
import logging
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from fiber_mmdet.fields import (
    ID,
    NAME,
    TEXT,
    Kind,
    check_distinct,
    check_table,
    check_value,
    shown,
)
from fiber_mmdet.records import read_json

from .prompts import PromptError, category_prompt, chunk_names, clean_name
from .tokenizer import PromptTokenizer

logger = logging.getLogger(__name__)

START = 'Detect: '  # of every description prompt
END = '. '  # of every category; the blank at the end of a prompt is a token of its own
FORMS = (
    'a list of objects with "object" and "gpt3_output", or an object such as '
    '{"zebra": ["animal", ["black and white stripes", "four legs"]]}'
)


@dataclass(frozen=True)
class Description:
    """What a category is and looks like.

    Attributes:
        type: the kind of thing, "container".
        pieces: properties, "cylindrical".
        similar: names of things that it may be confused with.
    """

    type: str = 'object'
    pieces: tuple[str, ...] = ()
    similar: tuple[str, ...] = ()

    @property
    def kind(self) -> str:
        """The type as prompts say it."""
        return f'a kind of {self.type}'


class DescribedNames(dict):
    """A ``caption_prompt`` with descriptions: name -> ``dict(prefix=, name=, suffix=)``.

    It begins and ends a prompt with every ``size``-th name, so that the names have to be asked
    ``size`` at a time.

    Attributes:
        size: names per prompt.
    """

    def __init__(self, words: Mapping[str, dict[str, str]], size: int) -> None:
        super().__init__(words)
        self.size = size

    def __reduce__(self) -> tuple:
        return type(self), (dict(self), self.size)


def _is_plain(value: Any) -> bool:
    return (
        isinstance(value, (list, tuple))
        and len(value) in (2, 3)
        and NAME.fits(value[0])
        and all(isinstance(part, (list, tuple)) and all(map(NAME.fits, part)) for part in value[1:])
    )


PLAIN = Kind('[type, [pieces]], such as ["container", ["cylindrical", "with a nozzle"]]', _is_plain)
GENERATED = dict(object=NAME, object_id=ID | None, gpt3_output=TEXT)


def parse_generated(text: str) -> Description | None:
    """A description as a language model wrote it, in json.

    Args:
        text: an object with ``type``, ``description`` (pieces separated by "; ") and, possibly,
            ``similar objects``.

    Returns:
        The description; None if the text is anything else, as some are.
    """
    try:
        said = json.loads(text)
    except (ValueError, RecursionError):
        return None
    if not isinstance(said, dict):
        return None
    kind, pieces, similar = (said.get(key) for key in ('type', 'description', 'similar objects'))
    if not isinstance(kind, str) or not isinstance(pieces, str):
        return None
    if not NAME.fits(kind) or not TEXT.fits(pieces):
        return None
    similar = similar if isinstance(similar, list) else []
    return Description(
        kind,
        tuple(piece for piece in pieces.split('; ') if piece.strip()),
        tuple(name for name in similar if NAME.fits(name)),
    )


def read_descriptions(path: str, backend_args: dict | None = None) -> dict[str, Description]:
    """The descriptions of a file, in either form (see the module).

    Entries whose generated text cannot be parsed become objects without properties ("a kind of
    object"), as in DesCo; the log counts them.

    Args:
        path: local path or any address that mmengine can read.
        backend_args: of mmengine's file reading.

    Returns:
        Name, as the file spells it -> description.

    Raises:
        FileNotFoundError: the file does not exist.
        ValueError: it is not json or has neither form, or an entry is malformed or occurs twice;
            the message names it.
    """
    content = read_json(path, (dict, list), FORMS, backend_args)
    if isinstance(content, dict):
        found = plain_descriptions(content, path)
    else:
        check_table(content, GENERATED, 'entry', path, None, f'the file must be {FORMS}')
        names = [entry['object'] for entry in content]
        check_distinct(names, 'entries', 'object', path, 'keep one of them')
        parsed = {
            name: parse_generated(entry['gpt3_output']) for name, entry in zip(names, content)
        }
        failed = [name for name, one in parsed.items() if one is None]
        if failed:
            logger.warning(
                '%s: the "gpt3_output" of %d of %d entries is no object with "type" and '
                '"description" (%s): these are read as objects without properties',
                path,
                len(failed),
                len(names),
                _some(failed),
            )
        found = {name: one or Description() for name, one in parsed.items()}
    if not found:
        raise ValueError(f'{path} has no descriptions: it must be {FORMS}')
    return found


def plain_descriptions(
    content: Mapping[str, Any], source: str = 'descriptions'
) -> dict[str, Description]:
    """Descriptions from the form that is easy to write.

    Args:
        content: name -> ``[type, [pieces]]``, or a description.
        source: what errors call it.

    Raises:
        ValueError: an entry is malformed; the message names it.
    """
    if not isinstance(content, Mapping):
        raise ValueError(f'{source}: {shown(content)} must be the path of a file, or {FORMS}')
    found = {}
    for name, value in content.items():
        check_value(name, NAME, source, 'as a name')
        if not isinstance(value, Description):
            check_value(value, PLAIN, f'{source}: {name!r}', 'description')
            kind, *lists = value
            value = Description(kind, *map(tuple, lists))
        found[name] = value
    return found


def match_names(
    names: Iterable[str], descriptions: Mapping[str, Description]
) -> dict[str, Description]:
    """The descriptions of categories.

    A name that the descriptions lack is looked up regardless of case, "_" and repeated blanks
    ("Traffic Light" for "traffic_light"), unless several would fit. Brackets count:
    "bat_(animal)" does not describe "bat_(stick)".

    Args:
        names: category names.
        descriptions: name -> description.

    Returns:
        Name, as given -> description; without the names that have none.
    """
    alike: dict[str, list[str]] = {}
    for known in descriptions:
        alike.setdefault(_loosely(known), []).append(known)
    found = {}
    for name in names:
        fitting = [name] if name in descriptions else alike.get(_loosely(name), [])
        if len(fitting) == 1:
            found[name] = descriptions[fitting[0]]
    return found


def need_descriptions(
    names: Sequence[str], descriptions: Mapping[str, Description], source: str
) -> dict[str, Description]:
    """The descriptions of categories; the log names those that have none.

    Args:
        names: category names.
        descriptions: name -> description.
        source: what messages call them.

    Returns:
        See :func:`match_names`.

    Raises:
        PromptError: none of the names has a description.
    """
    found = match_names(names, descriptions)
    lacking = [name for name in names if name not in found]
    if not found:
        raise PromptError(
            f'{source} describes none of the {len(names)} names ({_some(names)}), but '
            f'{_some(list(descriptions))}: is it the right file?'
        )
    if lacking:
        logger.warning(
            '%s has no description of %d of %d names (%s): these are asked for by name alone',
            source,
            len(lacking),
            len(names),
            _some(lacking),
        )
    return found


def readable_name(name: str) -> str:
    """A category name as description prompts write it: cleaned; ``object:part`` turned round.

    "dog:ear_(left)" is "ear of dog". Nothing is stripped, see
    :func:`~fiber_mmdet.text.clean_name`.
    """
    if name.count(':') == 1:
        whole, part = map(clean_name, name.split(':'))
        if whole.strip() and part.strip():
            return f'{part} of {whole}'
    return clean_name(name)


def describe(
    names: Sequence[str],
    file: str | Mapping[str, Any],
    size: int = 8,
    tokenizer: PromptTokenizer | None = None,
    backend_args: dict | None = None,
) -> DescribedNames:
    """The wording of categories in description prompts, for ``caption_prompt``.

    With it, ``names`` asked ``size`` at a time (``chunked_size``) read ::

        Detect: N, a kind of TYPE, PIECE, …, PIECE. N, a kind of TYPE, PIECE, …. ␣

    where N is the name as :func:`readable_name`. The span of a category, over which its score is
    averaged, is its name and type, up to the comma. This is the rule of DesCo in testing (its
    ``description.gpt.v10.infer.v1``); labels keep the names as given.

    A name without a description is asked as it is, and the log says so.

    Args:
        names: category names in label order.
        file: address of a description file, or its content: what :func:`read_descriptions` returns,
            or name -> ``[type, [pieces]]``.
        size: names per prompt, 8 in DesCo; zero or less: all in one. The last prompt may have
            fewer.
        tokenizer: of the model. With it, prompts that are too long are shortened by what lies
            beyond, as the reference does: from the end of the last category's description. (Of
            LVIS' 151 prompts, one has 258 tokens instead of 256.) Without, the model refuses them.
        backend_args: of mmengine's file reading.

    Returns:
        Name -> ``dict(prefix=, name=, suffix=)``.

    Raises:
        FileNotFoundError, ValueError: see :func:`read_descriptions`.
        PromptError: unusable names, no name with a description, a name that leaves no text, or a
            prompt so long that a name or type would be cut.
    """
    if isinstance(file, str):
        source, descriptions = file, read_descriptions(file, backend_args)
    else:
        source, descriptions = 'descriptions', plain_descriptions(file)
    chunks = [chunk for _, chunk in chunk_names(names, size)]
    found = need_descriptions([name for chunk in chunks for name in chunk], descriptions, source)
    words: dict[str, dict[str, str]] = {}
    for chunk in chunks:
        words |= {name: word_category(name, found.get(name)) for name in chunk}
        words[chunk[0]]['prefix'] = START
        words[chunk[-1]]['suffix'] += END
        if tokenizer is not None:
            _shorten(chunk, words, tokenizer)
    return DescribedNames(words, size)


def word_category(name: str, description: Description | None, named: bool = True) -> dict[str, str]:
    """The words of a category in a description prompt, up to its full stop.

    Args:
        name: of the category.
        description: of it; None: it is asked by its name alone.
        named: whether the name is said before the type; some training prompts leave it out.

    Returns:
        An entry of ``caption_prompt``; ``name``, the span, ends with the comma after the type.

    Raises:
        PromptError: the name leaves no text.
    """
    readable = readable_name(name)
    if not readable.strip():
        raise PromptError(f'category name {name!r} leaves no text for a prompt: rename it')
    if description is None:
        return dict(prefix='', name=readable, suffix='')
    said = f'{readable}, {description.kind}' if named else description.kind
    if not description.pieces:
        return dict(prefix='', name=said, suffix='')
    return dict(prefix='', name=f'{said},', suffix=f' {", ".join(description.pieces)}')


def _shorten(
    chunk: Sequence[str], words: dict[str, dict[str, str]], tokenizer: PromptTokenizer
) -> None:
    """Cut the end of a prompt at the tokens that the model reads, in place."""
    while True:
        prompt = category_prompt(chunk, words)
        caption, (begin, end) = prompt.caption, prompt.spans[-1][0]
        needed = begin + len(caption[begin:end].rstrip())
        suffix = words[chunk[-1]]['suffix']
        length = len(tokenizer.tokenizer(caption, verbose=False)['input_ids'])
        if length <= tokenizer.max_tokens:
            return
        encoding = tokenizer([caption], truncate=True).encodings[0]
        kept = max(end for _, end in encoding.offsets)
        if kept < needed or not suffix:
            raise PromptError(
                f'the description prompt of {_some(chunk)} has {length} tokens, '
                f'but the model reads {tokenizer.max_tokens}, which end within the name or type '
                f'of {chunk[-1]!r}: ask for fewer names at a time (chunked_size), or shorten the '
                'descriptions'
            )
        # at least one character, should the last of them have no token
        words[chunk[-1]]['suffix'] = suffix[: len(suffix) - max(1, len(caption) - kept)]


def _loosely(name: str) -> str:
    return ' '.join(name.replace('_', ' ').casefold().split())


def _some(names: Sequence[str]) -> str:
    return ', '.join(map(repr, names[:3])) + (', …' if len(names) > 3 else '')
