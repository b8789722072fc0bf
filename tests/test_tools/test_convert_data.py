"""tools/convert_data.py: from the files of another tool to what the configs of own data read."""

import json
import sys
from pathlib import Path

import pytest
from PIL import Image

import convert_data as tool
from fiber_mmdet.formats.kinds import FORMATS


@pytest.fixture
def run(monkeypatch, capsys):
    def run(*arguments):
        monkeypatch.setattr(sys, 'argv', ['convert_data.py', *map(str, arguments)])
        return tool.main(), *capsys.readouterr()

    return run


@pytest.fixture
def folder(tmp_path):
    """Ten images with labels in YOLO's format; two names are usual, one is not."""
    root = tmp_path / 'yolo'
    (root / 'images').mkdir(parents=True)
    (root / 'labels').mkdir()
    (root / 'data.yaml').write_text('names: [cat, dog, emu, fox]')
    for i in range(10):
        Image.new('RGB', (20, 10), (i, 0, 0)).save(root / f'images/{i}.png')
        labels = [f'{i % 2} 0.5 0.5 1 1', *['2 0.5 0.5 0.5 0.5'] * (i == 4)]
        (root / f'labels/{i}.txt').write_text('\n'.join(labels))
    return root


def test_a_folder_becomes_what_the_configs_read(run, folder, tmp_path):
    out = tmp_path / 'out'
    code, said, _ = run(folder, out, '--split', 0.6, 0.2, 0.2)
    assert code == 0 and '(yolo)' in said
    rows = {line[:14].strip(): line[14:].split() for line in said.splitlines()[1:]}
    assert rows['images'] == ['6', '2', '2'] and rows['emu'] == ['1', '0', '0']
    assert rows['fox'] == ['0', '0', '0']
    for part in ('train', 'val', 'test'):
        file = json.loads((out / f'annotations/{part}.json').read_text())
        assert [category['name'] for category in file['categories']] == ['cat', 'dog', 'emu', 'fox']
        assert all((out / part / image['file_name']).is_file() for image in file['images'])


def test_errors_are_one_line(run, folder, tmp_path):
    (folder / 'labels/3.txt').write_text('0 0.5 0.5 1\n')
    code, _, said = run(folder, tmp_path / 'out')
    assert code == 1 and said.count('\n') == 1 and '3.txt, line 1 has 4 numbers' in said
    assert not (tmp_path / 'out').exists()


def test_the_tool_knows_all_formats():
    assert tuple(FORMATS) == tool.KINDS


def test_of_many_names_the_rare_ones_are_shown():
    counts = {'images': 9, 'without a box': 0, 'boxes': 99}
    lines = tool.lines_of({'train': counts | {f'name {i}': i for i in range(50)}}, most=3)
    assert lines[4:] == [
        '(47 more frequent names)',
        *(f'{f"name {i}":13}{i:9}' for i in (2, 1, 0)),
    ]


def test_the_walk_of_the_docs(run, shared_dir, tmp_path):
    """The figures of docs/custom_data.md, from a real set in Pascal VOC's format."""
    source = shared_dir / 'data/raccoon'
    if not source.is_dir():
        pytest.skip('the raccoon set is not in the shared folder')
    code, said, _ = run(source, tmp_path / 'raccoon', '--split', 0.7, 0.15, 0.15, '--link')
    page = (Path(tool.__file__).parents[1] / 'docs/custom_data.md').read_text(encoding='utf-8')
    assert code == 0
    for line in said.splitlines()[1:6]:
        assert line in page
    assert '4 groups (images/raccoon-11.jpg = images/raccoon-116.jpg' in said
    assert 'images/raccoon-21.jpg (val) ~ images/raccoon-45.jpg (test)' in said
