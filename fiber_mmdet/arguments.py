"""Clear errors for misspelt configuration arguments."""

import difflib
import functools
import inspect
from collections.abc import Callable, Iterable, Sequence
from typing import Any, TypeVar

Class = TypeVar('Class', bound=type)


def refuse_unknown(owner: str, given: Iterable[str], known: Sequence[str]) -> None:
    """Refuse the first of ``given`` that is not ``known`` to ``owner``.

    Raises:
        TypeError: naming it, the closest known name and all known ones.
    """
    for name in given:
        if name not in known:
            close = difflib.get_close_matches(name, known, n=1)
            hint = f' Did you mean {close[0]!r}?' if close else ''
            raise TypeError(
                f'{owner} has no argument {name!r}.{hint} Known arguments: {", ".join(known)}.'
            )


def strict_arguments(cls: Class) -> Class:
    """Class decorator: unknown keyword arguments are refused, see :func:`refuse_unknown`.

    Without it, a typo in a config surfaces as a bare ``TypeError`` that does not say what was
    meant.
    """
    init: Callable[..., None] = cls.__init__  # type: ignore[misc]
    known = [
        p.name
        for p in inspect.signature(init).parameters.values()
        if p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY)
    ][1:]

    @functools.wraps(init)
    def checked(self: Any, *args: Any, **kwargs: Any) -> None:
        refuse_unknown(cls.__name__, kwargs, known)
        init(self, *args, **kwargs)

    cls.__init__ = checked  # type: ignore[misc]
    return cls


def former_arguments(**constants: Any) -> Callable[[Class], Class]:
    """Class decorator: arguments that became constants are accepted if they have that value.

    So configs that name them still load.

    Args:
        **constants: the former arguments and the values that are now fixed.

    Raises:
        TypeError: on construction, naming an argument with another value.
    """

    def decorate(cls: Class) -> Class:
        init: Callable[..., None] = cls.__init__  # type: ignore[misc]

        @functools.wraps(init)
        def checked(self: Any, *args: Any, **kwargs: Any) -> None:
            for name in constants.keys() & kwargs.keys():
                value = kwargs.pop(name)
                if (tuple(value) if isinstance(value, list) else value) != constants[name]:
                    raise TypeError(
                        f'{cls.__name__}.{name} is no longer an argument: it is always '
                        f'{constants[name]!r}, not {value!r}'
                    )
            init(self, *args, **kwargs)

        cls.__init__ = checked  # type: ignore[misc]
        return cls

    return decorate
