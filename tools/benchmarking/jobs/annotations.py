"""Large annotation files: how long they take to read, and what they cost each worker."""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from hashlib import sha256
from pathlib import Path

from fiber_mmdet.outputs import write_json

from ..annotation_files import write_detections, write_mixed

HEADINGS = ('way', 'start s', 'of CPU', 'peak MB', 'worker MB', 'samples/s', 'cache MB')


def main(args: argparse.Namespace) -> dict:
    """Run the sub-command: each measurement is a process of its own."""
    rows = []
    with tempfile.TemporaryDirectory(dir=args.folder, prefix='annotations-') as folder:
        for kind in args.kind:
            path = Path(folder) / f'{kind}.json'
            texts, boxes = args.captions if kind == 'mixed' else args.images
            write = write_mixed if kind == 'mixed' else write_detections
            write(path, texts, boxes)
            size = path.stat().st_size
            print(f'\nannotations: {kind}, {texts} samples, {boxes} boxes, {size / 1e6:.0f} MB')
            print('  '.join(f'{heading:>9}' for heading in HEADINGS))
            digests = []
            for way in (*args.ways, *['grown'] * bool(args.grown)):
                found = _measured(kind, path, way, args)
                digests.append(found.pop('digest'))
                rows.append(
                    dict(
                        case=dict(kind=kind, samples=texts, boxes=boxes, file_bytes=size),
                        grown=args.grown if way == 'grown' else None,
                        way=way,
                        seconds=found['start'],
                        agree=digests[-1] == digests[0],
                        **found,
                    )
                )
                cells = (
                    f'{found["start"]:.2f}',
                    f'{found["cpu"]:.2f}',
                    f'{found["peak"] / 1e6:.0f}',
                    f'{found["worker"] / 1e6:.0f}',
                    f'{found["rate"]:.0f}',
                    f'{found["cache"] / 1e6:.0f}',
                )
                print('  '.join(f'{cell:>9}' for cell in (way, *cells)), flush=True)
            path.unlink()
    agree = all(row['agree'] for row in rows)
    print('samples agree' if agree else 'samples DIFFER: these figures mean nothing')
    settings = dict(workers=args.workers, samples=args.samples)
    found = dict(job='annotations', settings=settings, rows=rows, curve=None, agree=agree)
    if args.out:
        write_json(args.out, found, indent=1)
    return found


def _measured(kind: str, path: Path, way: str, args: argparse.Namespace) -> dict:
    """What a new process finds, see :func:`measure`."""
    count = (args.captions if kind == 'mixed' else args.images)[0]
    options = dict(kind=kind, path=str(path), way=way, grown=args.grown, count=count)
    given = json.dumps(dict(options, workers=args.workers, samples=args.samples))
    code = 'import sys; from benchmarking.jobs.annotations import measure; measure(sys.argv[1])'
    places = [str(Path(__file__).parents[2]), str(Path(__file__).parents[3])]
    environment = dict(
        os.environ, PYTHONPATH=os.pathsep.join([*places, os.environ.get('PYTHONPATH', '')])
    )
    ran = subprocess.run(
        [sys.executable, '-W', 'ignore', '-c', code, given],
        stdout=subprocess.PIPE,
        env=environment,
        text=True,
        check=True,
    )
    return json.loads(ran.stdout.splitlines()[-1])


def measure(given: str) -> None:
    """Build a dataset, read it with workers, and print what that took, as json.

    ``start``: seconds until the dataset is there; ``cpu``: those of them that this process computed
    (other jobs of the machine do not count); ``peak``: bytes of resident memory that took,
    beyond the imports; ``worker``: bytes of a worker, its share of shared pages (PSS), beyond those
    of a worker of an empty dataset, on average; ``rate``: samples a second of all workers, without
    images; ``cache``: bytes of the cache; ``digest``: of some samples.
    """
    import torch
    from mmdet.registry import DATASETS

    import fiber_mmdet  # noqa: F401

    from ..memory import PeakMemory

    options = json.loads(given)
    torch.set_num_threads(1)
    cache = Path(options['path']).parent / f'cache-{options["kind"]}'
    cfg = dict(
        type='MDETRGroundingDataset' if options['kind'] == 'mixed' else 'PromptCocoDataset',
        ann_file=options['path'],
        data_prefix=dict(img='images'),
        pipeline=[],
        annotation_cache=False if options['way'] == 'plain' else str(cache),
        annotation_cache_from=0,
    )
    if options['kind'] == 'mixed':
        cfg.update(data_prefix={}, image_dirs=dict(vg='gqa/images', coco='coco/train2014'))
    if options['way'] == 'grown':
        grow(cache, options['grown'])
    DATASETS.get(cfg['type'])  # imports what is registered
    idle = _worker_memory(torch.utils.data.DataLoader(_Idle(), 1, num_workers=options['workers']))
    with PeakMemory(torch.device('cpu')) as peak:
        start, cpu = time.perf_counter(), time.process_time()
        dataset = DATASETS.build(cfg)
        seconds, cpu = time.perf_counter() - start, time.process_time() - cpu
    count = len(dataset)
    chosen = torch.randperm(count, generator=torch.Generator().manual_seed(0))
    chosen = chosen[: options['samples']].tolist()
    loader = torch.utils.data.DataLoader(
        dataset, 100, sampler=chosen, num_workers=options['workers'], collate_fn=len
    )
    worker, rate = _worker_memory(loader) - idle, _rate(loader, len(chosen))
    parts = (file.stat().st_size for file in cache.rglob('*.arrow'))
    looked_at = range(0, options['count'], max(1, options['count'] // 1000))
    found = dict(
        start=seconds,
        cpu=cpu,
        peak=peak.extra,
        worker=worker,
        rate=rate,
        cache=sum(parts) if cache.is_dir() else 0,
        digest=sha256(
            repr([sorted(dataset.get_data_info(i).items()) for i in looked_at]).encode()
        ).hexdigest(),
    )
    print()
    print(json.dumps(found))


def grow(cache: Path, samples: int) -> None:
    """Repeat the records of a cache until it has so many samples.

    What opening and reading it costs is what it would cost for a file of that size, which need not
    be read for that.
    """
    from fiber_mmdet.datasets.stored_records import RecordFile, RecordWriter, StoredRecords
    from fiber_mmdet.whole_files import replacing

    (path,) = cache.rglob('*.arrow')
    file = RecordFile(path)
    records = StoredRecords(file)
    header = dict(file.header, sections=dict(samples=samples))
    with replacing(path) as part, RecordWriter(part, header) as writer:
        for start in range(0, samples, len(records)):
            writer.extend(records[: samples - start])


class _Idle:
    """A dataset that needs no memory."""

    def __len__(self) -> int:
        return 64

    def __getitem__(self, index: int) -> int:
        return index


def _worker_memory(loader) -> float:
    """Mean PSS of the workers in bytes, after they have read everything."""
    batches = iter(loader)
    for _ in range(len(loader)):
        next(batches)
    sizes = [_pss(worker.pid) for worker in batches._workers]  # which wait for a last word
    return sum(sizes) / len(sizes)


def _pss(pid: int) -> int:
    lines = Path(f'/proc/{pid}/smaps_rollup').read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith('Pss:'))


def _rate(loader, count: int) -> float:
    start = time.perf_counter()
    for _ in loader:
        pass
    return count / (time.perf_counter() - start)
