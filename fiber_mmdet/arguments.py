"""Clear errors for misspelt configuration arguments."""

import difflib
import functools
import inspect
from collections.abc import Iterable, Sequence


def refuse_unknown(owner: str, given: Iterable[str], known: Sequence[str]) -> None:
    """Raise ``TypeError`` for the first of ``given`` that is not ``known`` to ``owner``."""
    for name in given:
        if name not in known:
            close = difflib.get_close_matches(name, known, n=1)
            hint = f' Did you mean {close[0]!r}?' if close else ''
            raise TypeError(
                f'{owner} has no argument {name!r}.{hint} Known arguments: {", ".join(known)}.'
            )


def strict_arguments(cls):
    """Class decorator: refuse unknown keyword arguments with a helpful message.

    A typo in a config otherwise surfaces as a bare ``TypeError`` without the
    name that was meant.

    Raises:
        TypeError: on construction, naming the unknown argument, the closest
            known one and the full list.
    """
    init = cls.__init__
    known = [
        p.name
        for p in inspect.signature(init).parameters.values()
        if p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY)
    ][1:]

    @functools.wraps(init)
    def checked(self, *args, **kwargs):
        refuse_unknown(cls.__name__, kwargs, known)
        init(self, *args, **kwargs)

    cls.__init__ = checked
    return cls
