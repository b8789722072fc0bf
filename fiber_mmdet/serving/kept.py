"""What a server keeps between requests, up to a number of bytes."""

import threading
from collections import OrderedDict
from collections.abc import Hashable
from typing import Any


class Kept:
    """Values by key; those that were not used for longest are dropped. Threads may share it.

    Args:
        limit: bytes of all values together. A value above it is not kept.
    """

    def __init__(self, limit: float) -> None:
        self.limit = limit
        self.size = 0
        self._values: OrderedDict[Hashable, tuple[Any, int]] = OrderedDict()
        self._lock = threading.Lock()

    def __len__(self) -> int:
        return len(self._values)

    def get(self, key: Hashable) -> Any:
        """The value; None if it is not kept."""
        with self._lock:
            if key not in self._values:
                return None
            self._values.move_to_end(key)
            return self._values[key][0]

    def put(self, key: Hashable, value: Any, size: int) -> None:
        """Keep a value.

        Args:
            key: its name, which takes the place of an earlier value.
            value: not None.
            size: in bytes.
        """
        with self._lock:
            self.size -= self._values.pop(key, (None, 0))[1]
            if size > self.limit:
                return
            self._values[key] = value, size
            self.size += size
            while self.size > self.limit:
                _, (_, freed) = self._values.popitem(last=False)
                self.size -= freed
