"""Files that are written: whole or not at all, never onto an input, never two onto one."""

import errno
import json
import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from fiber_mmdet import whole_files
from fiber_mmdet.outputs import (
    OutputError,
    distinct_names,
    image_format,
    refuse_inputs,
    write_image,
    write_json,
    write_text,
    writing,
)

PIXELS = np.full((8, 9, 3), 200, np.uint8)


def files(folder):
    return sorted(path.name for path in folder.iterdir())


@pytest.fixture
def full_disk(monkeypatch):
    """Files are opened, and nothing more fits onto the disk."""

    def refuse(*_):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(whole_files.os, 'fsync', refuse)


# ------------------------------------------------------------------ inputs
def names_of_one_file(folder: Path) -> list[Path]:
    """A file by several names."""
    (folder / 'photo.jpg').write_bytes(b'photo')
    (folder / 'sub').mkdir()
    os.link(folder / 'photo.jpg', folder / 'hard.jpg')
    os.symlink(folder / 'photo.jpg', folder / 'soft.jpg')
    os.symlink(folder, folder / 'sub/up')
    names = ('photo.jpg', 'hard.jpg', 'soft.jpg', 'sub/../photo.jpg', 'sub/up/photo.jpg')
    return [folder / name for name in names]


@pytest.mark.parametrize('index', range(5))
def test_an_input_is_not_overwritten_under_any_name(tmp_path, index, monkeypatch):
    place = names_of_one_file(tmp_path)[index]
    monkeypatch.chdir(tmp_path)
    for write in (
        lambda: write_text(place, 'x', ['photo.jpg']),
        lambda: write_json(place, [], [tmp_path / 'photo.jpg']),
        lambda: write_image(place, PIXELS, [None, 'photo.jpg']),
        lambda: refuse_inputs([None, place], ['photo.jpg']),
    ):
        with pytest.raises(OutputError, match='is read as well and would be lost'):
            write()
    assert (tmp_path / 'photo.jpg').read_bytes() == b'photo'


def test_one_file_is_not_written_twice(tmp_path):
    with pytest.raises(OutputError, match='out.json.* would be written twice'):
        refuse_inputs([tmp_path / 'out.json', tmp_path / 'sub/../out.json'], [])
    refuse_inputs([tmp_path / 'out.json', tmp_path / 'out.jpg'], ['random', None])


@pytest.mark.parametrize(
    'place, message', [('', 'no name'), (' ', 'no name'), ('.', 'is a folder')]
)
def test_places_where_nothing_can_be_written(place, message):
    with pytest.raises(OutputError, match=message):
        write_text(place, 'x')


# ------------------------------------------------------------ whole or none
def test_folders_are_made_and_links_and_permissions_stay(tmp_path):
    write_json(tmp_path / 'new/folder/a.json', {'ä': 1}, indent=1)
    path = tmp_path / 'new/folder/a.json'
    assert json.loads(path.read_text(encoding='utf-8')) == {'ä': 1}
    path.chmod(0o600)
    os.symlink(path, tmp_path / 'latest')
    write_text(tmp_path / 'latest', 'two')
    assert path.read_text() == 'two' and (tmp_path / 'latest').is_symlink()
    assert path.stat().st_mode & 0o777 == 0o600
    assert files(tmp_path / 'new/folder') == ['a.json']


def test_devices_are_written_in_place():
    write_text(os.devnull, 'x')
    assert not Path(os.devnull).is_file()


def test_a_full_disk_leaves_what_was_there(tmp_path, full_disk):
    kept = tmp_path / 'kept.png'
    kept.write_bytes(b'before')
    for write in (
        lambda: write_text(kept, 'x' * 1000),
        lambda: write_json(kept, list(range(1000))),
        lambda: write_image(kept, PIXELS),
        lambda: write_text(tmp_path / 'new.txt', 'x'),
    ):
        with pytest.raises(OSError, match=r'(kept.png|new.txt)') as error:
            write()
        assert error.value.errno == errno.ENOSPC and '.part' not in str(error.value)
    assert files(tmp_path) == ['kept.png'] and kept.read_bytes() == b'before'


@pytest.mark.parametrize('interruption', [KeyboardInterrupt, RuntimeError])
def test_an_interrupted_write_leaves_what_was_there(tmp_path, interruption):
    (tmp_path / 'kept').write_text('before')
    with pytest.raises(interruption):
        with writing(tmp_path / 'kept') as part:
            part.write_text('hal')
            raise interruption
    assert files(tmp_path) == ['kept'] and (tmp_path / 'kept').read_text() == 'before'


def test_long_names_and_half_characters(tmp_path):
    name = 'ä' * 120 + '.json'  # 245 bytes of at most 255
    write_json(tmp_path / name, {'path': 'caf\udce9.jpg'})
    assert json.loads((tmp_path / name).read_bytes()) == {'path': 'caf\udce9.jpg'}


# ---------------------------------------------------------------- drawings
@pytest.mark.parametrize('ending', ['jpg', 'PNG', 'webp', 'tiff'])
def test_the_ending_says_the_format(tmp_path, ending):
    path = write_image(tmp_path / f'a.{ending}', PIXELS, quality=95)
    assert Image.open(path).format == image_format(path)


@pytest.mark.parametrize('name', ['found', 'found.', 'found.xyz', 'found.json', 'a.b/found'])
def test_other_endings_are_refused_before_anything_is_written(tmp_path, name):
    with pytest.raises(OutputError, match="ending.*'found.jpg'"):
        write_image(tmp_path / name, PIXELS)
    assert not files(tmp_path)


@pytest.mark.parametrize('ending, side', [('jpg', 65501), ('webp', 16384)])
def test_drawings_that_a_format_cannot_hold(tmp_path, ending, side):
    with pytest.raises(OutputError, match=f'1x{side} pixels is too large .* ends in .png'):
        write_image(tmp_path / f'sheet.{ending}', np.zeros((side, 1, 3), np.uint8))
    write_image(tmp_path / 'sheet.png', np.zeros((side, 1, 3), np.uint8))
    assert files(tmp_path) == ['sheet.png']


# ------------------------------------------------------------------- names
@pytest.mark.parametrize(
    'given, names',
    [
        (['a.jpg', 'b.png'], ['a', 'b']),
        (['a.jpg', 'a.png'], ['a.jpg', 'a.png']),
        (['a.jpg', 'a.png', 'a.jpg.png'], ['a.jpg', 'a.png', 'a.jpg.png']),
        (['a.jpg', 'a.jpg.png', 'a.jpg.png.gif'], ['a', 'a.jpg', 'a.jpg.png']),
        (['A.jpg', 'a.jpg', 'a (2).jpg'], ['A.jpg', 'a (2).jpg', 'a (2)']),
    ],
)
def test_each_of_several_files_gets_a_name(given, names):
    found = distinct_names([Path('folder', name) for name in given])
    assert found == names and len({name.casefold() for name in found}) == len(given)
