"""Memory of the tensors that are alive, with or without values, its peak, and what is moved."""

import weakref
from collections.abc import Callable, Iterable
from typing import Any

from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.weak import WeakIdKeyDictionary


class LiveMemory(TorchDispatchMode):
    """Counts bytes of the storages that operators make, until they are freed.

    What an operator takes for itself while it runs is not seen.

    Attributes:
        now: bytes alive, without gradients.
        gradients: bytes of gradients, see :meth:`is_gradient`.
        peak: most bytes alive at a time.
        peak_without_gradients: most bytes alive at a time, without gradients.
        moved: bytes read and written by operators that are not views.

    Args:
        known: tensors that are not counted, such as weights.
    """

    def __init__(self, known: Iterable[Tensor] = ()) -> None:
        super().__init__()
        self.now = self.gradients = self.peak = self.peak_without_gradients = self.moved = 0
        self._known = WeakIdKeyDictionary()  # storage -> [bytes]
        for tensor in known:
            self._known[tensor.untyped_storage()] = [0]

    def __torch_dispatch__(
        self, func: Callable, types: Any, args: tuple = (), kwargs: dict | None = None
    ) -> Any:
        out = func(*args, **(kwargs or {}))
        results = [x for x in tree_leaves(out) if isinstance(x, Tensor)]
        new = [x for x in results if self._add(x)]
        if new or func._schema.is_mutable:  # others are views
            read = [x for x in tree_leaves((args, kwargs)) if isinstance(x, Tensor)]
            self.moved += sum(x.numel() * x.element_size() for x in (*read, *results))
        return out

    def is_gradient(self, tensor: Tensor) -> None:
        """Count a tensor among the gradients, which stay."""
        record = self._known.get(tensor.untyped_storage(), [0])
        self.now -= record[0]
        self.gradients += record[0]
        record[0] = 0

    def _add(self, tensor: Tensor) -> bool:
        """Whether the storage of a tensor is a new one."""
        storage = tensor.untyped_storage()
        if storage in self._known:
            return False
        record = self._known[storage] = [storage.nbytes()]
        weakref.finalize(storage, self._free, record)
        self.now += record[0]
        self.peak_without_gradients = max(self.peak_without_gradients, self.now)
        self.peak = max(self.peak, self.now + self.gradients)
        return True

    def _free(self, record: list[int]) -> None:
        self.now -= record[0]
