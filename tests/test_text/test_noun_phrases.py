"""Noun phrases, with and without nltk's data; nothing is downloaded."""

import importlib
import json
import logging

import pytest

pytest.importorskip('nltk')
module = importlib.import_module('fiber_mmdet.text.noun_phrases')


@pytest.fixture(autouse=True)
def fresh_lookup(monkeypatch):
    """No data on this machine, no memory of earlier look-ups."""
    import nltk

    monkeypatch.setattr(nltk.data, 'path', [])
    monkeypatch.setattr(nltk, 'download', lambda *_, **__: pytest.fail('downloads'))
    module._has_tagger_data.cache_clear()
    module._perceptron.cache_clear()
    yield
    module._has_tagger_data.cache_clear()
    module._perceptron.cache_clear()


def phrases(caption):
    return [caption[b:e] for b, e in module.noun_phrases(caption)]


@pytest.mark.parametrize(
    'caption, expected',
    [
        (
            'the large red circle left of the blue square',
            ['the large red circle', 'the blue square'],
        ),
        (
            'A man is riding a brown horse next to a woman holding an umbrella.',
            ['A man', 'a brown horse', 'a woman', 'an umbrella'],
        ),
        ('two dogs and a cat sitting on a wooden bench', ['two dogs', 'a cat', 'a wooden bench']),
        ('an orange . an orange car', ['an orange', 'an orange car']),
        ('the left star is small', ['the left star']),
        ('a parked car near a dining table', ['a parked car', 'a dining table']),
        ("John's dog", ['John', 'dog']),
        ('red circle. large star. blue ring.', ['red circle', 'large star', 'blue ring']),
        ('traffic light . stop sign . hot dog', ['traffic light', 'stop sign', 'hot dog']),
        (
            'six gray hearts on a checkered background',
            ['six gray hearts', 'a checkered background'],
        ),
        ('', []),
        ('... !', []),
    ],
)
def test_word_lists(caption, expected):
    assert phrases(caption) == expected


def test_repeated_phrases_are_found_where_they_stand():
    caption = 'A dog, a DOG and a dog (a dog).'
    spans = module.noun_phrases(caption)
    assert spans == [(0, 5), (7, 12), (17, 22), (24, 29)]


def test_characters_of_a_regular_expression_are_only_characters():
    assert phrases('a c++ book [old] costs $5 (a bargain?')[-1] == 'a bargain'


@pytest.mark.parametrize(
    'caption',
    [
        'İstanbul: a café with 日本 flags 😀 a dog',
        '"quoted \'\' weird `` quotes" “and” «more» a dog',
        "''\"`` a dog",
    ],
)
def test_unusual_characters_keep_their_places(caption):
    assert phrases(caption)[-1] == 'a dog'
    assert all(phrase == phrase.strip(' "“”«»`\'😀') for phrase in phrases(caption))


def test_missing_data_is_mentioned_once(caplog):
    with caplog.at_level(logging.WARNING):
        phrases('a dog')
        phrases('a cat')
    assert len(caplog.records) == 1
    assert 'nltk.downloader averaged_perceptron_tagger_eng' in caplog.text


def test_data_on_this_machine_is_used(tmp_path, monkeypatch, caplog):
    import nltk
    from nltk.tag.perceptron import PerceptronTagger

    tagger = PerceptronTagger(load=False)
    tagger.train([[('the', 'DT'), ('dog', 'NN'), ('blorps', 'VBZ'), ('loudly', 'RB')]] * 30)
    folder = tmp_path / 'taggers' / module.TAGGER_DATA
    folder.mkdir(parents=True)
    parts = dict(weights=tagger.model.weights, tagdict=tagger.tagdict, classes=list(tagger.classes))
    for name, part in parts.items():
        (folder / f'{module.TAGGER_DATA}.{name}.json').write_text(json.dumps(part))
    monkeypatch.setattr(nltk.data, 'path', [str(tmp_path)])
    # only the trained tagger can know this verb
    assert phrases('The dog blorps loudly') == ['The dog']
    assert not caplog.records
