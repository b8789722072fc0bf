"""Pictures of what an image-level model says: nothing is lost, right and wrong look different."""

from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from fiber_mmdet.apis import ImageTextInferencer, LoadingError
from fiber_mmdet.apis.image_collection import Hit
from fiber_mmdet.apis.images import read_image
from fiber_mmdet.apis.prediction_sheet import prediction_sheet, scene_objects
from fiber_mmdet.visualization.answer_cards import (
    Said,
    answer_card,
    caption_card,
    hit_row,
    statement_card,
)
from fiber_mmdet.visualization.attention_picture import DARKEST, shade_cells
from fiber_mmdet.visualization.contact_sheet import (
    GAP,
    PLAIN,
    RIGHT,
    STRONG,
    WRONG,
    Card,
    InkWriter,
    Row,
    draw_sheet,
    in_rows,
    write_lines,
)
from image_text_model import ask, make_config, model_files, scenes  # noqa: F401

GREY = np.full((50, 100, 3), 90, np.uint8)


def count(picture, color):
    return int((picture == color).all(-1).sum())


def text_of(line):
    return ''.join(piece for piece, _ in line)


# ---------------------------------------------------------------------------- sheets
def test_cards_stand_in_rows():
    cards = [Card([GREY], [[('a word', PLAIN)]]), Card([GREY, GREY]), Card([GREY], frame=RIGHT)]
    sheet = draw_sheet(in_rows(cards, 2), side=100)
    assert sheet.shape[1] == 100 + 204 + 3 * GAP
    # images of 100 x 50, but for the lines around them and between the two
    assert 4 * 100 * 50 * 0.9 < count(sheet, (90, 90, 90)) < 4 * 100 * 50
    assert count(sheet, RIGHT) == 2 * 3 * (100 + 50) - 4 * 9
    assert [len(row.cards) for row in in_rows(cards, 2)] == [2, 1]
    with pytest.raises(ValueError, match='nothing to draw'):
        draw_sheet([Row([])])


def test_headings_are_written_above_their_row():
    low = draw_sheet([Row([Card([GREY])])], side=100)
    high = draw_sheet([Row([Card([GREY])], [[('heading', STRONG)]])], side=100)
    extra = high.shape[0] - low.shape[0]
    assert extra > GAP and (high[extra + GAP :] == low[GAP:]).all() and (high[:extra] < 100).any()


def test_long_lines_are_wrapped():
    (one,) = (write_lines([[(text, PLAIN)]], 200, 14) for text in ['word'])
    many = write_lines([[('word ' * 20, PLAIN)]], 200, 14)
    assert many.width == 200 and many.height > 3 * (one.height - 5)
    assert write_lines([], 200, 14).size == (200, 1)
    writer = InkWriter(200, 14, {})
    for text, second in (('word ' * 6, 'word'), ('word ' * 4 + 'word\xa0word', 'word\xa0word')):
        (_, _), (begin, end) = writer.wrap(text, [PLAIN] * len(text))
        assert text[begin:end] == second


def test_tall_images_do_not_fill_the_sheet():
    assert draw_sheet([Row([Card([np.zeros((500, 10, 3), np.uint8)])])], 100).shape[0] < 300


# ----------------------------------------------------------------------------- cards
@pytest.mark.parametrize(
    'said, text, color',
    [
        (Said('red', True, 'red'), '✓ red', RIGHT),
        (Said('red', False, 'blue'), '✗ red (blue)', WRONG),
        (Said('red', False), '✗ red', WRONG),
        (Said('red'), 'red', None),
    ],
)
def test_answers_and_statements_with_their_truth(said, text, color):
    for card in (
        answer_card(GREY, ['what color?'], [said]),
        statement_card(GREY, GREY, 'what color?', said),
    ):
        written = ' '.join(text_of(line) for line in card.lines)
        assert ' '.join(written.split()) == f'what color? {text}'
        sheet = draw_sheet([Row([card])])
        assert (count(sheet, RIGHT) > 10, count(sheet, WRONG) > 10) == (
            color == RIGHT,
            color == WRONG,
        )


def test_captions_are_marked_object_by_object():
    objects = Counter({('red', 'ring'): 2, ('blue', 'star'): 1, ('green', 'cross'): 3})
    card = caption_card(
        GREY, 'two red rings, two blue stars and a white heart', ['the truth'], objects
    )
    marked = [(piece.replace('\xa0', ' '), ink.fill) for piece, ink in card.lines[0] if ink.fill]
    assert marked == [
        ('two red rings ✓', RIGHT),
        ('two blue stars ✗', WRONG),
        ('a white heart ✗', WRONG),
    ]
    assert [text_of(line) for line in card.lines[1:]] == [
        'missing: three green crosses',
        '(the truth)',
    ]
    # the number is that of all mentions together
    card = caption_card(GREY, 'a large red ring and a small red ring', (), objects)
    assert [ink.fill for _, ink in card.lines[0] if ink.fill] == [RIGHT, RIGHT]
    plain = caption_card(GREY, 'two red rings', ['a dog'])
    assert [text_of(line) for line in plain.lines] == ['two red rings', '(a dog)']


def test_objects_are_known_where_all_captions_agree():
    assert scene_objects(['a red ring', 'there is a large red ring']) == {('red', 'ring'): 1}
    for captions in ([], ['a dog'], ['a red ring', 'two red rings']):
        assert scene_objects(captions) is None


def test_the_right_image_is_framed():
    hits = [Hit(4, GREY, 0.5, None), Hit(2, GREY, 0.25, 3.0)]
    row = hit_row('a ring', hits, right=2, rank=2)
    assert [card.frame for card in row.cards] == [None, RIGHT]
    assert [text_of(card.lines[0]) for card in row.cards] == [
        '1  cosine 0.50',
        '2  cosine 0.25, match 3.00',
    ]
    assert text_of(row.heading[0]) == '“a ring”'
    row = hit_row('a ring', hits, right=7, rank=30)
    assert [card.frame for card in row.cards] == [None, None]
    assert text_of(row.heading[0]).endswith('the right image has rank 30')


# ------------------------------------------------------------------------- attention
def test_cells_are_as_bright_as_their_weight():
    white = np.full((60, 120, 3), 255, np.uint8)
    cells = np.array([[0.1, 0.4, 0.0], [0.0, 0.2, 0.0]])
    shaded = shade_cells(white, cells, side=300)
    assert shaded.shape == (150, 300, 3)
    middles = shaded[[37, 112]][:, [50, 150, 250], 0] / 255
    assert middles == pytest.approx(DARKEST + (1 - DARKEST) * cells / 0.4, abs=0.01)
    dark = shade_cells(np.zeros_like(white), cells, side=300)
    assert (dark[20, :, 0] > 0).nonzero()[0].tolist() == [100, 200]
    assert (dark[:, 20, 0] > 0).nonzero()[0].tolist() == [75]


def test_attention_pictures(ask, scenes, tmp_path):
    maps = ask.attention(scenes[0], 'a red ring', ['red', 'ring'])
    looks, reads, both = (maps.draw(direction=name) for name in ('looks', 'reads', 'both'))
    assert looks.shape == reads.shape and both.shape[0] > 1.8 * looks.shape[0]
    assert (looks != reads).any()
    maps.draw(path=tmp_path / 'new/maps.png')
    assert (read_image(tmp_path / 'new/maps.png') == looks).all()
    with pytest.raises(ValueError, match="'looks', 'reads' or 'both'"):
        maps.draw(direction='sees')
    pixels = ask.attention(read_image(scenes[0]), 'a red ring')
    with pytest.raises(ValueError, match='came as pixels'):
        pixels.draw()
    pixels.draw(read_image(scenes[0]))


# ----------------------------------------------------------------- predictions of a set
@pytest.fixture
def sheet(ask, model_files, tiny_scenes):
    """Draws predictions of a task by the tiny model."""

    def draw(task, head, **kwargs):
        model = ImageTextInferencer(make_config(tiny_scenes, task, (head,)), 'random', 'cpu')
        missing, unexpected = model.model.load_state_dict(ask.model.state_dict(), strict=False)
        assert not missing
        return model, *prediction_sheet(model, **kwargs)

    return draw


def test_sheet_of_answers(sheet):
    model, picture, records = sheet('vqa', 'vqa', number=3)
    images = list(dict.fromkeys(record['image'] for record in records))
    assert len(images) == 3 and len(records) == 12 and picture.ndim == 3
    for record in records:
        assert record['answer'] == model.answer(record['image'], record['question']).answer
        assert record['right'] == (record['answer'] == record['truth'])


def test_sheet_of_statements(sheet):
    model, _, records = sheet('nlvr2', 'nlvr2', number=3)
    assert len(records) == 3
    for record in records:
        verdict = model.judge(*record['images'], record['statement'])
        assert verdict.true == record['true']
        assert verdict.probability == pytest.approx(record['probability'], abs=1e-5)
        assert isinstance(record['right'], bool)


def test_sheet_of_captions(sheet):
    model, _, records = sheet('captioning', 'caption', number=2)
    assert [model.caption(record['image']) for record in records] == [
        record['caption'] for record in records
    ]
    assert all(len(record['captions']) > 1 and record['right'] is False for record in records)


@pytest.mark.parametrize('task, head', [('retrieval', 'itc'), ('retrieval_itm', 'itm')])
def test_sheet_of_retrieval(sheet, task, head):
    model, _, records = sheet(task, head, number=2, k=3)
    for record in records:
        hits = model.retrieve(record['query'], Path(record['right']).parent, 6, head == 'itm')
        order = [str(hit.item) for hit in hits]
        assert order.index(record['right']) == record['rank'] - 1
        assert [found['image'] for found in record['images']] == order[:3]


def test_random_samples_are_the_same_again(sheet):
    chosen = [
        [record['images'] for record in sheet('nlvr2', 'nlvr2', number=2, seed=seed)[2]]
        for seed in (0, 0, 1)
    ]
    assert chosen[0] == chosen[1] != chosen[2]


def test_a_split_that_is_not_there(tiny_scenes):
    cfg = make_config(tiny_scenes, heads=('vqa',))
    cfg.pop('val_dataloader')
    with pytest.raises(LoadingError, match='no val_dataloader'):
        prediction_sheet(ImageTextInferencer(cfg, 'random', 'cpu'), split='val')
