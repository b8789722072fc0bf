"""What users give for weights: a path, a known name, a place on the hub, or an URL."""

import re
from pathlib import Path

from fiber_mmdet.checkpoints.downloads import local_file

from .catalogue import (
    CONFIG_SCHEME,
    NAME_SCHEME,
    KnownWeights,
    UnknownWeights,
    find_known,
    known_weights,
    suggestions,
)
from .fetch import FetchError, Say, fetch, hub_place, say_aside, verify
from .store import cache_folder, get_weights

HUB_SCHEME = 'hf://'
_SCHEME = re.compile(r'(fiber|hf|https?)://')


def is_address(weights: str | Path) -> bool:
    """Whether something stands for a file that may have to be fetched first."""
    return isinstance(weights, str) and _SCHEME.match(weights) is not None


def local_weights(weights: str | Path, say: Say = say_aside) -> Path:
    """The file that is meant, fetched if it has to be.

    Args:
        weights: a path; ``fiber://NAME`` for known weights, converted;
            ``hf://OWNER/REPOSITORY/FILE`` for a file of the Hugging Face hub, as it is; or an
            http(s) URL.
        say: receives what is being done, a line at a time.

    Returns:
        A path, which need not exist if a path was given.

    Raises:
        UnknownWeights: no such name, or a name without its scheme.
        FetchError, ConversionError, StoreError: see :func:`~fiber_mmdet.weights.store.get_weights`.
    """
    if not is_address(weights):
        if isinstance(weights, str) and '://' in weights:
            raise FetchError(
                f'{weights}: only fiber://NAME, hf://OWNER/REPOSITORY/FILE and http(s) addresses '
                'are fetched: download the file and give its path'
            )
        _refuse_bare_name(weights)
        return Path(weights)
    weights = str(weights)
    if weights.startswith(NAME_SCHEME):
        return get_weights(weights.removeprefix(NAME_SCHEME), say=say)
    known = known_at(weights)
    if known is not None and not known.is_model:
        return get_weights(known.name, say=say)
    if weights.startswith(HUB_SCHEME):
        if not hub_place(weights).file:
            raise FetchError(f'{weights} is a repository: add the file, {weights}/FILE')
        path = fetch(weights, cache_folder())
        if known is not None:
            verify(path, known, say)
        return path
    return local_file(weights)


def _refuse_bare_name(weights: str | Path) -> None:
    """Stop if something is no file, but near to a name."""
    path = Path(weights)
    if path.parent != Path() or path.suffix or path.expanduser().exists():
        return
    if near := suggestions(str(weights)):
        names = ' or '.join(f'{NAME_SCHEME}{name}' for name in near)
        raise UnknownWeights(
            f'{weights}: no such file. Known weights are given as {names} '
            '(all names: `fiber weights list`)'
        )


def known_at(address: str) -> KnownWeights | None:
    """Weights of the table that have this address."""
    return next((one for one in known_weights().values() if address in one.addresses), None)


def model_named(name: str) -> str:
    """The address of a known model.

    Args:
        name: as in the table.

    Raises:
        UnknownWeights: no such name, or its weights are no model.
    """
    find_known(name).config_file()
    return f'{NAME_SCHEME}{name.removeprefix(NAME_SCHEME)}'


def named(text: object) -> KnownWeights | None:
    """The known model that a text names, alone or as ``fiber://NAME``.

    Args:
        text: anything. A file of that name comes first.

    Returns:
        None if it is no name, or that of weights without a config, or that of a config.

    Raises:
        UnknownWeights: ``fiber://`` with a name that is not known.
    """
    if not isinstance(text, str) or text.startswith(CONFIG_SCHEME):
        return None
    if text.startswith(NAME_SCHEME):
        return find_known(text.removeprefix(NAME_SCHEME))
    if text in known_weights() and not Path(text).exists():
        return known_weights()[text]
    return None
