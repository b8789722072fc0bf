"""What each tower knows before it meets the other one."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

LEVEL, TAP = 'level', 'tap'  # of the names of parts


@dataclass(frozen=True)
class ImagePrefix:
    """State of the image tower at its first fused block.

    Attributes:
        tokens: (B, H, W, C) residual stream.
        pyramid: finished levels, ``stage -> (B, C, H, W)``, normalised.
        taps: (B, …) each, what the fusion keeps of earlier blocks; FIBER's keeps nothing.
    """

    tokens: Tensor
    pyramid: dict[int, Tensor]
    taps: tuple[Tensor, ...] = ()

    def __len__(self) -> int:
        return len(self.tokens)

    def select(self, index: Sequence[int] | Tensor) -> 'ImagePrefix':
        """Images ``index`` (repetition allowed), in that order.

        One image many times, and all images as they are, are not copied.
        """
        if not isinstance(index, Tensor):
            if list(index) == list(range(len(self))):
                return self
            if len(index) > 1 and len(set(index)) == 1:
                return self._take(lambda x: x[index[0]].expand(len(index), *x.shape[1:]))
        rows = torch.as_tensor(index, device=self.tokens.device)
        return self._take(lambda x: x[rows])

    def _take(self, function: Callable[[Tensor], Tensor]) -> 'ImagePrefix':
        return ImagePrefix(
            function(self.tokens),
            {k: function(v) for k, v in self.pyramid.items()},
            tuple(map(function, self.taps)),
        )

    @classmethod
    def cat(cls, parts: Sequence['ImagePrefix']) -> 'ImagePrefix':
        """The images of several prefixes of equal size, one after the other."""
        levels = {k: torch.cat([part.pyramid[k] for part in parts]) for k in parts[0].pyramid}
        taps = tuple(torch.cat(tap) for tap in zip(*(part.taps for part in parts)))
        return cls(torch.cat([part.tokens for part in parts]), levels, taps)

    def to(
        self, device: torch.device | None = None, dtype: torch.dtype | None = None
    ) -> 'ImagePrefix':
        """The same elsewhere or in another precision; None leaves either as it is."""
        return self._take(lambda x: x.to(device=device, dtype=dtype))

    def parts(self) -> dict[str, Tensor]:
        """The tensors by name, each with the images in its first dimension."""
        levels = {f'{LEVEL}{stage}': level for stage, level in self.pyramid.items()}
        taps = {f'{TAP}{i}': tap for i, tap in enumerate(self.taps)}
        return dict(tokens=self.tokens, **levels, **taps)

    @classmethod
    def from_parts(cls, parts: Mapping[str, Tensor]) -> 'ImagePrefix':
        """The prefix with these tensors, the opposite of :meth:`parts`."""
        levels = {
            int(name.removeprefix(LEVEL)): part
            for name, part in parts.items()
            if name.startswith(LEVEL)
        }
        taps = sum(name.startswith(TAP) for name in parts)
        return cls(parts['tokens'], levels, tuple(parts[f'{TAP}{i}'] for i in range(taps)))


@dataclass(frozen=True)
class TextPrefix:
    """State of the text tower at its first fused layer.

    Attributes:
        tokens: (B, L, C) layer outputs.
        mask: (B, L) bool, True at real tokens.
        taps: (B, L, …) each, what the fusion keeps of earlier layers; FIBER's keeps nothing.
    """

    tokens: Tensor
    mask: Tensor
    taps: tuple[Tensor, ...] = ()

    def __len__(self) -> int:
        return len(self.tokens)

    def select(self, index: Sequence[int] | Tensor) -> 'TextPrefix':
        """Texts ``index`` (repetition allowed), cut to the longest of them."""
        rows = torch.as_tensor(index, device=self.tokens.device)
        mask = self.mask[rows]
        length = int(mask.sum(1).max())
        return TextPrefix(
            self.tokens[rows, :length],
            mask[:, :length],
            tuple(tap[rows, :length] for tap in self.taps),
        )

    @classmethod
    def cat(cls, parts: Sequence['TextPrefix']) -> 'TextPrefix':
        """The texts of several prefixes, one after the other, padded to the longest."""
        length = max(part.mask.shape[1] for part in parts)

        def joined(tensors: Iterable[Tensor]) -> Tensor:
            tensors = list(tensors)
            width = (0, 0) * (tensors[0].dim() - 2)
            return torch.cat([F.pad(x, (*width, 0, length - x.shape[1])) for x in tensors])

        return cls(
            joined(part.tokens for part in parts),
            joined(part.mask for part in parts),
            tuple(map(joined, zip(*(part.taps for part in parts)))),
        )

    def to(
        self, device: torch.device | None = None, dtype: torch.dtype | None = None
    ) -> 'TextPrefix':
        """The same elsewhere or in another precision; None leaves either as it is."""
        return TextPrefix(
            self.tokens.to(device=device, dtype=dtype),
            self.mask.to(device=device),
            tuple(tap.to(device=device, dtype=dtype) for tap in self.taps),
        )


class Fused(NamedTuple):
    """Output of the fused tail.

    Attributes:
        pyramid: (B, C, H, W) per output stage, normalised, for a neck.
        image: (B, H, W, C) un-normalised output of the last block.
        text: (B, L, C) output of the last text layer.
        mask: (B, L) bool, True at real tokens.
    """

    pyramid: tuple[Tensor, ...]
    image: Tensor
    text: Tensor
    mask: Tensor
