"""Runs of tools/demo.py over folders: one file about all images, and runs that were interrupted."""

import json
import os
import runpy
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from pycocotools.coco import COCO
from test_demo import DEMO, demo  # noqa: F401

from fiber_mmdet.apis import FIBERInferencer
from fiber_mmdet.apis.result_files import FORMATS
from fiber_mmdet.apis.run_journal import model_settings, prompt_settings

PROMPT = ('star. red circle', '--custom-entities', '--score-thr', 0)


class Killed(BaseException):
    """Ends a program as a signal does: nobody catches it."""


@pytest.fixture
def searched(monkeypatch):
    """Names of the images that are searched, in order; killed at those among ``fatal``."""
    detect, names = FIBERInferencer.detect, []

    def noted(find, image, **options):
        names.append(Path(image).name)
        if names[-1] in searched.fatal:
            raise Killed
        return detect(find, image, **options)

    searched.fatal = set()
    monkeypatch.setattr(FIBERInferencer, 'detect', noted)
    return names


searched.fatal = set()


def test_formats_of_the_tool_are_those_of_the_package():
    assert runpy.run_path(str(DEMO))['TABLES'] == {
        name: ending for name, (ending, _) in FORMATS.items()
    }


def test_one_file_about_all_images(demo, folder, tmp_path, capsys):
    """In each format; what is broken is listed, and is not in it."""
    arrow = pytest.importorskip('pyarrow.parquet', reason='the extra tables is not installed')
    (folder / 'broken.png').write_bytes(b'nothing')
    out, files = tmp_path / 'found', {}
    for kind, (ending, _) in FORMATS.items():
        files[kind] = out / f'detections{ending}'
        assert demo(folder, *PROMPT, '--out', out, '--format', kind) == 1
        said = capsys.readouterr()
        assert 'images failed:' in said.err and 'broken.png' in said.err
        assert f'wrote {files[kind]}' in said.out
    records = {name: json.loads((out / f'{name}.json').read_text()) for name in 'abc'}
    boxes = sum(len(record['detections']) for record in records.values())
    assert boxes
    coco = COCO(files['coco'])
    assert [image['file_name'] for image in coco.imgs.values()] == ['a.png', 'b.png', 'c.png']
    assert len(coco.anns) == boxes and all(one['bbox'][2] > 0 for one in coco.anns.values())
    assert {one['name'] for one in coco.cats.values()} == {'star', 'red circle'}
    assert len(files['csv'].read_text().splitlines()) == boxes + 1
    assert len(arrow.read_table(files['parquet'])) == boxes
    lines = [json.loads(line) for line in files['jsonl'].read_text().splitlines()]
    assert lines == [dict(record, image=f'{n}.png') for n, record in records.items()]
    tasks = json.loads(files['labelstudio'].read_text())
    assert tasks[0]['data']['image'] == '/data/local-files/?d=images/a.png'
    assert sum(len(task['predictions'][0]['result']) for task in tasks) == boxes


def test_a_single_image(demo, folder, tmp_path):
    out = tmp_path / 'found.png'
    assert demo(folder / 'a.png', *PROMPT, '--out', out, '--format', 'csv') == 0
    rows = out.with_suffix('.csv').read_text().splitlines()
    assert len(rows) > 1 and rows[1].startswith('a.png,80,60,')


def test_a_run_goes_on_where_it_ended(demo, folder, tmp_path, searched, capsys):
    whole, out = tmp_path / 'whole', tmp_path / 'found'
    assert demo(folder, *PROMPT, '--out', whole, '--format', 'coco') == 0
    searched.clear()
    searched_at = globals()['searched']
    searched_at.fatal = {'b.png'}
    with pytest.raises(Killed):
        demo(folder, *PROMPT, '--out', out, '--format', 'coco')
    assert searched == ['a.png', 'b.png'] and not (out / 'detections.coco.json').exists()
    with open(out / 'run.jsonl', 'a') as journal:
        journal.write('{"image": "b.p')  # a line that was not finished
    searched_at.fatal = set()
    searched.clear()
    assert demo(folder, *PROMPT, '--out', out, '--format', 'coco') == 0
    assert searched == ['b.png', 'c.png']
    assert '1 of 3 images were done before' in capsys.readouterr().out
    assert {file.name: file.read_bytes() for file in out.iterdir()} == {
        file.name: file.read_bytes() for file in whole.iterdir()
    }
    # all is done: only the file about all is written again, here in another format
    searched.clear()
    assert demo(folder, *PROMPT, '--out', out, '--format', 'csv') == 0
    assert not searched and (out / 'detections.csv').stat().st_size


def test_what_changed_is_searched_again(demo, folder, tmp_path, searched):
    out = tmp_path / 'found'
    assert demo(folder, *PROMPT, '--out', out) == 0
    before = (out / 'b.json').read_bytes()
    shutil.copy2(folder / 'c.png', folder / 'b.png')
    (out / 'c.jpg').unlink()
    Image.fromarray(np.zeros((40, 40, 3), np.uint8)).save(folder / 'new.png')
    searched.clear()
    assert demo(folder, *PROMPT, '--out', out) == 0
    assert searched == ['b.png', 'c.png', 'new.png'] and (out / 'b.json').read_bytes() != before


def test_runs_of_other_settings_are_not_mixed(demo, folder, tmp_path, searched, capsys):
    out, other = tmp_path / 'found', tmp_path / 'others'
    assert demo(folder, *PROMPT, '--out', out, '--format', 'csv') == 0
    (folder / 'a.png').unlink()
    shutil.copytree(folder, other)
    before = {file: file.read_bytes() for file in out.iterdir()}
    searched.clear()
    for arguments, said in (
        ((folder, 'star', '--score-thr', 0), 'prompt "star. red circle", now "star"'),
        ((folder, *PROMPT[:3], 0.2), 'score_thr 0.0, now 0.2'),
        ((other, *PROMPT), f'{other.name}"'),
    ):
        assert demo(*arguments, '--out', out) == 1
        message = capsys.readouterr().err
        assert 'run.jsonl is of a run with other settings' in message and said in message
    assert not searched and {file: file.read_bytes() for file in out.iterdir()} == before
    assert demo(folder, 'star', '--out', out, '--overwrite') == 0
    assert searched == ['b.png', 'c.png']
    # what the other run left is gone, of images that are no longer there, too
    assert sorted(file.name for file in out.iterdir()) == [
        'b.jpg',
        'b.json',
        'c.jpg',
        'c.json',
        'run.jsonl',
    ]


def test_settings_tell_models_and_prompts_apart(find):
    def settings():
        found = model_settings(find.model, find.config)
        return [found['weights'], found['config'], prompt_settings(find)]

    find.set_prompt('star . ring')
    first = settings()
    assert settings() == first
    find.set_prompt('star . ring', chunked_size=1)
    assert [a == b for a, b in zip(first, settings())] == [True, True, False]
    gate = next(value for name, value in find.model.named_parameters() if 'gate' in name)
    before = gate.data.clone()
    try:
        gate.data += 1e-6
        assert settings()[0] != first[0]
    finally:
        gate.data.copy_(before)


def test_a_strange_journal_removes_nothing(demo, folder, tmp_path, capsys):
    out, precious = tmp_path / 'found', tmp_path / 'precious.txt'
    out.mkdir()
    precious.write_text('mine')
    journal = out / 'run.jsonl'
    names = ['../precious.txt', str(precious), '..', '', 7]
    journal.write_text(json.dumps(dict(settings={})) + '\n' + json.dumps(dict(files=names)) + '\n')
    assert demo(folder, *PROMPT, '--out', out, '--overwrite') == 0
    assert precious.read_text() == 'mine'
    journal.write_text('my notes\nabout it\n')
    assert demo(folder, *PROMPT, '--out', out, '--overwrite') == 1
    assert 'run.jsonl, line 1, is not of a run' in capsys.readouterr().err
    assert journal.read_text() == 'my notes\nabout it\n'
    with pytest.raises(SystemExit):
        demo(folder / 'a.png', 'star', '--overwrite')


@pytest.mark.processes
def test_kill_loses_the_image_in_work(config_file, weights_file, folder, tmp_path):
    for number in range(60):
        shutil.copy(folder / 'a.png', folder / f'x{number}.png')
    out = tmp_path / 'found'
    command = [sys.executable, str(DEMO), str(folder), 'star . red circle', '--out', str(out)]
    command += ['--config', str(config_file), '--weights', str(weights_file), '--device', 'cpu']
    command += ['--format', 'coco']
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    end = time.monotonic() + 120
    while len(list(out.glob('*.json'))) < 5 and process.poll() is None and time.monotonic() < end:
        time.sleep(0.01)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    done = [json.loads(line) for line in (out / 'run.jsonl').read_text().splitlines()[1:]]
    assert 4 <= len(done) < 63
    times = {one['image']: [(out / f).stat().st_mtime_ns for f in one['files']] for one in done}
    again = subprocess.run(command, capture_output=True, text=True)
    assert again.returncode == 0 and f'{len(done)} of 63 images were done before' in again.stdout
    for one in done:
        assert [(out / f).stat().st_mtime_ns for f in one['files']] == times[one['image']]
    assert len(COCO(out / 'detections.coco.json').imgs) == 63
    assert not list(out.glob('.*'))
