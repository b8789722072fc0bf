"""A cache of the text prefixes of the latest prompts."""

import threading
from collections import OrderedDict
from collections.abc import Callable, Hashable
from typing import Any

import torch
from torch import nn

from .weights_version import weights_version


class PromptCache:
    """Least recently used text prefixes, in testing.

    A closed vocabulary, such as LVIS' 1203 names in 31 prompts, is the same for
    every image; captions change and are soon dropped. Entries are returned as they were
    computed, so that reuse changes no output.

    Nothing is kept while gradients are recorded, while the tower is in training mode, or if its
    weights were created under ``torch.inference_mode``, which does not count changes. An entry is
    valid for the weights, device and autocast type it was computed with. A change of weights
    through ``.data`` that leaves the first value of each tensor is not noticed: call :meth:`clear`
    afterwards. Threads may share a cache.

    Args:
        size: batches of prompts kept.
    """

    def __init__(self, size: int = 4) -> None:
        self.size = size
        self._entries: OrderedDict = OrderedDict()
        self._lock = threading.Lock()

    def clear(self) -> None:
        """Drop all entries."""
        with self._lock:
            self._entries.clear()

    def __reduce__(self) -> tuple:
        """Copies are empty: their weights are their own."""
        return PromptCache, (self.size,)

    def get(self, tower: nn.Module, prompts: Hashable, encode: Callable[[], Any]) -> Any:
        """``encode()``, or its earlier result for the same prompts and weights.

        Args:
            tower: the module that ``encode`` runs.
            prompts: the prompts of a batch.
            encode: computes the entry.
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
        version, values = weights_version([tower])
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
