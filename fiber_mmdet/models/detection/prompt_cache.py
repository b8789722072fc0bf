"""Text prefixes of the prompts asked for last."""

import threading
from collections import OrderedDict
from collections.abc import Callable, Hashable
from typing import Any

import torch
from torch import nn

from ..weights_state import weights_state


class PromptCache:
    """Remembers what a text tower made of the last prompts, in testing.

    A closed vocabulary, such as LVIS' 1203 names in 31 prompts, is the same for
    every image; captions change and are soon forgotten. What comes back is what
    was computed, so reuse changes no output.

    Nothing is remembered while gradients are recorded, the tower trains, or its
    weights were made under ``torch.inference_mode``, which keeps no count of
    changes. An entry holds for the weights, device and autocast type it was made
    with. Weights changed through ``.data`` beyond the first value of each tensor are
    not noticed: :meth:`clear` afterwards. Threads may share a cache.

    Args:
        size: batches of prompts remembered.
    """

    def __init__(self, size: int = 4) -> None:
        self.size = size
        self._entries: OrderedDict = OrderedDict()
        self._lock = threading.Lock()

    def clear(self) -> None:
        """Forget everything."""
        with self._lock:
            self._entries.clear()

    def __reduce__(self) -> tuple:
        """Copies are empty: their weights are their own."""
        return PromptCache, (self.size,)

    def get(self, tower: nn.Module, prompts: Hashable, encode: Callable[[], Any]) -> Any:
        """``encode()``, or what it returned before for these prompts and these weights.

        Args:
            tower: the module that ``encode`` runs.
            prompts: the prompts of a batch.
            encode: makes the entry.
        """
        if (
            tower.training
            or torch.is_grad_enabled()
            or any(p.is_inference() for p in tower.parameters())
        ):
            return encode()
        device = next(tower.parameters()).device.type
        precision = torch.is_autocast_enabled(device) and torch.get_autocast_dtype(device)
        places = tuple(p.data_ptr() for p in tower.parameters())
        version, values = weights_state([tower])
        key = prompts, precision, places, version, tuple(values.tolist())
        with self._lock:
            entry = self._entries.get(key)
        if entry is None:  # not under the lock: threads encode side by side
            entry = encode()
        with self._lock:
            self._entries[key] = entry
            self._entries.move_to_end(key)
            while len(self._entries) > self.size:
                self._entries.popitem(last=False)
        return entry
