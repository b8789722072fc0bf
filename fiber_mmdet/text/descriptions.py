"""Categories asked for by what they look like: DesCo's description prompts (arXiv 2306.14060)."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from .description_files import (
    Description,
    need_descriptions,
    plain_descriptions,
    read_descriptions,
    some_names,
)
from .prompts import PromptError, category_prompt, chunk_names, clean_name

if TYPE_CHECKING:
    from .tokenizer import PromptTokenizer

START = 'Detect: '  # of every description prompt
END = '. '  # of every category; the blank at the end of a prompt is a token of its own


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
    tokenizer: 'PromptTokenizer | None' = None,
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
    chunk: Sequence[str], words: dict[str, dict[str, str]], tokenizer: 'PromptTokenizer'
) -> None:
    """Cut the end of a prompt at the tokens that the model reads, in place."""
    while True:
        prompt = category_prompt(chunk, words)
        caption, (begin, end) = prompt.caption, prompt.spans[-1][0]
        needed = begin + len(caption[begin:end].rstrip())
        suffix = words[chunk[-1]]['suffix']
        length = tokenizer.length(caption)
        if length <= tokenizer.max_tokens:
            return
        encoding = tokenizer([caption], truncate=True).encodings[0]
        kept = max(end for _, end in encoding.offsets)
        if kept < needed or not suffix:
            raise PromptError(
                f'the description prompt of {some_names(chunk)} has {length} tokens, '
                f'but the model reads {tokenizer.max_tokens}, which end within the name or type '
                f'of {chunk[-1]!r}: ask for fewer names at a time (chunked_size), or shorten the '
                'descriptions'
            )
        # at least one character, should the last of them have no token
        words[chunk[-1]]['suffix'] = suffix[: len(suffix) - max(1, len(caption) - kept)]
