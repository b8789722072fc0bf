"""Jobs on a local cluster of Ray: killed workers, a killed driver, and the same labels."""

import csv
import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import asdict
from functools import partial
from pathlib import Path

import pytest

from bulk_jobs import StubLabeller, mean_of, write_images
from fiber_mmdet.bulk import Source
from fiber_mmdet.bulk.blocks import block_places, write_blocks
from fiber_mmdet.bulk.on_ray import RemoteWorker, WorkerError, count_in
from fiber_mmdet.bulk.parts import PartCount
from fiber_mmdet.bulk.worker import Work

ROOT = Path(__file__).resolve().parents[2]
PROGRAM = ROOT / 'tests/support/bulk_jobs.py'
PATIENCE = 600  # seconds; a busy machine starts workers slowly

pytestmark = [
    pytest.mark.processes,
    pytest.mark.skipif(sys.platform == 'win32', reason='kills processes'),
]


@pytest.fixture(autouse=True)
def need_ray():
    pytest.importorskip('ray.data', reason='the extra ray is not installed')


def start(*command, **options):
    """A program in a session of its own, so that all it started can be found."""
    path = os.pathsep.join([str(ROOT), str(ROOT / 'tools'), str(PROGRAM.parent)])
    env = dict(
        os.environ,
        PYTHONPATH=path,
        OMP_NUM_THREADS='1',
        RAY_worker_niceness='0',  # workers are 15 by default, and starve on a busy machine
        RAY_DEDUP_LOGS='0',
    )
    return subprocess.Popen(
        [sys.executable, '-W', 'ignore', *map(str, command)],
        env=env,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
        **options,
    )


def finish(process):
    said, _ = process.communicate(timeout=PATIENCE)
    return process.returncode, said


def ray_processes(session):
    """Processes of Ray that a session left: numbers, and how they were called."""
    found = []
    for folder in Path('/proc').glob('[0-9]*'):
        try:
            fields = (folder / 'stat').read_text().rpartition(')')[2].split()
            name = (folder / 'cmdline').read_bytes()
        except OSError:
            continue
        if int(fields[3]) == session and fields[0] != 'Z' and b'ray' in name:
            found.append((int(folder.name), name[-100:]))
    return found


def wait_until(true, process):
    end = time.monotonic() + PATIENCE
    while not true():
        assert time.monotonic() < end, 'nothing happens'
        assert process.poll() is None, process.communicate()[0]
        time.sleep(0.1)


def test_killed_workers_and_drivers(tmp_path):
    """500 images, 10 of them broken: each once, and all as without Ray."""
    photos, out = tmp_path / 'photos', tmp_path / 'out'
    broken = write_images(photos, 500, broken=10)
    kill_at = mean_of(photos / '0/0042.png')  # in the third block
    driver = start(PROGRAM, photos, out, 1, kill_at, 0.05)

    def done():
        return len(list(out.glob('parts-*/*.jsonl')))

    wait_until(lambda: done() >= 12 and (tmp_path / 'out.killed').exists(), driver)
    driver.send_signal(signal.SIGKILL)
    driver.communicate()
    before = done()
    assert before < 50, 'it was over before it was killed'
    assert not (out / 'detections.jsonl').exists()
    if Path('/proc').is_dir():
        end = time.monotonic() + PATIENCE
        while left := ray_processes(driver.pid):
            assert time.monotonic() < end, f'processes {left} outlive their driver'
            time.sleep(0.5)
    code, said = finish(start(PROGRAM, photos, out, 1, '-', 0))
    assert code == 0, said
    done_before, blocks, images = map(int, said.splitlines()[-1].removeprefix('done').split())
    assert blocks == 50 and done_before >= before and images == 500 - 10 * done_before
    code, said = finish(start(PROGRAM, photos, tmp_path / 'plain', 0, '-', 0))
    assert code == 0, said
    for name in ('detections.jsonl', 'unreadable.csv', 'summary.json'):
        assert (out / name).read_bytes() == (tmp_path / 'plain' / name).read_bytes()
    lines = (out / 'detections.jsonl').read_text().splitlines()
    names = [json.loads(line)['image'] for line in lines]
    assert len(names) == len(set(names)) == 490 and not set(names) & set(broken)
    with open(out / 'unreadable.csv', newline='') as file:
        reasons = {row['image']: row['reason'] for row in csv.DictReader(file)}
    assert reasons.keys() == broken.keys()
    assert all(said in reasons[name] for name, said in broken.items())


def test_the_packaged_model_on_ray(tmp_path):
    """The tool's command line; labels are those of --no-ray. What a worker raises is one line."""
    photos = tmp_path / 'photos'
    write_images(photos, 6, broken=1, side=96)
    common = (ROOT / 'tools/label.py', photos, '--block-size', 2, '--device', 'cpu')
    names = ('--names', 'red circle', 'blue star', '--score-thr', 0.1)
    ran = start(*common, *names, '--out', tmp_path / 'ray')
    assert finish(ran)[0] == 1, 'one image is broken'
    ran = start(*common, *names, '--out', tmp_path / 'plain', '--no-ray')
    code, said = finish(ran)
    assert code == 1 and '1 of 6 images cannot be read' in said
    file = 'detections.coco.json'
    assert (tmp_path / 'ray' / file).read_bytes() == (tmp_path / 'plain' / file).read_bytes()
    content = json.loads((tmp_path / 'ray' / file).read_text())
    assert len(content['images']) == 5 and content['annotations']


def test_what_a_worker_raises_comes_back_as_a_line(tmp_path):
    """Also what it raises while it loads: Ray would start it again and again."""
    write_images(tmp_path / 'photos', 4)
    blocks = tmp_path / 'blocks.jsonl'
    write_blocks(blocks, Source(str(tmp_path / 'photos')).blocks())
    (place,) = block_places(blocks)
    (tmp_path / 'parts').mkdir()
    loads = (partial(StubLabeller, fail='no kernel'), partial(StubLabeller, gone=True))
    for load, said in zip(loads, ('RuntimeError: no kernel', 'TypeError: .*gone')):
        row = RemoteWorker(Work(blocks, tmp_path / 'parts', load))(asdict(place))
        with pytest.raises(WorkerError, match=said):
            count_in(row)
    other = Work(blocks, tmp_path / 'parts', StubLabeller, expected=dict(names=['other']))
    with pytest.raises(WorkerError, match='another names'):
        count_in(RemoteWorker(other)(asdict(place)))
    row = RemoteWorker(Work(blocks, tmp_path / 'parts', StubLabeller))(asdict(place))
    assert count_in(row) == PartCount(0, 4, 0)
