"""The loop in one process: each image once, on after interruptions, nothing mixed."""

import csv
import json
import os
import shutil
from collections import Counter
from functools import partial
from pathlib import Path

import pytest

from bulk_jobs import StubLabeller, mean_of, write_images
from fiber_mmdet.apis.run_journal import OtherRunError
from fiber_mmdet.bulk import Output, Rules, Source, Task, label, reading
from fiber_mmdet.bulk.tasks import with_absolute_paths
from fiber_mmdet.bulk.worker import AllFailed
from fiber_mmdet.outputs import OutputError


@pytest.fixture
def photos(tmp_path):
    """25 images, three of which are broken."""
    folder = tmp_path / 'photos'
    return folder, write_images(folder, 25, broken=3)


def run(folder, out, load=StubLabeller, task=None, **options):
    return label(Source(str(folder), block_size=4), Output(str(out), **options), task, load=load)


def records(out):
    lines = (out / 'detections.jsonl').read_text().splitlines()
    return {line['image']: line for line in map(json.loads, lines)}


def reasons(out):
    with open(out / 'unreadable.csv', newline='') as file:
        return {row['image']: row['reason'] for row in csv.DictReader(file)}


def test_every_image_once_and_the_broken_ones_with_their_reason(photos, tmp_path):
    folder, broken = photos
    out = tmp_path / 'out'
    report = run(folder, out, format='jsonl')
    found = records(out)
    names = sorted(path.relative_to(folder).as_posix() for path in folder.rglob('*.png'))
    assert list(found) == [name for name in names if name not in broken]
    assert all(said in reasons(out)[name] for name, said in broken.items())
    assert list(reasons(out)) == sorted(broken)
    one = found['0/0000.png']['detections'][0]
    assert one['score'] == round(mean_of(folder / '0/0000.png') / 255, 4)
    assert one['phrase'] == ('bright' if one['score'] > 0.5 else 'dark')
    assert (report.tally.images, report.tally.labelled, report.tally.unreadable) == (25, 22, 3)
    summary = json.loads((out / 'summary.json').read_text())
    assert summary['unreadable'] == 3 and sum(summary['boxes'].values()) == 22


def test_on_after_an_interruption_and_another_format(photos, tmp_path):
    folder, _ = photos

    class Stopped(StubLabeller):
        asked = 0

        def __call__(self, images, texts):
            Stopped.asked += len(images)
            if Stopped.asked > 9:
                raise KeyboardInterrupt
            return super().__call__(images, texts)

    out, whole = tmp_path / 'out', tmp_path / 'whole'
    with pytest.raises(KeyboardInterrupt):
        run(folder, out, Stopped, format='jsonl')
    assert not (out / 'detections.jsonl').exists()
    parts = sorted(path.name for path in next(out.glob('parts-*')).iterdir())
    assert parts == ['00000000.jsonl', '00000001.jsonl']
    run(folder, whole, format='jsonl')
    report = run(folder, out, format='jsonl')
    assert (report.before, report.blocks, report.images) == (2, 7, 17)
    assert records(out) == records(whole)

    def refuse(self, images, texts):
        raise AssertionError('all is done')

    report = run(folder, out, type('Idle', (StubLabeller,), dict(__call__=refuse)), format='coco')
    assert report.images == 0 and (out / 'detections.coco.json').is_file()
    lines = (out / 'run.jsonl').read_text().splitlines()
    assert len(lines) == len(set(lines))


def test_other_settings_and_other_images_are_refused(photos, tmp_path):
    folder, _ = photos
    out = tmp_path / 'out'
    run(folder, out, format='jsonl')
    before = {path: path.read_bytes() for path in out.rglob('*') if path.is_file()}
    with pytest.raises(OtherRunError, match='score_thr'):
        run(folder, out, task=Task(rules=Rules(0.2)), format='jsonl')
    shutil.copy(folder / '0/0000.png', folder / 'new.png')
    with pytest.raises(OtherRunError, match='source'):
        run(folder, out, format='jsonl')
    assert before == {path: path.read_bytes() for path in out.rglob('*') if path.is_file()}
    assert run(folder, out, format='jsonl', as_listed=True).images == 0
    assert run(folder, out, format='csv', overwrite=True).tally.images == 26
    assert not (out / 'detections.jsonl').exists()
    assert len(list(out.glob('parts-*'))) == 1


def test_folders_that_cannot_be_used(photos, tmp_path):
    folder, _ = photos
    with pytest.raises(OutputError, match='looked at'):
        run(folder, folder / 'labels')
    (tmp_path / 'file').write_text('')
    with pytest.raises(OutputError, match='is a file'):
        run(folder, tmp_path / 'file')
    with pytest.raises(ValueError, match='tsv'):
        run(folder, tmp_path / 'out', format='tsv')


def test_an_image_that_the_model_refuses_and_a_model_that_refuses_all(photos, tmp_path):
    """One is listed; if nothing works, the job ends, and nothing is listed."""
    folder, broken = photos
    mean = mean_of(folder / '0/0002.png')

    class Refusing(StubLabeller):
        def _record(self, image):
            if round(float(image.mean()), 4) == mean:
                raise RuntimeError('too round')
            return super()._record(image)

    run(folder, tmp_path / 'one', Refusing, format='jsonl')
    assert reasons(tmp_path / 'one')['0/0002.png'] == 'the model fails: too round'
    assert len(records(tmp_path / 'one')) == 25 - len(broken) - 1
    with pytest.raises(AllFailed, match='RuntimeError: no kernel'):
        run(folder, tmp_path / 'all', partial(StubLabeller, fail='no kernel'), format='jsonl')


def test_a_store_that_does_not_answer(photos, tmp_path, monkeypatch):
    """A file is tried again; if nothing comes, the job ends, and goes on once it does."""
    folder, broken = photos
    asked: Counter = Counter()
    answers = set()

    def read(place):
        name = Path(place).relative_to(folder).as_posix()
        asked[name] += 1
        if name in broken or name in answers or asked[name] == 3 and 'third' in answers:
            return Path(place).read_bytes()
        raise TimeoutError(110, 'Connection timed out')

    monkeypatch.setattr(reading, 'WAITS', (0, 0))
    monkeypatch.setattr(reading, 'read_bytes', read)
    with pytest.raises(OSError, match='0/0000.png: Connection timed out'):
        run(folder, tmp_path / 'out', format='jsonl')
    answers.add('0/0000.png')
    asked.clear()
    two = list_of(folder, ['0/0000.png', '0/0002.png'])
    run(two, tmp_path / 'two')
    assert reasons(tmp_path / 'two') == {'0/0002.png': 'Connection timed out'}
    assert asked['0/0002.png'] == 3
    answers.add('third')
    asked.clear()
    report = run(folder, tmp_path / 'out', format='jsonl')
    assert report.tally.unreadable == len(broken) and asked['0/0002.png'] == 3
    answers.add('0/0002.png')
    assert run(two, tmp_path / 'two').tally.unreadable == 1
    assert run(two, tmp_path / 'two', again=True).tally.unreadable == 0
    assert not (tmp_path / 'two/unreadable.csv').exists()


def list_of(folder, names):
    """A list of images in the folder."""
    path = folder / 'list.txt'
    path.write_text('\n'.join(names))
    return path


def test_names_in_shards_that_lead_out_of_the_folder(photos, tmp_path):
    pytest.importorskip('webdataset', reason='the extra shards is not installed')
    from test_sources import shard

    content = (photos[0] / '0/0000.png').read_bytes()
    shard(tmp_path / 's.tar', [('../../../evil.png', content), ('good.png', content)])
    label(
        Source(str(tmp_path / 's.tar')),
        Output(tmp_path / 'out', 'jsonl', keep_images=True),
        load=StubLabeller,
    )
    assert list(reasons(tmp_path / 'out')) == ['s/../../../evil.png']
    assert sorted(path.name for path in (tmp_path / 'out/images').rglob('*.png')) == ['good.png']
    assert not list(tmp_path.rglob('evil.png'))


@pytest.mark.skipif(not hasattr(os, 'fork'), reason='kills copies of this process')
def test_an_image_that_kills_the_process(photos, tmp_path):
    """It is found by noting what is in work; the others of its block are labelled."""
    folder, broken = photos
    out = tmp_path / 'out'
    load = partial(StubLabeller, kill_at=mean_of(folder / '0/0010.png'))
    ends = []
    for _ in range(4):
        child = os.fork()
        if not child:
            try:
                run(folder, out, load, format='jsonl')
                os._exit(0)
            finally:
                os._exit(1)
        ends.append(os.waitpid(child, 0)[1])
    assert ends == [9, 9, 9, 0]
    assert 'died' in reasons(out)['0/0010.png']
    assert len(records(out)) == 25 - len(broken) - 1
    assert not list(out.rglob('*.attempt')) and not list(out.rglob('.*.part'))


def test_a_damaged_part_is_named(photos, tmp_path):
    folder, _ = photos
    run(folder, tmp_path, format='jsonl')
    part = next(tmp_path.glob('parts-*/00000003.jsonl'))
    part.write_text(part.read_text()[:-40])
    with pytest.raises(OutputError, match='00000003.jsonl is damaged: remove it'):
        run(folder, tmp_path, format='jsonl')
    part.unlink()
    assert run(folder, tmp_path, format='jsonl').images == 4


def test_names_that_are_no_unicode(tmp_path):
    """They go through all files, as in the rest of the package."""
    folder = tmp_path / 'photos'
    write_images(folder, 1)
    try:
        os.rename(folder / '0/0000.png', os.fsencode(folder / '0') + b'/\xff.png')
    except OSError:
        pytest.skip('this file system has names in unicode only')
    run(folder, tmp_path / 'out', format='coco')
    content = json.loads((tmp_path / 'out/detections.coco.json').read_text())
    assert content['images'][0]['file_name'] == '0/\udcff.png'


def test_full_disk(photos, tmp_path, monkeypatch):
    """Nothing is lost: the parts stay, and the same command ends the job."""
    folder, _ = photos
    from fiber_mmdet.bulk import merging

    def full(*_):
        raise OSError(28, 'No space left on device', 'detections.jsonl')

    with monkeypatch.context() as patch:
        patch.setattr(merging, 'save_results', full)
        with pytest.raises(OSError, match='No space left'):
            run(folder, tmp_path / 'out', format='jsonl')
    report = run(folder, tmp_path / 'out', format='jsonl')
    assert (report.images, report.tally.labelled) == (0, 22)


def test_files_have_the_same_name_in_all_processes(photos, tmp_path, monkeypatch):
    """Workers of a cluster start in other folders."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / 'words.json').write_text('{}')
    task = Task(
        config='fiber://fiber-mini',
        weights='photos',
        prompt='a star',
        prompt_options=dict(descriptions='words.json', chunked_size=8),
    )
    found = with_absolute_paths(task)
    assert (found.config, found.weights) == ('fiber://fiber-mini', str(tmp_path / 'photos'))
    assert found.prompt_options == dict(descriptions=str(tmp_path / 'words.json'), chunked_size=8)
    (block,) = Source('photos').blocks()
    assert block['root'] == str(tmp_path / 'photos')
    (block,) = Source('photos/0/0000.png').blocks()
    assert (block['root'], block['names']) == (str(tmp_path / 'photos/0'), ['0000.png'])
