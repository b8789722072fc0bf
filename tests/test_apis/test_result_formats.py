"""Results for other programs: what they read is what was found."""

import csv
import io
import json
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image, ImageShow
from pycocotools.coco import COCO
from test_results import RESULT, blank

from fiber_mmdet.apis import results_to_coco, save_results
from fiber_mmdet.host import MissingExtra
from fiber_mmdet.outputs import OutputError

NAMES = ['a red circle', 'a blue star', 'a red circle']
NAMED = replace(RESULT, image='photos/one.jpg')
# one box beyond the image by less than a pixel, as rescaled boxes can be
INCLUSIVE = replace(
    NAMED,
    boxes=np.array([[20, 20, 90, 90], [200, 120, 319.6, 239]], np.float32),
    scores=np.array([0.9, 0.7], np.float32),
    labels=np.array([0, 1]),
    image='photos/two.jpg',
    inclusive=True,
)
EMPTY = replace(
    NAMED,
    boxes=np.zeros((0, 4), np.float32),
    scores=np.zeros(0, np.float32),
    labels=np.zeros(0, int),
    image='photos/none.jpg',
)
ALL = [NAMED, None, INCLUSIVE, EMPTY]


def test_coco_file_is_read_by_pycocotools(tmp_path):
    path = save_results(iter(ALL), tmp_path / 'new/found.coco.json', root='photos')
    content = json.loads(path.read_text())
    assert content == results_to_coco(ALL, root='photos')
    coco = COCO(path)
    assert [image['file_name'] for image in coco.dataset['images']] == [
        'one.jpg',
        'two.jpg',
        'none.jpg',
    ]
    assert [(one['height'], one['width']) for one in coco.dataset['images']] == [(240, 320)] * 3
    # both "a red circle" of the caption are one category
    assert coco.dataset['categories'] == [
        dict(id=1, name='a red circle'),
        dict(id=2, name='a blue star'),
    ]
    first = coco.loadAnns(coco.getAnnIds(imgIds=[1]))
    assert [coco.cats[one['category_id']]['name'] for one in first] == NAMES
    assert [one['score'] for one in first] == [0.9, 0.7, 0.5]
    assert first[0]['bbox'] == [20, 20, 70, 70] and first[0]['area'] == 4900
    second = coco.loadAnns(coco.getAnnIds(imgIds=[2]))
    assert [one['bbox'] for one in second] == [[20, 20, 71, 71], [200, 120, 120, 120]]
    assert NAMED.to_coco() == results_to_coco([NAMED])
    assert NAMED.to_coco()['images'][0]['file_name'] == 'photos/one.jpg'
    assert EMPTY.to_coco('photos')['annotations'] == []


def test_tables_agree(tmp_path):
    pandas = pytest.importorskip('pandas', reason='the extra tables is not installed')
    pytest.importorskip('pyarrow', reason='the extra tables is not installed')
    frame = pandas.concat([NAMED.to_pandas(), INCLUSIVE.to_pandas(), EMPTY.to_pandas()])
    frame = frame.reset_index(drop=True)
    assert list(frame.phrase) == [*NAMES, 'a red circle', 'a blue star']
    assert list(frame.x2) == [90, 300, 80, 91, 320] and list(frame.score)[:2] == [0.9, 0.7]
    read = pandas.read_csv(save_results(ALL, tmp_path / 'found.csv'))
    pandas.testing.assert_frame_equal(read, frame, check_dtype=False)
    read = pandas.read_parquet(save_results(ALL, tmp_path / 'found.parquet'))
    pandas.testing.assert_frame_equal(read, frame, check_dtype=False)
    assert list(EMPTY.to_pandas().columns) == list(frame.columns) and not len(EMPTY.to_pandas())
    assert pandas.read_parquet(save_results([], tmp_path / 'no.parquet')).empty


def test_a_table_without_pandas(tmp_path, monkeypatch):
    odd = replace(NAMED, phrases=('a "red", circle', '=1+1', 'half \ud83d'), image='a\udcff.jpg')
    with open(save_results([odd], tmp_path / 'found.csv'), newline='', encoding='utf-8') as file:
        rows = list(csv.DictReader(file))
    assert [row['phrase'] for row in rows] == ['a "red", circle', '=1+1', 'a "red", circle']
    assert rows[0]['image'] == 'a\\udcff.jpg' and float(rows[0]['y2']) == 90
    for module in ('pandas', 'pyarrow', 'supervision'):
        monkeypatch.setitem(__import__('sys').modules, module, None)
    with pytest.raises(MissingExtra, match='to_pandas needs pandas'):
        NAMED.to_pandas()
    with pytest.raises(MissingExtra, match='to_supervision needs supervision'):
        NAMED.to_supervision()
    with pytest.raises(MissingExtra, match='parquet file needs pyarrow'):
        save_results(ALL, tmp_path / 'found.parquet')
    assert [path.name for path in tmp_path.iterdir()] == ['found.csv']


def test_supervision():
    supervision = pytest.importorskip('supervision', reason='the extra is not installed')
    found = INCLUSIVE.to_supervision()
    assert isinstance(found, supervision.Detections)
    np.testing.assert_allclose(found.xyxy, [[20, 20, 91, 91], [200, 120, 320, 240]])
    np.testing.assert_array_equal(found.confidence, INCLUSIVE.scores)
    assert found.class_id.tolist() == [0, 1] and found['class_name'].tolist() == NAMES[:2]
    assert len(found[found['class_name'] == 'a blue star']) == 1
    assert len(EMPTY.to_supervision()) == 0
    supervision.BoxAnnotator().annotate(blank(), NAMED.to_supervision())


def test_label_studio(tmp_path):
    path = save_results(
        [replace(NAMED, image='photos/a b#.jpg'), EMPTY],
        tmp_path / 'x.json',
        'labelstudio',
        root='photos',
    )
    tasks = json.loads(path.read_text())
    assert tasks[0]['data'] == {'image': '/data/local-files/?d=a%20b%23.jpg'}
    (prediction,) = tasks[0]['predictions']
    assert prediction['score'] == pytest.approx(0.7)
    values = [item['value'] for item in prediction['result']]
    assert [value['rectanglelabels'] for value in values] == [[name] for name in NAMES]
    assert values[0]['x'] == 100 * 20 / 320 and values[0]['height'] == 100 * 70 / 240
    assert tasks[1]['predictions'][0]['result'] == []
    assert INCLUSIVE.to_labelstudio()['predictions'][0]['result'][1]['value']['width'] == 37.5


def test_jsonl_and_records(tmp_path):
    """A line per image; what was written is read and written again in other formats."""
    pixels = replace(NAMED, image=None)
    path = save_results([NAMED, INCLUSIVE, pixels], tmp_path / 'found.jsonl')
    records = [json.loads(line) for line in path.read_text().splitlines()]
    assert records == [result.to_dict() for result in (NAMED, INCLUSIVE, pixels)]
    again = save_results(records[:2], tmp_path / 'again.coco.json')
    assert json.loads(again.read_text()) == results_to_coco([NAMED, INCLUSIVE])
    for refused in (
        lambda: pixels.to_coco(),
        lambda: pixels.to_labelstudio(),
        lambda: save_results([NAMED, pixels], again),
    ):
        with pytest.raises(ValueError, match='came as pixels.*gives it a name'):
            refused()
    assert json.loads(again.read_text())['images'][1]['file_name'] == 'photos/two.jpg'  # as before


def test_files_that_are_refused(tmp_path):
    for name in ('found', 'found.json', 'found.txt'):
        with pytest.raises(OutputError, match='does not say the format.*coco'):
            save_results(ALL, tmp_path / name)
    with pytest.raises(OutputError, match="'xml' must be one of coco, csv"):
        save_results(ALL, tmp_path / 'found.csv', 'xml')
    image = tmp_path / 'image.csv'
    image.write_bytes(b'pixels')
    with pytest.raises(OutputError, match='is read as well'):
        save_results([replace(NAMED, image=str(image))], image)
    assert image.read_bytes() == b'pixels'


def test_results_are_read_one_at_a_time(tmp_path):
    path, alive = tmp_path / 'found.jsonl', []

    def results():
        for number in range(3):
            alive.append(sum(part.stat().st_size for part in tmp_path.iterdir()))
            yield replace(NAMED, image=f'{number}.jpg', caption='word ' * 5000)

    save_results(results(), path)
    assert alive[0] <= alive[1] < alive[2] < path.stat().st_size


# ----------------------------------------------------------------- for people
def test_the_table_is_as_wide_as_the_terminal(monkeypatch):
    long = replace(NAMED, phrases=('[red] ' + 'very ' * 30 + 'long', '星' * 30, 'x'))
    assert max(map(len, str(long).splitlines())) > 150  # nobody looks
    monkeypatch.setattr('sys.stdout', Terminal())
    monkeypatch.setenv('COLUMNS', '60')
    lines = str(long).splitlines()
    assert [len(line) for line in lines[:2]] == [60, 60] and lines[1].startswith(
        ' 0.90  [red] very'
    )
    assert '…' in lines[1] and '…' in lines[2] and lines[1].endswith('90')
    assert len(lines[2]) + lines[2].count('星') == 60  # these take two columns each
    monkeypatch.setenv('COLUMNS', '10')
    assert '[red] v…' in str(long)


class Terminal(io.StringIO):
    def isatty(self):
        return True


def test_notebooks_get_a_drawing(tmp_path, monkeypatch):
    path = tmp_path / 'image.png'
    Image.fromarray(blank((1500, 2000))).save(path)
    result = replace(NAMED, image=str(path), image_size=(1500, 2000))
    shown = Image.open(io.BytesIO(result._repr_png_()))
    assert max(shown.size) == 1280 and shown.size[0] / shown.size[1] < 4 / 3  # with the caption
    assert NAMED._repr_png_() is None and RESULT._repr_png_() is None
    assert repr(RESULT).startswith('<GroundingResult: 3 found for') and 'one.jpg' in repr(NAMED)

    windows = []
    monkeypatch.setattr(ImageShow, 'show', lambda image: windows.append(image.size) or True)
    result.show()
    RESULT.show(blank())
    assert windows[0][0] == 2000 and len(windows) == 2
    monkeypatch.setattr(ImageShow, 'show', lambda image: False)
    with pytest.raises(RuntimeError, match='draw'):
        result.show()
