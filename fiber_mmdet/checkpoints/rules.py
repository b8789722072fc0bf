"""A rule: one published name, what we call it, and what changes in its values."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache

import torch
from torch import Tensor

_FIELDS = dict(s=r'\d+', b=r'\d+', i=r'\d+', p='weight|bias', role='query|key|value', rest='.+')


@cache
def _pattern(template: str) -> re.Pattern:
    pieces = re.split(r'\{(\w+)\}', template)
    return re.compile(
        ''.join(
            re.escape(piece) if k % 2 == 0 else f'(?P<{piece}>{_FIELDS[piece]})'
            for k, piece in enumerate(pieces)
        )
    )


def _fields(template: str, key: str) -> dict | None:
    found = _pattern(template).fullmatch(key)
    return found.groupdict() if found else None


@dataclass(frozen=True)
class Rule:
    """One official name and the one or two of ours that hold its values.

    Attributes:
        official: official key, with ``{fields}``.
        ours: our keys, with the same fields. If there are two, the official tensor is their
            concatenation along dimension 0.
        shape: our tensor's shape relative to the official one: 'same', 'pointwise' (linear weight
            as 1x1 convolution), 'scalar' ((1,) as ()), 'number' (() as (), also read from (1,)) or
            'unfolded' (patch merging in mmdet's order of channels, only read).
    """

    official: str
    ours: tuple[str, ...]
    shape: str = 'same'

    def match_official(self, key: str) -> dict | None:
        """Fields of an official key, None if the rule does not match it."""
        return _fields(self.official, key)

    def match_ours(self, key: str, position: int) -> dict | None:
        """Fields of one of our keys, None if ``ours[position]`` does not match it."""
        return _fields(self.ours[position], key)

    def import_tensor(self, x: Tensor) -> list[Tensor]:
        """An official tensor (any shape) as our tensors, in the order of ``ours``.

        Raises:
            RuntimeError: it cannot have the rule's shape.
        """
        if self.shape == 'pointwise' and x.dim() == 2:
            x = x[:, :, None, None]
        elif self.shape in ('scalar', 'number'):
            x = x.reshape(())
        elif self.shape == 'unfolded':
            x = from_unfold(x)
        return [part.clone() for part in x.chunk(len(self.ours))] if len(self.ours) > 1 else [x]

    def export_tensor(self, parts: Sequence[Tensor]) -> Tensor:
        """Our tensors, in the order of ``ours``, as the official one."""
        x = torch.cat(list(parts)) if len(parts) > 1 else parts[0]
        if self.shape == 'pointwise' and x.dim() == 4:
            x = x[:, :, 0, 0]
        elif self.shape == 'scalar':
            x = x.reshape(1)
        return x


def from_unfold(x: Tensor) -> Tensor:
    """Patch merging's input channels from mmdet's order to Swin's.

    ``nn.Unfold`` has the channels outside and the four positions inside, in the order
    (row, column) = 00, 01, 10, 11; Swin the positions outside, in the order 00, 10, 01, 11.

    Args:
        x: (…, 4C) a weight or bias of patch merging, in mmdet's order.

    Returns:
        (…, 4C) the same in Swin's order.

    Raises:
        RuntimeError: the last dimension is no multiple of 4.
    """
    x = x.reshape(*x.shape[:-1], -1, 4)
    return x[..., [0, 2, 1, 3]].transpose(-1, -2).flatten(-2)
