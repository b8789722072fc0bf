"""What language models wrote about captions, in the forms in which it comes."""

import json
import logging

import pytest

from fiber_mmdet.text.caption_descriptions import parse_sentence, read_vocabulary

PHRASES = {'a red kite': 'a kind of toy, flies; has descriptions: none'}
THINGS = {'balloon': 'a kind of toy, round'}
FALSE = ['A man sells kites.', 'Two men fly a kite.']
PARTS = [json.dumps(part) for part in (PHRASES, THINGS, FALSE)]


@pytest.mark.parametrize(
    'text',
    [
        'Phrase descriptions: {}\nConfusable descriptions: {}\nNegative captions: {}',
        '\n\n descriptions: {}\n\nobjects: {}\ncaptions: {}\n',
        '1. Phrases and their descriptions: {}\n2. Similar objects: {}\n3. Negative captions: {}',
        '1. Visual descriptions: {} 2. Confusing objects: {} 3. Negative captions: {}',
        '1. descriptions: {}\n2. descriptions: {} 3. negative captions: {} and so on',
    ],
    ids=['lines', 'bare lines', 'numbered lines', 'one line', 'two lines'],
)
def test_three_parts(text):
    found = parse_sentence(text.format(*PARTS))
    assert (found.phrases, found.confusable, list(found.negatives)) == (PHRASES, THINGS, FALSE)


@pytest.mark.parametrize('broken', range(3))
def test_a_part_that_is_no_json_is_empty(broken):
    parts = [*PARTS[:broken], PARTS[broken][:-1], *PARTS[broken + 1 :]]
    text = 'descriptions: {}\nobjects: {}\ncaptions: {}'.format(*parts)
    found = parse_sentence(text)
    sizes = [len(found.phrases), len(found.confusable), len(found.negatives)]
    assert sizes == [0 if i == broken else size for i, size in enumerate((1, 1, 2))]


@pytest.mark.parametrize(
    'text', ['', 'I do not know.', 'descriptions: []\nobjects: 3\ncaptions: {"a": 1}', '[' * 9999]
)
def test_what_cannot_be_parsed_is_empty(text):
    found = parse_sentence(text)
    assert not (found.phrases or found.confusable or found.negatives)


def test_values_that_are_no_texts_are_left_out():
    text = 'descriptions: {"a": 1, "b": "c", " ": "d"}\nobjects: {}\ncaptions: ["e", 2, ""]'
    found = parse_sentence(text)
    assert (found.phrases, found.negatives) == ({'b': 'c'}, ('e',))


def test_vocabulary(tmp_path, caplog):
    path = tmp_path / 'nouns.json'
    kite = '\n{"type": "toy", "description": "flies; on a line", "similar objects": ["balloon"]}'
    path.write_text(json.dumps({'kite': [kite, 120], 'thing': ['Sorry.', 3]}))
    with caplog.at_level(logging.WARNING):
        ((noun, (description, count)),) = read_vocabulary(str(path)).items()
    assert (noun, count, description.kind) == ('kite', 120, 'a kind of toy')
    assert description.pieces == ('flies', 'on a line') and description.similar == ('balloon',)
    assert '1 of 2 nouns' in caplog.text


@pytest.mark.parametrize(
    'content, message',
    [
        ({'kite': 'a toy'}, r"nouns.json: 'kite' has text and count 'a toy': it must be \[text"),
        ({'kite': ['Sorry.', 1]}, 'no noun with a description'),
        ([], 'holds a list'),
    ],
)
def test_files_that_are_no_vocabulary(tmp_path, content, message):
    path = tmp_path / 'nouns.json'
    path.write_text(json.dumps(content))
    with pytest.raises(ValueError, match=message):
        read_vocabulary(str(path))
