"""Files and fields of annotations: what is read, and what errors name."""

import json

import pytest

from fiber_mmdet.fields import (
    BOX,
    FLAG,
    ID,
    NAME,
    NUMBER,
    PATH,
    SIZE,
    SPANS,
    TEXT,
    check_distinct,
    check_record,
    check_table,
)
from fiber_mmdet.records import (
    path_below,
    read_ids,
    read_json,
    read_json_lines,
    read_numbered_lines,
)


@pytest.mark.parametrize(
    'kind, right, wrong',
    [
        (TEXT, ['', 'a', 'Ä', '😀'], [None, 3, ['a'], '\ud83d', b'a']),
        (NAME, ['a'], ['', ' \t', None, 3]),
        (PATH, ['a/b.jpg', 'a b'], ['', ' ', 'a\0b', None, 3]),
        (ID, [0, -3, 2.0, 'a'], [None, True, 2.5, [1], 'x' * 301]),
        (NUMBER, [0, 2.5, -1], [None, True, '3', float('nan'), float('inf'), [1]]),
        (SIZE, [1, 480, 480.0, '480'], [0, -1, '0', '4.5', 'wide', None, True, 1e9, '²']),
        (FLAG, [0, 1, True, False], ['0', 2, 0.5, None, [0]]),
        (BOX, [[1, 2, 3, 0], [-1.5, 2, 3, 4]], [[1, 2, 3], ['1', 2, 3, 4], [1, 2, -3, 4], 5, None]),
        (
            SPANS,
            [[], [[2, 5]], [[2, 5], [7, 9]]],
            [[2, 5], [[2]], [[2, '5']], '2', None, [[1, 2.5]]],
        ),
    ],
)
def test_kinds(kind, right, wrong):
    assert all(map(kind.fits, right)) and not any(map(kind.fits, wrong))


def test_lines_that_are_counted_have_no_blank_one_between_them(tmp_path):
    file = tmp_path / 'names.txt'
    file.write_text('\ufeffcat \r\ndog\n\n \n', encoding='utf-8')
    assert read_numbered_lines(str(file)) == ['cat', 'dog']
    file.write_text('cat\n \ndog\n')
    with pytest.raises(ValueError, match=r'names\.txt, line 2 is blank'):
        read_numbered_lines(str(file))
    file.write_text('')
    assert read_numbered_lines(str(file)) == []


def test_errors_name_place_field_value_and_remedy():
    fields = dict(id=ID, name=TEXT, spans=SPANS | None)
    check_record(dict(id=1, name='a', spans=None, other=object()), fields, 'F')
    for record, message in (
        (dict(id=1, name=3), 'F has name 3: it must be text, "3"'),
        (dict(id=1, name='a', spans=[2, 5]), r'F has spans \[2, 5\]: .* pairs, \[\[2, 5\]\]'),
        (dict(name='a'), "F has no 'id' .it has 'name'.: add it"),
        ([1], r"F is \[1\]: it must be an object with 'id', 'name'$"),
        (dict(id=1, name=['x' * 500]), r'F has name .{80}…: it must be text'),
    ):
        with pytest.raises(ValueError, match=message):
            check_record(record, fields, 'F')
    for rows, key, message in (
        ([dict(id=7, name='a'), dict(id=8, name=None)], 'id', 'F: row 8 has name None'),
        ([dict(id=7, name='a'), dict(name='b')], 'id', "F: row number 1 has no 'id'"),
        ([dict(id=7, name='a'), dict(id=8, name=None)], None, 'F: row 1 has name None'),
    ):
        with pytest.raises(ValueError, match=message):
            check_table(rows, fields, 'row', 'F', key)
    with pytest.raises(ValueError, match='F: 2 rows have the id 3: correct'):
        check_distinct([3, 4, 3], 'rows', 'id', 'F', 'correct them')
    with pytest.raises(ValueError, match="some rows is text .'3'., of others a number .4."):
        check_distinct(['3', 4], 'rows', 'id', 'F', 'correct them')


@pytest.mark.parametrize(
    'text, message',
    [
        ('{"a": 1, "b": 2, "a": 3}', "the key 'a' occurs 2 times in the object {'a': 3, 'b': 2}"),
        ('{"a": [{"id": 7, "b": 1, "b": 1, "b": 1}]}', "the key 'b' occurs 3 times .*'id': 7"),
        ('{"a": {"": 1, "": 2}}', "the key '' occurs 2 times"),
        (
            '{"b": "%s", "a": 1, "a": 2}' % ('x' * 500),
            'the key .a. occurs 2 .*xx…, and only the last',
        ),
    ],
)
def test_a_key_is_not_given_twice(tmp_path, text, message):
    path = tmp_path / 'a.json'
    path.write_text(text)
    with pytest.raises(ValueError, match=rf'a\.json: {message}'):
        read_json(str(path), dict, 'x')
    path.write_text('{"a": 1}\n' + text)
    lines = read_json_lines(str(path))
    assert next(lines)[1] == {'a': 1}
    with pytest.raises(ValueError, match=rf'a\.json, line 2: {message}'):
        next(lines)


def test_a_byte_order_mark_is_left_out(tmp_path):
    path = tmp_path / 'a.json'
    path.write_bytes(b'\xef\xbb\xbf{"a": 1}\n')
    assert read_json(str(path), dict, 'x') == {'a': 1}
    assert [record for _, record in read_json_lines(str(path))] == [{'a': 1}]
    path.write_bytes(b'\xef\xbb\xbf17\n18\n')
    assert read_ids(str(path)) == {'17', '18'}


@pytest.mark.parametrize(
    'content, message',
    [
        ('{"a": 1}\n{"a": 2}\n', r'a.json has one json value per line .jsonl., but must be a list'),
        ('', 'a.json is empty'),
        ('[{"a": 1}', 'a.json is not a json file'),
        ('[' * 100000, 'a.json is not a json file that can be read .it is nested too deeply'),
        (b'["\xff"]', r'a.json is not text in UTF-8 .byte 2'),
        ('["a"]'.encode('utf-16'), 'a.json is not text in UTF-8'),
    ],
)
def test_what_is_no_json(tmp_path, content, message):
    path = tmp_path / 'a.json'
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(ValueError, match=message):
        read_json(str(path), list, 'a list')


@pytest.mark.parametrize(
    'content, message',
    [
        (json.dumps([dict(a=1)], indent=1), 'line 1 is not a json object of its own'),
        (json.dumps([dict(a=1)]), 'line 1 is not a json object of its own'),
        (json.dumps(dict(a=1), indent=1), 'line 1 is not a json object of its own'),
        ('{"a": 1}\n[' + '[' * 100000, 'line 2 is nested too deeply'),
        ('{"a": 1}\n5', 'line 2 is not a json object'),
        ('{"a": 1}\n{"a": ', 'line 2 is not json'),
    ],
)
def test_what_has_no_object_per_line(tmp_path, content, message):
    (tmp_path / 'a.jsonl').write_text(content)
    with pytest.raises(ValueError, match=f'a.jsonl, {message}.*one object per line'):
        list(read_json_lines(str(tmp_path / 'a.jsonl')))


@pytest.mark.parametrize(
    'name',
    [
        '../x.jpg',
        'a/../../x.jpg',
        '/etc/passwd',
        '..\\x.jpg',
        'C:\\x.jpg',
        'C:/x.jpg',
        '\\\\host\\x.jpg',
        'http://host/x.jpg',
        '..',
    ],
)
def test_paths_that_leave_their_folder(tmp_path, name):
    folder = str(tmp_path / 'images')
    with pytest.raises(ValueError, match='F has file .* leaves the data folder .*outside_paths'):
        path_below(folder, name, 'F has file')
    path_below(folder, name, 'F has file', outside=True)


@pytest.mark.parametrize('name', ['x.jpg', 'a/../x.jpg', 'a..b/x..jpg', '12:30.jpg', 'a/x.jpg'])
@pytest.mark.parametrize('folder', ['', 'images/', 's3://bucket/images'])
def test_paths_that_stay(folder, name):
    if '://' in folder and '/../' in name:
        pytest.skip('addresses are not resolved')
    assert path_below(folder, name, 'F has file').endswith(name)


def test_absolute_paths_in_the_folder_stay(tmp_path):
    path = str(tmp_path / 'x.jpg')
    assert path_below(str(tmp_path), path, 'F has file') == path


def test_backslashes_part_folders(tmp_path):
    (tmp_path / 'a').mkdir()
    (tmp_path / 'a/x.jpg').touch()
    (tmp_path / 'b\\y.jpg').touch()  # a name on its own on such systems
    folder = str(tmp_path)
    assert path_below(folder, 'a\\x.jpg', 'F has file') == f'{folder}/a/x.jpg'
    assert path_below(folder, 'b\\y.jpg', 'F has file') == f'{folder}/b\\y.jpg'
