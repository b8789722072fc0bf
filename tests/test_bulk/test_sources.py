"""What a job can be given: folders, lists, tables, shards; the same blocks each time."""

import importlib.util
import io
import tarfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from bulk_jobs import write_images
from fiber_mmdet.bulk import Source, SourceError
from fiber_mmdet.bulk.reading import images_of


@pytest.fixture(scope='module')
def photos(tmp_path_factory):
    """Ten images in two subfolders, one of which is broken."""
    folder = tmp_path_factory.mktemp('photos')
    write_images(folder, 10, broken=1, side=64)
    (folder / 'notes.md').write_text('no image')
    (folder / '.hidden.png').write_bytes(b'')
    return folder


def read(source):
    """Name -> reason, or the mean of its pixels, of all images."""
    return {
        image.name: image.reason or round(float(image.pixels.mean()), 3)
        for block in source.blocks()
        for image in images_of(block)
    }


def files(folder):
    return sorted(path for path in Path(folder).rglob('[0-9]*.png'))


def test_folder(photos):
    blocks = list(Source(str(photos), block_size=4).blocks())
    assert [len(block['names']) for block in blocks] == [4, 4, 2]
    names = [name for block in blocks for name in block['names']]
    assert names == [path.relative_to(photos).as_posix() for path in files(photos)]
    assert blocks == list(Source(str(photos), block_size=4).blocks())
    found = read(Source(str(photos)))
    broken = [name for name, said in found.items() if isinstance(said, str)]
    assert broken == ['1/0009.png'] and 'damaged' in found['1/0009.png']
    pixels = np.asarray(Image.open(photos / '0/0000.png'))
    assert found['0/0000.png'] == round(float(pixels.mean()), 3)


def test_a_changed_image_changes_its_block(photos, tmp_path):
    (tmp_path / 'a.png').write_bytes(b'one')
    before = list(Source(str(tmp_path)).blocks())
    (tmp_path / 'a.png').write_bytes(b'another')
    assert list(Source(str(tmp_path)).blocks()) != before


def test_links_are_followed_but_not_back(photos, tmp_path):
    """A linked folder is one more; links that lead back would list its images again and again."""
    folder = tmp_path / 'photos'
    (folder / 'own').mkdir(parents=True)
    (folder / 'own' / 'a.png').write_bytes(b'')
    (folder / 'own' / 'back').symlink_to(folder)
    (folder / 'linked').symlink_to(photos / '0')
    (block,) = Source(str(folder)).blocks()
    linked = [f'linked/{path.name}' for path in files(photos / '0')]
    assert block['names'] == [*linked, 'own/a.png']


def test_lists(photos, tmp_path, caplog):
    """Relative paths are below the folder of the list, or ``root``; repeated ones count once."""
    names = ['0/0000.png', '1/0001.png', '0/0000.png', str(photos / '0/0002.png'), 'gone.png']
    (photos / 'list.txt').write_text('\n'.join(names) + '\n\n')
    found = read(Source(str(photos / 'list.txt')))
    assert list(found) == ['0/0000.png', '1/0001.png', '0/0002.png', 'gone.png']
    assert found['gone.png'] == 'No such file or directory'
    assert '1 paths are listed again' in caplog.text
    (tmp_path / 'list.txt').write_text('0/0000.png\n')
    assert isinstance(
        read(Source(str(tmp_path / 'list.txt'), root=str(photos)))['0/0000.png'], float
    )


def test_addresses_are_read_as_paths(photos):
    """pyarrow's filesystems, of which only the local one is here."""
    pytest.importorskip('pyarrow', reason='the extra annotations is not installed')
    assert read(Source(f'file://{photos}')) == read(Source(str(photos)))
    with pytest.raises(SourceError, match='http://nowhere'):
        list(Source('http://nowhere/photos').blocks())


def shard(path, samples):
    with tarfile.open(path, 'w') as tar:
        for name, content in samples:
            info = tarfile.TarInfo(name)
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))


def test_shards(photos, tmp_path):
    """A block each; what stands behind a fault is reported, and so are samples without an image."""
    pytest.importorskip('webdataset', reason='the extra shards is not installed')
    content = [path.read_bytes() for path in files(photos)[:4]]
    samples = [(f'{i}.png', one) for i, one in enumerate(content)]
    samples.insert(1, ('0.json', b'{"caption": " a star "}'))
    samples.append(('4.txt', b'no image'))
    shard(tmp_path / 's0.tar', samples)
    whole = (tmp_path / 's0.tar').read_bytes()
    (tmp_path / 's1.tar').write_bytes(whole[: len(whole) // 2])
    found = read(Source(str(tmp_path)))
    assert [name for name in found if name.startswith('s0/')] == [
        *(f's0/{i}.png' for i in range(4)),
        's0/4',
    ]
    assert found['s0/4'] == 'there is no image in it'
    assert found['s1/0.png'] == found['s0/0.png'] and 'cannot be read to its end' in found['s1.tar']
    assert read(Source(str(tmp_path / '{s0,s1}.tar'))) == found
    if importlib.util.find_spec('pyarrow'):
        assert read(Source(f'file://{tmp_path}')) == found
    block = next(Source(str(tmp_path / 's0.tar'), text_from='json:caption').blocks())
    images = list(images_of(block, texts=True))
    assert images[0].text == 'a star' and images[0].content == content[0]
    assert 'no text' in images[1].reason


def test_tables(photos, tmp_path):
    """Of paths, and of image files in three forms; a row group is a block."""
    arrow = pytest.importorskip('pyarrow', reason='the extra annotations is not installed')
    parquet = pytest.importorskip('pyarrow.parquet')
    paths = files(photos)[:5]
    content = [path.read_bytes() for path in paths]
    columns = dict(
        structs=[dict(bytes=one, path=path.name) for one, path in zip(content, paths)],
        image=content,
        path=[path.relative_to(photos).as_posix() for path in paths],
        said=['a', 'b', '', None, 'e'],
    )
    file = tmp_path / 'photos.parquet'
    parquet.write_table(arrow.table(columns), file, row_group_size=2)

    def table(**options):
        return read(Source(str(file), **options))

    expected = [value for name, value in read(Source(str(photos))).items()][:5]
    assert table() == {f'photos/{i:08d}.png': value for i, value in enumerate(expected)}
    assert list(table(image_column='structs')) == [
        f'photos/{i:08d}-{path.name}' for i, path in enumerate(paths)
    ]
    assert list(table(image_column='structs').values()) == expected
    by_path = table(image_column='path', root=str(photos))
    assert by_path == dict(zip(columns['path'], expected))
    assert len(list(Source(str(file)).blocks())) == 3
    for column in ('image', 'path'):
        source = Source(str(file), str(photos), column, text_from='said')
        images = [one for block in source.blocks() for one in images_of(block, texts=True)]
        assert [image.text for image in images] == columns['said']
        assert [bool(image.reason) for image in images] == [False, False, True, True, False]
    with pytest.raises(SourceError, match="'photo'.*'structs', 'image'"):
        list(Source(str(file), image_column='photo').blocks())
    with pytest.raises(SourceError, match='said.*damaged|parquet'):
        (tmp_path / 'bad.parquet').write_bytes(b'PAR1')
        list(Source(str(tmp_path / 'bad.parquet')).blocks())


def test_what_is_no_source(photos, tmp_path):
    with pytest.raises(FileNotFoundError, match='nowhere'):
        list(Source('nowhere').blocks())
    (tmp_path / 'notes.md').write_text('no image')
    for place in (tmp_path, tmp_path / 'notes.md'):
        with pytest.raises(SourceError, match=str(place)):
            list(Source(str(place)).blocks())
    (tmp_path / 'empty.txt').write_text('\n')
    with pytest.raises(SourceError, match='empty'):
        list(Source(str(tmp_path / 'empty.txt')).blocks())
    with pytest.raises(SourceError, match='texts'):
        list(Source(str(photos), text_from='txt').blocks())
