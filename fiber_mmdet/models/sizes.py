"""Sizes that have to fit each other, compared before a model is built.

Each rule is a sentence that names both options by their path in ``model``. A model with several
misfits is refused once, with all of them.
"""

import inspect
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, TypeGuard

from mmdet.registry import MODELS


class SizeError(ValueError):
    """Options of a model that do not fit each other; the message names them."""


def refuse_misfits(owner: str, problems: Iterator[str] | Sequence[str]) -> None:
    """Raise if there are problems.

    Args:
        owner: name of the model's class.
        problems: a sentence each.

    Raises:
        SizeError: with all of them.
    """
    found = list(problems)
    if len(found) == 1:
        raise SizeError(f'{owner}: {found[0]}')
    if found:
        raise SizeError(
            f'{owner}: {len(found)} options do not fit\n' + '\n'.join(f'- {p}' for p in found)
        )


class Options:
    """Arguments of a part of a model, completed with the defaults of its class.

    Args:
        cfg: config of the part.
        path: its place in ``model``, with a dot at its end, '' for the part itself.
        cls: its class.
    """

    def __init__(self, cfg: Mapping | None, path: str, cls: type) -> None:
        self.path = path
        parameters = inspect.signature(cls).parameters.values()
        defaults = {p.name: p.default for p in parameters if p.default is not p.empty}
        self.values: dict[str, Any] = {**defaults, **(cfg or {})}

    def __getattr__(self, name: str) -> Any:
        try:
            return self.values[name]
        except KeyError:
            raise AttributeError(name) from None

    def named(self, name: str, index: int | None = None) -> str:
        """``path.name=value``, or ``path.name[index]=value``."""
        value = self.values[name]
        if index is not None:
            return f'{self.path}{name}[{index}]={value[index]}'
        return f'{self.path}{name}={list(value) if isinstance(value, (list, tuple)) else value}'


def class_of(cfg: Mapping | None, default: type | None = None) -> Any:
    """The class that a config builds, None if it is not registered (which building will say)."""
    kind = (cfg or {}).get('type', default)
    return MODELS.get(kind) if isinstance(kind, str) else kind


def is_kind(kind: Any, of: type) -> TypeGuard[type]:
    """Whether a registered object is a class of a kind; a function is none."""
    return isinstance(kind, type) and issubclass(kind, of)


def is_whole(*values: Any) -> bool:
    """Whether all are whole numbers of at least 1; other values are left to the classes."""
    return all(isinstance(v, int) and not isinstance(v, bool) and v > 0 for v in values)


def positive(options: Options, *names: str) -> Iterator[str]:
    """Options that must be whole numbers of at least 1."""
    for name in names:
        if not is_whole(options.values[name]):
            yield f'{options.named(name)} must be a whole number of at least 1'


def divisible(size: Any, heads: Any, size_said: str, heads_said: str) -> Iterator[str]:
    """Channels that must be divisible among heads."""
    if is_whole(size, heads) and size % heads:
        yield f'{size_said} is not divisible by {heads_said}'
