"""Records of a data set that its samples share."""

import pickle
from collections.abc import Iterable
from typing import Any

import numpy as np


class PackedRecords:
    """A list of records as one array, which processes that load data share.

    (mmengine keeps ``data_list`` so, too: memory of Python's objects would be
    copied to each process in time.)

    Args:
        records: whatever can be pickled.
    """

    def __init__(self, records: Iterable[Any]) -> None:
        packed = [pickle.dumps(record, protocol=4) for record in records]
        self.ends = np.cumsum([len(record) for record in packed], dtype=np.int64)
        self.bytes = np.frombuffer(b''.join(packed), dtype=np.uint8)

    def __len__(self) -> int:
        return len(self.ends)

    def __deepcopy__(self, memo: dict) -> 'PackedRecords':
        return self  # subsets of a data set share it, nothing in it can change

    def __getitem__(self, index: int) -> Any:
        begin = self.ends[index - 1] if index else 0
        return pickle.loads(memoryview(self.bytes[begin : self.ends[index]]))
