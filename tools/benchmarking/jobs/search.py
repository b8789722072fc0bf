"""Neighbours of vectors: recall, time of a query, memory and time to build, by their number."""

import argparse
import shutil
import tempfile
import time
from pathlib import Path

import numpy as np

from fiber_mmdet.apis.index_building import PART_IMAGES
from fiber_mmdet.outputs import write_json
from fiber_mmdet.search.index_files import IndexedFile, IndexFiles, IndexManifest
from fiber_mmdet.search.index_writer import IndexWriter
from fiber_mmdet.search.nearest import (
    Nearest,
    build_index,
    faiss,
    read_index,
    write_index,
)

from ..memory import read_status, release_memory
from ..report import cpu_name

K = 10
WIDTHS = (9, 10, 6, 7, 8, 8, 9, 9, 9)
HEADINGS = ('vectors', 'data', 'kind', 'build s', 'file MB', 'ms', 'ms memory', 'recall@10', 'MB')


def main(args: argparse.Namespace) -> dict:
    """Run the sub-command."""
    faiss().omp_set_num_threads(args.threads)
    print(f'\nsearch: {cpu_name()}, {args.threads} threads, {args.dim} numbers a vector')
    print(line(HEADINGS))
    rows = []
    with tempfile.TemporaryDirectory(dir=args.folder) as folder:
        for data in args.data:
            for count in args.count:
                rows += measure(args, Path(folder), data, count)
    growth = exponents(rows)
    for one in growth:
        print(
            f'{one["way"]}: {one["quantity"]} grows as the number of vectors to the '
            f'power {one["exponent"]:.2f}'
        )
    settings = {key: value for key, value in vars(args).items() if key not in ('out', 'folder')}
    found = dict(
        job='search', settings=settings, rows=rows, growth=growth, curve=args.curve, agree=True
    )
    if args.out:
        write_json(args.out, found, indent=1)
        print(f'written to {args.out}')
    return found


def measure(args: argparse.Namespace, folder: Path, data: str, count: int) -> list[dict]:
    """All kinds on one set of vectors, in the files of an index of images."""
    folder = write_files(args, folder / f'{data}-{count}', data, count)
    release_memory()
    before, start = read_status('RssAnon'), time.perf_counter()
    blocks = IndexFiles(folder).blocks
    opened, memory = time.perf_counter() - start, read_status('RssAnon') - before
    print(
        f'{count:,} images, {data}: opened in {opened * 1e3:.0f} ms, {memory / 1e6:.1f} MB of '
        f'memory; files {sum(f.stat().st_size for f in folder.iterdir()) / 1e6:.0f} MB'
    )
    queries = draw(data, args.queries, args.dim, 0)
    _, truth = Nearest(blocks).search(queries, K)
    rows = []
    for kind in args.kinds:
        row = dict(
            case=dict(count=count, data=data),
            way=f'{kind}, {data}',
            build=0.0,
            file=0,
            extra_bytes=0,
        )
        if kind == 'exact':
            nearest = Nearest(blocks)
        else:
            start = time.perf_counter()
            index = build_index(kind, blocks)
            row['build'] = time.perf_counter() - start
            write_index(index, folder / 'trial.faiss')
            row['file'] = (folder / 'trial.faiss').stat().st_size
            row['seconds_in_memory'] = timed(Nearest(blocks, index, count), queries, args.effort)[0]
            del index
            release_memory()
            before = read_status('RssAnon')
            nearest = Nearest(blocks, read_index(folder / 'trial.faiss'), count)
        row['seconds'], rows_found = timed(nearest, queries, args.effort)
        if kind != 'exact':
            row['extra_bytes'] = max(read_status('RssAnon') - before, 0)
        row['recall'] = float(
            np.mean([len({*a} & {*b}) / len(a) for a, b in zip(truth, rows_found)])
        )
        del nearest
        release_memory()
        rows.append(row)
        print(
            line(
                (
                    f'{count:,}',
                    data,
                    kind,
                    f'{row["build"]:.1f}',
                    f'{row["file"] / 1e6:.0f}',
                    f'{row["seconds"] * 1e3:.2f}',
                    f'{row.get("seconds_in_memory", row["seconds"]) * 1e3:.2f}',
                    f'{row["recall"]:.3f}',
                    f'{row["extra_bytes"] / 1e6:.0f}',
                )
            ),
            flush=True,
        )
    shutil.rmtree(folder)
    return rows


def write_files(args: argparse.Namespace, folder: Path, data: str, count: int) -> Path:
    """Vectors as features of images that are not there."""
    nothing = dict(made_with={}, prefixes_made_with={}, source='drawn', transforms=[], root='/')
    dtype = 'float16' if args.half else 'float32'
    writer = IndexWriter(folder, IndexManifest(**nothing, dim=args.dim, dtype=dtype, finished=True))
    for begin in range(0, count, PART_IMAGES):
        rows = range(begin, min(begin + PART_IMAGES, count))
        images = [
            IndexedFile(f'photos/{row // 1000:06d}/{row:09d}.jpg', 200_000, row, '00' * 16)
            for row in rows
        ]
        writer.add(images, draw(data, len(rows), args.dim, begin + 1))
    return folder


def draw(data: str, count: int, dim: int, seed: int) -> np.ndarray:
    """(count, dim) float32 of length 1.

    ``random``: all directions alike, where the nearest of many are hardly nearer than others, and
    any index does badly. ``clustered``: around 1000 centres, as features of images are around
    what images show, and with most of their spread in 32 directions of each.
    """
    rng = np.random.default_rng(seed)
    found = rng.standard_normal((count, dim), np.float32)
    if data == 'clustered':
        fixed = np.random.default_rng(10)
        centres = fixed.standard_normal((1000, dim), np.float32) / dim**0.5
        spread = fixed.standard_normal((32, dim), np.float32) / dim**0.5
        found *= 0.3 / dim**0.5
        found += rng.standard_normal((count, 32), np.float32) @ spread * (0.6 / 32**0.5)
        found += centres[rng.integers(len(centres), size=count)]
    return found / np.linalg.norm(found, axis=1, keepdims=True)


def timed(nearest: Nearest, queries: np.ndarray, effort: float) -> tuple[float, np.ndarray]:
    """Median seconds of a query, after one round that reads what is needed, and rows found."""
    found, seconds = [], []
    for query in queries:
        found.append(nearest.search(query[None], K, effort)[1][0])
    for query in queries:
        start = time.perf_counter()
        nearest.search(query[None], K, effort)
        seconds.append(time.perf_counter() - start)
    return float(np.median(seconds)), np.stack(found)


def exponents(rows: list[dict]) -> list[dict]:
    """Fitted growth of each quantity with the number of vectors, where there are several."""
    found = []
    for way in dict.fromkeys(row['way'] for row in rows):
        mine = [row for row in rows if row['way'] == way]
        for key, quantity in (('seconds', 'a query'), ('build', 'building'), ('file', 'the file')):
            points = [(row['case']['count'], row[key]) for row in mine if row[key] > 0]
            if len(points) > 1:
                slope = float(np.polyfit(*np.log(np.array(points, float)).T, 1)[0])
                found.append(dict(way=way, quantity=quantity, exponent=slope))
    return found


def line(cells: tuple[str, ...]) -> str:
    """Cells in columns."""
    return '  '.join(cell.rjust(width) for cell, width in zip(cells, WIDTHS))
