"""tools/demo.py as people run it."""

import inspect
import json
import os
import runpy
import sys
from pathlib import Path

import pytest
from PIL import Image

from fiber_mmdet.apis import SCORE_THR, FIBERInferencer
from fiber_mmdet.apis.loading import load_detector
from official_files import write_detector

DEMO = Path(__file__).resolve().parents[2] / 'tools' / 'demo.py'


@pytest.fixture
def demo(monkeypatch, config_file, weights_file):
    """Runs the demo with the tiny detector; returns the exit code."""

    def run(*args):
        model = ['--config', config_file, '--weights', weights_file, '--device', 'cpu']
        monkeypatch.setattr(sys, 'argv', ['demo.py', *map(str, [*args, *model])])
        return runpy.run_path(str(DEMO))['main']()

    return run


def test_packaged_scene(demo, tmp_path, capsys):
    drawing, detections = tmp_path / 'out.jpg', tmp_path / 'out.json'
    assert demo('--out', drawing, '--json', detections, '--score-thr', '0') == 0
    read = json.loads(detections.read_text())
    assert drawing.stat().st_size > 0 and read['phrases'][0] == 'a red ring'
    printed = capsys.readouterr().out
    assert 'score' in printed and str(drawing) in printed and str(detections) in printed


def test_one_threshold(demo, monkeypatch):
    """The tool says its default without the slow import; it is that of the package."""
    module = runpy.run_path(str(DEMO))
    monkeypatch.setattr(sys, 'argv', ['demo.py'])
    assert module['parse_args']().score_thr == SCORE_THR
    for method in ('__call__', 'ground', 'detect', 'stream'):
        parameters = inspect.signature(getattr(FIBERInferencer, method)).parameters
        assert parameters['score_thr'].default is SCORE_THR


def test_an_official_file(monkeypatch, config_file, weights_file, folder, tmp_path, capsys):
    """As the reference's trainer saves it, with the optimizer and averages: the same boxes."""
    model, *_ = load_detector(config_file, weights_file, 'cpu')
    write_detector(tmp_path / 'official.pth', model)
    found = []
    for weights in (weights_file, tmp_path / 'official.pth'):
        file = tmp_path / f'{weights.stem}.json'
        arguments = [folder / 'a.png', 'star. red circle', '--config', config_file, '--weights']
        arguments += [weights, '--device', 'cpu', '--json', file, '--out', tmp_path / 'out.jpg']
        monkeypatch.setattr(sys, 'argv', ['demo.py', *map(str, arguments), '--score-thr', '0'])
        assert runpy.run_path(str(DEMO))['main']() == 0
        found.append(json.loads(file.read_text()))
    assert found[0] == found[1] and found[0]['detections']


def test_folder(demo, folder, tmp_path, capsys):
    (folder / 'broken.png').write_bytes(b'nothing')
    (folder / 'a.bmp').write_bytes((folder / 'a.png').read_bytes())
    out = tmp_path / 'found'
    assert demo(folder, 'star. red circle', '--custom-entities', '--out', out) == 1
    assert sorted(path.name for path in out.iterdir()) == sorted(
        ['run.jsonl']
        + [f'{name}.{kind}' for name in ('a.bmp', 'a.png', 'b', 'c') for kind in ('jpg', 'json')]
    )
    assert json.loads((out / 'b.json').read_text())['phrases'] == ['star', 'red circle']
    assert 'broken.png' in capsys.readouterr().err


def test_phrases_and_descriptions(demo, folder, tmp_path, capsys):
    image, out = folder / 'a.png', tmp_path / 'out.jpg'

    def asked(*arguments):
        assert demo(image, *arguments, '--out', out, '--score-thr', 0) == 0
        return json.loads(out.with_suffix('.json').read_text())

    caption = 'a star beside a red circle'
    found = asked(caption, '--phrases', 'red circle; star')
    assert found['phrases'] == ['red circle', 'star'] and found['caption'] == caption
    assert demo(image, caption, '--phrases', 'square', '--out', out) == 1
    assert "'square' does not occur" in capsys.readouterr().err
    file = tmp_path / 'shapes.json'
    file.write_text(json.dumps({'ring': ['shape', ['a hole']], 'star': ['shape', []]}))
    found = asked('--descriptions', file)
    assert found['caption'] == 'Detect: ring, a kind of shape, a hole. star, a kind of shape. '
    found = asked('star', '--descriptions', file)
    assert found['phrases'] == ['star']
    assert demo(image, 'moon', '--descriptions', file, '--out', out) == 1
    assert "shapes.json describes none of the 1 names ('moon')" in capsys.readouterr().err
    file.write_text('{"ring": "round"}')
    assert demo(image, 'star', '--descriptions', file, '--out', out) == 1
    assert "'ring' has description 'round'" in capsys.readouterr().err
    assert demo(image, 'star', '--descriptions', file, '--json', file, '--out', out) == 1
    assert file.read_text() == '{"ring": "round"}'


def test_errors_are_one_line(demo, capsys):
    assert demo('no/such.jpg', 'a star') == 1
    error = capsys.readouterr().err.strip().splitlines()
    assert error[-1].startswith('error: ') and 'such.jpg' in error[-1]
    with pytest.raises(SystemExit):
        demo('image.jpg')
    assert 'what to look for' in capsys.readouterr().err


def test_the_image_is_not_overwritten(demo, folder, tmp_path, monkeypatch, capsys):
    photo = tmp_path / 'demo.jpg'
    Image.open(folder / 'a.png').save(photo)
    os.link(photo, tmp_path / 'other.jpg')
    before = photo.read_bytes()
    monkeypatch.chdir(tmp_path)
    for arguments in (
        [photo],
        ['demo.jpg', '--out', 'other.jpg'],
        [photo, '--out', 'out.png', '--json', photo],
        [photo, '--out', 'out.jpg', '--json', 'out.jpg'],
    ):
        assert demo(arguments[0], 'a star', *arguments[1:]) == 1
        assert 'choose another file with --out' in capsys.readouterr().err
    assert photo.read_bytes() == before
    assert sorted(path.name for path in tmp_path.glob('*.*')) == ['demo.jpg', 'other.jpg']


def test_images_of_a_folder_are_not_overwritten(demo, folder, capsys):
    for name in 'abc':
        Image.open(folder / f'{name}.png').convert('RGB').save(folder / f'{name}.jpg')
        (folder / f'{name}.png').unlink()
    before = {path: path.read_bytes() for path in folder.glob('*.jpg')}
    assert demo(folder, 'a star', '--out', folder) == 1
    assert 'choose another folder with --out' in capsys.readouterr().err
    assert {path: path.read_bytes() for path in folder.glob('*.jpg')} == before


def test_each_image_gets_its_own_files(demo, folder, tmp_path):
    for name in ('a.jpg', 'a.jpg.png'):
        Image.open(folder / 'b.png').convert('RGB').save(folder / name)
    out = tmp_path / 'found'
    assert demo(folder, 'a star', '--out', out) == 0
    found = {json.loads(path.read_text())['image'] for path in out.glob('*.json')}
    assert found == {
        str(folder / f'{n}') for n in ('a.jpg', 'a.jpg.png', 'a.png', 'b.png', 'c.png')
    }
    assert len(list(out.glob('*.jpg'))) == 5


def test_other_endings_are_read_or_named(demo, folder, tmp_path, caplog):
    pixels = Image.open(folder / 'a.png').convert('RGB')
    pixels.save(folder / 'd.jfif', 'JPEG')
    for ending in ('gif', 'jp2', 'tga'):
        pixels.save(folder / f'e_{ending}.{ending}')
    out = tmp_path / 'found'
    assert demo(folder, 'a star', '--out', out) == 0
    assert {path.stem for path in out.glob('*.json')} == set('abcd') | {'e_gif', 'e_jp2', 'e_tga'}
    assert (
        'left out 1 file, not images by their ending' in caplog.text
        and '(notes.txt)' in caplog.text
    )


def test_failures_do_not_end_a_run_and_are_counted(demo, folder, tmp_path, monkeypatch, capsys):
    from fiber_mmdet.apis import GroundingResult

    (folder / 'broken.png').write_bytes(b'nothing')
    save = GroundingResult.save_json

    def fail_for_b(result, path):
        if path.stem == 'b':
            raise OSError(28, 'No space left on device', str(path))
        return save(result, path)

    monkeypatch.setattr(GroundingResult, 'save_json', fail_for_b)
    out = tmp_path / 'found'
    assert demo(folder, 'a star', '--out', out) == 1
    assert {path.stem for path in out.glob('*.json')} == {'a', 'c'}
    said = capsys.readouterr()
    assert 'wrote 2 drawings' in said.out
    assert '2 of 4 images failed:' in said.err
    listed = said.err[said.err.index('2 of 4 images failed') :]
    assert 'No space left' in listed and 'broken.png' in listed and 'b.png' in listed


def test_ctrl_c_keeps_what_is_done(demo, folder, tmp_path, monkeypatch, capsys):
    from fiber_mmdet.apis import FIBERInferencer

    detect = FIBERInferencer.detect

    def interrupted_at_b(find, image, **options):
        if str(image).endswith('b.png'):
            raise KeyboardInterrupt
        return detect(find, image, **options)

    monkeypatch.setattr(FIBERInferencer, 'detect', interrupted_at_b)
    out = tmp_path / 'found'
    assert demo(folder, 'a star', '--out', out) == 130
    assert sorted(path.name for path in out.iterdir()) == ['a.jpg', 'a.json', 'run.jsonl']
    assert 'interrupted: 1 of 3 images are done' in capsys.readouterr().err


@pytest.mark.parametrize(
    'arguments', [['', 'a star'], [' ', 'a star'], ['x.jpg', ' '], ['x.jpg', 'a star', '--out', '']]
)
def test_empty_arguments(demo, arguments, capsys):
    with pytest.raises(SystemExit):
        demo(*arguments)
    assert 'empty' in capsys.readouterr().err or arguments[1] == ' '


def test_a_drawing_without_an_ending_is_refused_at_once(demo, folder, tmp_path, capsys):
    assert demo(folder / 'a.png', 'a star', '--out', tmp_path / 'found') == 1
    assert "write to 'found.jpg'" in capsys.readouterr().err
    assert not (tmp_path / 'found').exists()
