"""Neighbours in blocks of vectors: the same as by comparing all, and how much an index misses."""

import math

import numpy as np
import pytest

from fiber_mmdet.search.nearest import (
    EXACT_UP_TO,
    Nearest,
    NearestError,
    build_index,
    cells_for,
    extend_index,
    kind_for,
    probes_for,
    read_index,
    write_index,
)

pytest.importorskip('faiss', reason='the extra `search` (faiss-cpu) is not installed')


def draw(count, groups=40, dim=24, seed=0):
    """Vectors of length 1 around some centres."""
    centres = np.random.default_rng(9).standard_normal((groups, dim))
    rng = np.random.default_rng(seed)
    found = centres[rng.integers(groups, size=count)] + 0.4 * rng.standard_normal((count, dim))
    return (found / np.linalg.norm(found, axis=1, keepdims=True)).astype(np.float32)


def blocks_of(vectors, *sizes):
    return np.split(vectors, np.cumsum(sizes))


def by_hand(vectors, queries, k):
    cosines = queries @ vectors.T.astype(np.float32)
    rows = np.argsort(-cosines, axis=1, kind='stable')[:, :k]
    return np.take_along_axis(cosines, rows, 1), rows


@pytest.mark.parametrize('dtype', (np.float32, np.float16))
def test_all_are_compared_over_all_blocks(dtype):
    vectors, queries = draw(20_000).astype(dtype), draw(5, seed=1)
    for sizes in ((), (1, 3, 17_000)):
        cosines, rows = Nearest(blocks_of(vectors, *sizes)).search(queries, 7)
        expected, places = by_hand(vectors, queries, 7)
        np.testing.assert_array_equal(rows, places)
        np.testing.assert_allclose(cosines, expected, atol=1e-6)


def test_more_than_there_are_and_equal_ones():
    vectors = draw(6)
    vectors[4] = vectors[1]
    cosines, rows = Nearest(blocks_of(vectors, 2, 3)).search(vectors[1:2], 50)
    assert rows.shape == (1, 6) and rows[0, :2].tolist() == [1, 4]
    assert cosines[0, 0] == pytest.approx(1, abs=1e-6)


@pytest.mark.parametrize('kind', ('ivf', 'hnsw'))
def test_an_index_from_the_disk_finds_nearly_all_and_gives_exact_cosines(kind, tmp_path):
    vectors, queries = draw(6000), draw(20, seed=1)
    blocks = blocks_of(vectors, 1000, 2500)
    counted = []
    index = build_index(kind, blocks[:2], counted.append)
    assert sum(counted) == index.ntotal == 3500
    write_index(index, tmp_path / 'index.faiss')
    truth, places = by_hand(vectors, queries, 10)
    for mapped in (True, False):
        read = read_index(tmp_path / 'index.faiss', mapped)
        cosines, rows = Nearest(blocks, read, 3500).search(queries, 10)
        recall = np.mean([len({*a} & {*b}) / 10 for a, b in zip(rows, places)])
        assert recall > 0.95
        np.testing.assert_allclose(
            cosines, np.take_along_axis(queries @ vectors.T, rows, 1), atol=1e-6
        )
        assert (np.diff(cosines) <= 0).all()
    extend_index(read, blocks, 3500)
    assert read.ntotal == 6000
    cosines, rows = Nearest(blocks, read, 6000).search(queries, 10, effort=math.inf)
    np.testing.assert_array_equal(rows, places)


def test_sizes():
    assert [kind_for(count) for count in (1, EXACT_UP_TO, EXACT_UP_TO + 1)] == [
        'exact',
        'exact',
        'ivf',
    ]
    assert [cells_for(count) for count in (1, 1000, 10**6, 10**8)] == [1, 15, 4096, 32768]
    assert [probes_for(cells) for cells in (1, 15, 4096)] == [1, 15, 256]


def test_a_damaged_file_is_named(tmp_path):
    write_index(build_index('hnsw', [draw(100)]), tmp_path / 'index.faiss')
    content = (tmp_path / 'index.faiss').read_bytes()
    for damaged in (b'', content[:500], b'nothing of FAISS' * 10):
        (tmp_path / 'index.faiss').write_bytes(damaged)
        for mapped in (True, False):
            with pytest.raises(NearestError, match='index.faiss is damaged'):
                read_index(tmp_path / 'index.faiss', mapped)
