"""Images and texts that belong together: single ones for all, lists in pairs."""

from collections.abc import Sequence
from typing import TypeVar, Union

T = TypeVar('T')
OneOrMore = Union[T, Sequence[T]]


def list_texts(texts: OneOrMore[str]) -> tuple[list[str], bool]:
    """A text or texts as a list, and whether a single one was meant.

    Raises:
        ValueError: no text, or something else.
    """
    single = isinstance(texts, str)
    found = [texts] if single else list(texts)
    if not found or not all(isinstance(text, str) and text.strip() for text in found):
        raise ValueError(f'a text is a string that is not empty, or a list of these, not {texts!r}')
    return found, single


def align(columns: dict[str, tuple[list, bool]]) -> tuple[dict[str, list], bool]:
    """Repeat single things to go with lists.

    Args:
        columns: name -> things, and whether a single one was meant.

    Returns:
        Name -> as many things as in the lists, and whether all were single.

    Raises:
        ValueError: lists of different lengths.
    """
    counts = {name: len(found) for name, (found, single) in columns.items() if not single}
    if len(set(counts.values())) > 1:
        raise ValueError(
            'lists go in pairs, but there are '
            f'{" and ".join(f"{n} of {name!r}" for name, n in counts.items())}: give '
            'lists of one length, or a single one for all'
        )
    count = next(iter(counts.values()), 1)
    return {
        name: found * count if single else found for name, (found, single) in columns.items()
    }, not counts
