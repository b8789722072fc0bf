"""Sheets and their cards: nothing is lost, right and wrong look different."""

import numpy as np
import pytest

from fiber_mmdet.visualization.canvas import GAP
from fiber_mmdet.visualization.cards import (
    RIGHT,
    WRONG,
    Claim,
    FoundImage,
    answer_card,
    caption_card,
    retrieval_row,
    statement_card,
)
from fiber_mmdet.visualization.sheets import Card, Row, draw_sheet, in_rows, write_lines
from fiber_mmdet.visualization.writing import PLAIN, STRONG, TIGHT, Writer

GREY = np.full((50, 100, 3), 90, np.uint8)


def count(drawing, color):
    return int((drawing == color).all(-1).sum())


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
    one = write_lines([[('word', PLAIN)]], 200, 14)
    many = write_lines([[('word ' * 20, PLAIN)]], 200, 14)
    assert many.width == 200 and many.height > 3 * (one.height - 5)
    assert write_lines([], 200, 14).size == (200, 1)


@pytest.mark.parametrize(
    'text, second', [('word ' * 6, 'word'), ('word ' * 4 + 'word\xa0word', 'word word')]
)
def test_lines_do_not_break_at_a_no_break_space(text, second):
    first, last = Writer(200, 14, TIGHT).wrap([(text, PLAIN)])
    assert text_of(last) == second


def test_tall_images_do_not_fill_the_sheet():
    assert draw_sheet([Row([Card([np.zeros((500, 10, 3), np.uint8)])])], 100).shape[0] < 300


# ----------------------------------------------------------------------------- cards
@pytest.mark.parametrize(
    'claim, text, color',
    [
        (Claim('red', True, 'red'), '✓ red', RIGHT),
        (Claim('red', False, 'blue'), '✗ red (blue)', WRONG),
        (Claim('red', False), '✗ red', WRONG),
        (Claim('red'), 'red', None),
    ],
)
def test_answers_and_statements_with_their_truth(claim, text, color):
    for card in (
        answer_card(GREY, ['what color?'], [claim]),
        statement_card(GREY, GREY, 'what color?', claim),
    ):
        written = ' '.join(text_of(line) for line in card.lines)
        assert ' '.join(written.split()) == f'what color? {text}'
        sheet = draw_sheet([Row([card])])
        assert (count(sheet, RIGHT) > 10, count(sheet, WRONG) > 10) == (
            color == RIGHT,
            color == WRONG,
        )


def test_captions_are_marked_and_completed():
    caption = 'two rings and a red star'
    marks = [(0, 9, True), (14, 24, False)]
    card = caption_card(GREY, caption, ['the truth', 'again'], marks, 'three crosses')
    marked = [(piece.replace('\xa0', ' '), style.fill) for piece, style in card.lines[0]]
    assert [part for part in marked if part[1]] == [('two rings ✓', RIGHT), ('a red star ✗', WRONG)]
    assert ''.join(piece for piece, fill in marked if not fill) == ' and '
    assert [text_of(line) for line in card.lines[1:]] == ['missing: three crosses', '(the truth)']
    assert len(caption_card(GREY, caption, (), marks).lines) == 1
    plain = caption_card(GREY, caption, ['a dog'])
    assert [text_of(line) for line in plain.lines] == [caption, '(a dog)']


def test_the_right_image_is_framed():
    found = [FoundImage(GREY, 0.5), FoundImage(GREY, 0.25, 3.0, right=True)]
    row = retrieval_row('a ring', found, rank=2)
    assert [card.frame for card in row.cards] == [None, RIGHT]
    assert [text_of(card.lines[0]) for card in row.cards] == [
        '1  cosine 0.50',
        '2  cosine 0.25, match 3.00',
    ]
    assert text_of(row.heading[0]) == '“a ring”'
    row = retrieval_row('a ring', found[:1], rank=30)
    assert [card.frame for card in row.cards] == [None]
    assert text_of(row.heading[0]).endswith('the right image has rank 30')
