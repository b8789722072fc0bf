"""The nearest of many vectors by inner product, with FAISS: all compared, or found by an index.

Vectors lie in blocks, arrays of some rows each, which may be mapped from the disk. A row is the
place of a vector in all blocks, one after the other.

``exact`` compares a query with every vector, straight in the blocks: nothing is built, and nothing
is missed. ``ivf`` divides vectors into cells around means and looks into the nearest cells only
(Sivic and Zisserman, 2003). ``hnsw`` follows a graph of neighbours (Malkov and Yashunin, 2018): the
quickest search, and the slowest to build; it is never chosen by itself, since it misses more of
vectors in groups. Both hold each number in 8 bits, a quarter of float32, and find more than is
wanted; the best of these are chosen by the vectors themselves. docs/retrieval.md has measurements
of all three.
"""

import errno
import math
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from fiber_mmdet.host import need_extra

KINDS = ('exact', 'ivf', 'hnsw')
EXACT_UP_TO = 100_000  # vectors; a query takes some ms on one core
LINKS, EFFORT_TO_BUILD, EFFORT = 16, 40, 128  # of HNSW: M, efConstruction, efSearch
POINTS_PER_CELL = 64  # that means are computed from; FAISS wants 39 at least
CANDIDATES = 2  # of the index, for each that is wanted
SHARE = 20  # if a 20th of all is wanted, all are compared
ROWS = 16384  # handled at a time, where they have to be copied

Blocks = Sequence[np.ndarray]


class NearestError(ValueError):
    """An index that cannot be built or read; the message says why and what to do."""


def faiss() -> Any:
    """The library.

    Raises:
        MissingExtra: it is not installed.
    """
    return need_extra('faiss', 'search', 'an index of images')


def kind_for(count: int) -> str:
    """What suits a number of vectors: 'exact' up to ``EXACT_UP_TO``, 'ivf' above."""
    return 'exact' if count <= EXACT_UP_TO else 'ivf'


def cells_for(count: int) -> int:
    """Number of cells of ``ivf``: a power of 2 near 4 √count, of 64 vectors each at least."""
    wanted = 2 ** round(math.log2(4 * math.sqrt(max(count, 1))))
    return max(1, min(wanted, count // POINTS_PER_CELL))


def probes_for(cells: int) -> int:
    """How many of the cells are looked into: 4 √cells, at least 16."""
    return min(cells, max(16, round(4 * math.sqrt(cells))))


def build_index(kind: str, blocks: Blocks, said: Callable[[int], Any] = lambda rows: None) -> Any:
    """Build an index of all vectors.

    Args:
        kind: ``'hnsw'`` or ``'ivf'``.
        blocks: (n, dim) each, float32 or float16.
        said: called with a number of rows when these are in the index.

    Returns:
        The index of FAISS, in memory.

    Raises:
        MissingExtra: FAISS is not installed.
        MemoryError: it does not fit into memory.
    """
    library = faiss()
    count, dim = sum(map(len, blocks)), blocks[0].shape[1]
    product, bits = library.METRIC_INNER_PRODUCT, library.ScalarQuantizer.QT_8bit
    if kind == 'hnsw':
        index = library.IndexHNSWSQ(dim, bits, LINKS, product)
        index.hnsw.efConstruction = EFFORT_TO_BUILD
    elif kind == 'ivf':
        means = library.IndexFlatIP(dim)
        index = library.IndexIVFScalarQuantizer(means, dim, cells_for(count), bits, product, False)
        means.this.disown()
        index.own_fields = True
        index.cp.spherical = True  # means of vectors of length 1, which have length 1
        index.cp.min_points_per_centroid = 1  # small ones are for trials: no warning
    else:
        raise ValueError(f'kind={kind!r} must be hnsw or ivf: {KINDS[0]} needs no index')
    points = max(cells_for(count) * POINTS_PER_CELL if kind == 'ivf' else 0, ROWS)
    with _in_memory():
        index.train(_sample(blocks, points))
    extend_index(index, blocks, 0, said)
    return index


def extend_index(
    index: Any, blocks: Blocks, start: int, said: Callable[[int], Any] = lambda rows: None
) -> None:
    """Add the vectors from row ``start`` on to an index that has those before.

    Args:
        index: of :func:`build_index`, in memory.
        blocks: of all vectors.
        start: row of the first that is added.
        said: called with a number of rows when these are in the index.

    Raises:
        MemoryError: it does not fit into memory.
    """
    for rows in in_pieces(blocks, start):
        with _in_memory():
            index.add(np.ascontiguousarray(rows, np.float32))
        said(len(rows))


@contextmanager
def _in_memory() -> Iterator[None]:
    """FAISS says ``std::bad_alloc`` where Python says MemoryError."""
    try:
        yield
    except RuntimeError as error:
        if 'bad_alloc' in str(error):
            raise MemoryError(
                'the index does not fit into memory: build it on a larger machine, or choose the '
                'kind exact, which needs none'
            ) from error
        raise


def _sample(blocks: Blocks, count: int) -> np.ndarray:
    """(n, dim) float32, vectors drawn from all blocks, the same each time."""
    total = sum(map(len, blocks))
    if total <= count:
        return take(blocks, np.arange(total))
    return take(blocks, np.sort(np.random.default_rng(0).choice(total, count, replace=False)))


def take(blocks: Blocks, rows: np.ndarray) -> np.ndarray:
    """(n, dim) float32, the vectors of some rows."""
    ends = np.cumsum([len(block) for block in blocks])
    found = np.empty((len(rows), blocks[0].shape[1]), np.float32)
    places = np.searchsorted(ends, rows, 'right')
    for number in np.unique(places):
        of_block = places == number
        start = ends[number] - len(blocks[number])
        found[of_block] = blocks[number][rows[of_block] - start]
    return found


def in_pieces(blocks: Blocks, start: int = 0) -> Iterator[np.ndarray]:
    """The vectors from a row on, some at a time."""
    for block in blocks:
        skipped = min(start, len(block))
        start -= skipped
        for begin in range(skipped, len(block), ROWS):
            yield block[begin : begin + ROWS]


# ------------------------------------------------------------------ files
def write_index(index: Any, path: str | Path) -> None:
    """Write an index to a file, in place.

    Raises:
        OSError: it cannot be written.
    """
    try:
        faiss().write_index(index, str(path))
    except RuntimeError as error:  # FAISS says neither why nor what
        free = os.statvfs(Path(path).parent) if hasattr(os, 'statvfs') else None
        full = free is not None and free.f_bavail * free.f_frsize < 2**20
        raise OSError(
            errno.ENOSPC if full else errno.EIO,
            'No space left on device' if full else f'FAISS: {error}',
            str(path),
        ) from error


def read_index(path: str | Path, mapped: bool = True) -> Any:
    """Read an index from a file.

    Args:
        path: the file.
        mapped: leave it on the disk, whence the system fetches what is looked at and keeps it while
            there is room; otherwise it is copied to memory and can be extended.

    Raises:
        MissingExtra: FAISS is not installed.
        NearestError: the file is damaged, or not there.
    """
    library = faiss()
    flags = 0
    if mapped:  # FAISS before 1.11 maps ivf only
        flags = library.IO_FLAG_READ_ONLY | getattr(
            library, 'IO_FLAG_MMAP_IFC', library.IO_FLAG_MMAP
        )
    try:
        return library.read_index(str(path), flags)
    except (RuntimeError, MemoryError) as error:
        said = str(error).strip().splitlines()
        raise NearestError(f'{path} is damaged ({said[-1] if said else "too large"})') from error


# ----------------------------------------------------------------- search
class Nearest:
    """Finds the nearest of all vectors; those that an index does not have yet are all compared.

    Args:
        blocks: of all vectors.
        index: of the first ``covered`` rows; None if there is none.
        covered: number of these rows.
    """

    def __init__(self, blocks: Blocks, index: Any = None, covered: int = 0) -> None:
        self.blocks, self.index, self.covered = blocks, index, covered if index is not None else 0

    def search(
        self, queries: np.ndarray, k: int, effort: float = 1.0
    ) -> tuple[np.ndarray, np.ndarray]:
        """The ``k`` nearest of each query, or as many as were found.

        Args:
            queries: (Q, dim) float32.
            k: how many. All vectors are compared if this is a large part of them.
            effort: how much further to look than usual, which takes as much longer and misses
                less; ``math.inf`` compares all vectors.

        Returns:
            (Q, n) float32 inner products, from the vectors themselves, largest first, and (Q, n)
            int64 rows; -inf and -1 where fewer than ``k`` were found. Equal ones are in the order
            of their rows.
        """
        queries = np.ascontiguousarray(queries, np.float32)
        found, starts = [], []
        covered = 0
        if self.index is not None and k * SHARE <= self.covered and effort < math.inf:
            covered = self.covered
            found.append(self._search_index(queries, k, effort))
            starts.append(0)
        begin = 0
        for block in self.blocks:
            skipped = min(max(covered - begin, 0), len(block))
            if skipped < len(block):
                found.append(self._compare(queries, block[skipped:], k))
                starts.append(begin + skipped)
            begin += len(block)
        return _best(found, starts, k)

    def _search_index(
        self, queries: np.ndarray, k: int, effort: float
    ) -> tuple[np.ndarray, np.ndarray]:
        library, index = faiss(), self.index
        if hasattr(index, 'hnsw'):
            reach = max(round(EFFORT * effort), 2 * CANDIDATES * k)
            options = library.SearchParametersHNSW(efSearch=reach)
        else:
            reach = round(probes_for(index.nlist) * effort)
            options = library.SearchParametersIVF(nprobe=min(max(reach, 1), index.nlist))
        _, rows = index.search(queries, CANDIDATES * k, params=options)
        scores = np.full(rows.shape, -np.inf, np.float32)
        for number, query in enumerate(queries):
            there = rows[number] >= 0
            scores[number, there] = take(self.blocks, rows[number, there]) @ query
        return scores, rows

    def _compare(
        self, queries: np.ndarray, block: np.ndarray, k: int
    ) -> tuple[np.ndarray, np.ndarray]:
        library = faiss()
        product = library.METRIC_INNER_PRODUCT
        k = min(k, len(block))
        if block.dtype == np.float32:
            return library.knn(queries, block, k, metric=product)
        pieces = [np.asarray(piece, np.float32) for piece in in_pieces([block])]
        found = [
            library.knn(queries, piece, min(k, len(piece)), metric=product) for piece in pieces
        ]
        return _best(found, [i * ROWS for i in range(len(found))], k)


def _best(
    found: Sequence[tuple[np.ndarray, np.ndarray]], starts: Sequence[int], k: int
) -> tuple[np.ndarray, np.ndarray]:
    """The best ``k`` of several searches, whose rows count from ``starts``."""
    scores = np.concatenate([scores for scores, _ in found], 1)
    rows = np.concatenate(
        [np.where(rows < 0, -1, rows + start) for (_, rows), start in zip(found, starts)], 1
    )
    scores = np.where(rows < 0, -np.inf, scores).astype(np.float32)
    order = np.lexsort((rows, -scores), axis=1)[:, :k]
    return np.take_along_axis(scores, order, 1), np.take_along_axis(rows, order, 1)
