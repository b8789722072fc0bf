"""Text prefixes of the prompts asked for last."""
from collections import OrderedDict
from typing import Any, Callable, Hashable

import torch
from torch import nn


class PromptCache:
    """Remembers what a text tower made of the last prompts, in testing.

    A closed vocabulary, such as LVIS' 1203 names in 31 prompts, is the same for
    every image; captions change and are soon forgotten. What comes back is what
    was computed, so reuse changes no output.

    Nothing is remembered while gradients are recorded or the tower trains. An
    entry holds for the weights, device and autocast type it was made with. Weights
    changed through ``.data`` are not noticed: :meth:`clear` afterwards.

    Args:
        size: batches of prompts remembered.
    """

    def __init__(self, size: int = 4) -> None:
        self.size = size
        self._entries: OrderedDict = OrderedDict()

    def clear(self) -> None:
        """Forget everything."""
        self._entries.clear()

    def get(self, tower: nn.Module, prompts: Hashable, encode: Callable[[], Any]) -> Any:
        """``encode()``, or what it returned before for these prompts and these weights.

        Args:
            tower: the module that ``encode`` runs.
            prompts: the prompts of a batch.
            encode: makes the entry.
        """
        if tower.training or torch.is_grad_enabled():
            return encode()
        device = next(tower.parameters()).device.type
        precision = torch.is_autocast_enabled(device) and torch.get_autocast_dtype(device)
        weights = tuple((p.data_ptr(), p._version) for p in tower.parameters())
        key = prompts, precision, weights
        if key not in self._entries:
            self._entries[key] = encode()
            while len(self._entries) > self.size:
                self._entries.popitem(last=False)
        self._entries.move_to_end(key)
        return self._entries[key]
