"""Training a few parameters of a model: prompt tuning and linear probing."""

import difflib
from collections.abc import Sequence

from torch import nn


def train_only(module: nn.Module, prefixes: Sequence[str]) -> None:
    """Freeze all parameters but the named ones; to be called again after each ``train()``.

    Modules in which nothing is trained are put into evaluation mode, which turns off their
    dropout too.

    Args:
        module: the model.
        prefixes: names of parameters, or beginnings of them that end at a dot:
            ``'backbone.text.prompt_rows'``, ``'bbox_head'``.

    Raises:
        ValueError: a prefix that fits no parameter; the closest ones are named.
    """
    names = [name for name, _ in module.named_parameters()]
    for prefix in prefixes:
        if not any(_below(name, prefix) for name in names):
            stems = {name.rsplit('.', cut)[0] for name in names for cut in range(4)}
            close = difflib.get_close_matches(prefix, sorted(stems), n=3)
            raise ValueError(
                f'trainable names {prefix!r}, but no parameter begins so; '
                f'close: {", ".join(close) or "none"}'
            )
    for name, parameter in module.named_parameters():
        parameter.requires_grad_(any(_below(name, prefix) for prefix in prefixes))
    for child in module.modules():
        parameters = list(child.parameters())
        if parameters and not any(parameter.requires_grad for parameter in parameters):
            child.eval()


def _below(name: str, prefix: str) -> bool:
    return name == prefix or name.startswith(prefix + '.')
