"""Rows of a large tab-separated file, read at random."""

import os
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from mmengine.logging import MMLogger


class TSVFile:
    """A tsv file and where its rows begin.

    The beginnings come from ``<name>.lineidx`` beside the file (a byte offset a
    line), or are found by reading the file through once. Every process opens the
    file for itself, so workers of a data loader do not share a position.

    Args:
        path: of the tsv file.

    Raises:
        FileNotFoundError: no such file.
        ValueError: an index that belongs to another file.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        if not self.path.is_file():
            raise FileNotFoundError(f'no file {self.path}')
        index = self.path.with_suffix('.lineidx')
        if index.is_file():
            self.offsets = np.loadtxt(index, dtype=np.int64, ndmin=1)
            if self.offsets.max(initial=0) > self.path.stat().st_size:
                raise ValueError(
                    f'{index} tells of more rows than {self.path} has: it belongs to '
                    'another file. Delete it, and it will be found anew'
                )
        else:
            self.offsets = np.fromiter(self._find_rows(), dtype=np.int64)
        self._file, self._owner = None, None

    def _find_rows(self) -> Iterator[int]:
        size = self.path.stat().st_size
        if size > 1e9:
            MMLogger.get_current_instance().info(
                f'{self.path}: no {self.path.with_suffix(".lineidx").name} beside it, so its '
                f'{size / 1e9:.0f} GB are read to find the rows'
            )
        offset = 0
        with open(self.path, 'rb') as file:
            for line in file:
                yield offset
                offset += len(line)

    def __len__(self) -> int:
        return len(self.offsets)

    def __getitem__(self, row: int) -> list[str]:
        """The columns of a row, without blanks around them."""
        if not 0 <= row < len(self):
            raise IndexError(f'{self.path} has {len(self)} rows, row {row} is asked for')
        return self.at(int(self.offsets[row]))

    def at(self, offset: int) -> list[str]:
        """The columns of the row that begins at this byte."""
        return read_row(self._open(), offset)

    def _open(self):
        if self._file is None or self._owner != os.getpid():
            self._file, self._owner = open(self.path, 'rb'), os.getpid()
        return self._file

    def __getstate__(self) -> dict:
        return dict(self.__dict__, _file=None, _owner=None)


def read_row(file, offset: int) -> list[str]:
    """Columns of the row that begins at byte ``offset`` of an open binary file."""
    file.seek(offset)
    return [column.strip() for column in file.readline().decode().split('\t')]
