"""Prompts: captions, spans and names from everything a user may type."""

import numpy as np
import pytest

from fiber_mmdet.text import (
    Prompt,
    PromptError,
    category_prompt,
    chunk_names,
    clean_name,
    noun_phrase_prompt,
    parse_prompt,
    prompt_passes,
    span_prompt,
    split_entities,
    whole_prompt,
)


def words(prompt):
    """What every span says, label by label."""
    return [[prompt.caption[b:e] for b, e in spans] for spans in prompt.spans]


def test_categories_are_joined_without_a_final_separator():
    prompt = category_prompt(['person', 'traffic light', 'car'])
    assert prompt.caption == 'person. traffic light. car'
    assert prompt.spans == (((0, 6),), ((8, 21),), ((23, 26),))
    assert prompt.phrases == ('person', 'traffic light', 'car')


@pytest.mark.parametrize(
    'name, cleaned',
    [
        ('bat_(animal)', 'bat '),
        ('fire_hydrant', 'fire hydrant'),
        ('a (b) c (d) e', 'a e'),
        ('x__y', 'x y'),
        ('a    b', 'a  b'),
        ('Dog', 'Dog'),
    ],
)
def test_clean_name_is_the_references(name, cleaned):
    assert clean_name(name) == cleaned


def test_cleaning_touches_the_caption_but_not_the_phrases():
    prompt = category_prompt(['bat_(animal)', 'bat_(stick)', 'tennis_racket'])
    assert prompt.caption == 'bat . bat . tennis racket'
    assert prompt.phrases == ('bat_(animal)', 'bat_(stick)', 'tennis_racket')
    assert words(prompt) == [['bat '], ['bat '], ['tennis racket']]
    assert category_prompt(['a_(b)'], clean=False).caption == 'a_(b)'


def test_names_come_in_any_form_that_has_an_order():
    expected = category_prompt(['cat', 'dog'])
    for names in (('cat', 'dog'), (name for name in ('cat', 'dog')), np.array(['cat', 'dog'])):
        assert category_prompt(names) == expected
    assert parse_prompt(iter(['cat', 'dog'])) == expected
    assert len(prompt_passes(iter(['cat', 'dog']), chunked_size=1)) == 2


def test_separator_of_the_callers_choice():
    prompt = category_prompt(['cat', 'dog'], separator=' ; ')
    assert prompt.caption == 'cat ; dog'
    assert words(prompt) == [['cat'], ['dog']]


def test_caption_prompt_by_name_covers_the_name_only():
    extra = {
        'puffin': dict(suffix=' with orange beaks'),
        'sea_star': dict(prefix='a flat ', name='star_fish', suffix='!'),
        'elsewhere': dict(suffix=' (in another chunk)'),
    }
    prompt = category_prompt(['fish', 'puffin', 'sea_star'], extra)
    assert prompt.caption == 'fish. puffin with orange beaks. a flat star_fish!'
    assert words(prompt) == [['fish'], ['puffin'], ['star_fish']]
    assert prompt.phrases == ('fish', 'puffin', 'sea_star')


def test_caption_prompt_finds_cleaned_names_as_mmdet_does():
    prompt = category_prompt(['sea_star'], {'sea star': dict(prefix='one ')})
    assert prompt.caption == 'one sea star'


def test_caption_prompt_by_label():
    prompt = category_prompt(['a', 'b'], [dict(prefix=' '), {}])
    assert prompt.caption == ' a. b'
    assert prompt.spans == (((1, 2),), ((4, 5),))


@pytest.mark.parametrize(
    'extra, message',
    [
        ([{}], 'lists 1 entries for 2 names'),
        ({'a': dict(sufix=' x')}, 'caption_prompt of \'a\'.*"suffix"'),
        ({'a': dict(prefix=3)}, "caption_prompt of 'a'"),
        ({'a': 'red'}, "caption_prompt of 'a'"),
        ({'a': dict(name=' ')}, "'a'.*leaves no text"),
    ],
)
def test_malformed_caption_prompt(extra, message):
    with pytest.raises(PromptError, match=message):
        category_prompt(['a', 'b'], extra)


@pytest.mark.parametrize(
    'names, message',
    [
        ('cat', "single string 'cat'.*letter by letter"),
        ([], 'names is empty'),
        (['cat', ' '], r'names\[1\]'),
        (['cat', 7], r'names\[1\] is 7'),
        (['cat', 'dog', 'cat'], "'cat' is given twice .labels 0 and 2."),
        (['(animal)'], r"'\(animal\)'.*leaves no text"),
        (None, 'list of strings, got NoneType'),
        (b'cat', 'got bytes: decode it'),
        (['cat', b'dog'], r"names\[1\] is b'dog', of type bytes"),
        ({'cat', 'dog'}, 'got set: labels number the names'),
        ({'cat': 1}, 'got dict: labels number the names'),
        (['cat', 'do\ud83d'], r'names\[1\] .* half a character .* position 2'),
    ],
)
def test_unusable_names(names, message):
    with pytest.raises(PromptError, match=message):
        category_prompt(names)


def test_prompt_checks_itself_and_can_be_a_dictionary_key():
    prompt = Prompt('a cat', ['cat'], [[[2, 5]]])
    assert prompt.spans == (((2, 5),),)
    assert {prompt: 1}[Prompt('a cat', ('cat',), (((2, 5),),))] == 1


@pytest.mark.parametrize(
    'caption, phrases, spans, message',
    [
        ('', ['a'], [[[0, 1]]], 'caption is empty'),
        ('  ', ['a'], [[[0, 1]]], 'caption is empty'),
        ('cat \udc80', ['a'], [[[0, 1]]], 'half a character .* position 4'),
        (None, ['a'], [[[0, 1]]], 'caption must be a string'),
        ('cat', [], [], 'phrases is empty'),
        ('cat', ['a', 'b'], [[[0, 1]]], '2 entries but spans has 1'),
        ('cat', ['a'], [[]], "phrase 'a' has no span"),
        ('cat', ['a'], [[[1, 1]]], r"span \[1, 1\) of phrase 'a' is empty"),
        ('cat', ['a'], [[[0, 4]]], 'outside the caption of 3 characters'),
        ('cat', ['a'], [[[-1, 2]]], 'outside the caption'),
        ('cat', ['a'], [[0, 1]], 'list of .begin, end. pairs'),
        ('cat', ['a'], [[[0.0, 1.5]]], 'list of .begin, end. pairs'),
    ],
)
def test_prompt_refuses(caption, phrases, spans, message):
    with pytest.raises(PromptError, match=message):
        Prompt(caption, phrases, spans)


def test_whole_prompt_is_one_phrase_without_outer_blanks():
    caption = '  the man on the left '
    prompt = whole_prompt(caption)
    assert prompt.caption == caption and prompt.phrases == (caption,)
    assert words(prompt) == [['the man on the left']]


def test_span_prompt_names_pieces_as_mmdet_does():
    prompt = span_prompt('a cat and a dog', [[[2, 5]], [[0, 5], [10, 15]]])
    assert prompt.phrases == ('cat', 'a cat / a dog')
    assert prompt.spans == (((2, 5),), ((0, 5), (10, 15)))


@pytest.mark.parametrize('spans', [[], 3, 'x', None, {}])
def test_span_prompt_wants_a_list(spans):
    with pytest.raises(PromptError, match='tokens_positive must be'):
        span_prompt('a cat', spans)


def test_span_prompt_explains_a_missing_level_of_lists():
    with pytest.raises(PromptError, match=r'\[\[\[begin, end\]\]\]'):
        span_prompt('a cat', [[0, 5]])


@pytest.mark.parametrize(
    'text, names',
    [
        ('a red circle . a small blue square', ['a red circle', 'a small blue square']),
        ('cat. dog.', ['cat', 'dog']),
        ('. cat . . dog . ', ['cat', 'dog']),
        ('a 3.5 inch disk. cat', ['a 3.5 inch disk', 'cat']),
        ('cat', ['cat']),
        (' . ', []),
        ('st. bernard . star', ['st. bernard', 'star']),
        ('Mr. Smith . a no. 7 bus . star.', ['Mr. Smith', 'a no. 7 bus', 'star']),
        ('star . st. bernard .', ['star', 'st. bernard']),
        ('star\t.\nst. bernard', ['star', 'st. bernard']),
        ('a. b. c', ['a', 'b', 'c']),
        ('dog.cat', ['dog.cat']),
    ],
)
def test_split_entities(text, names):
    assert split_entities(text) == names


def test_chunks_keep_their_offsets():
    names = [f'n{i}' for i in range(7)]
    chunks = chunk_names(names, 3)
    assert chunks == [(0, ('n0', 'n1', 'n2')), (3, ('n3', 'n4', 'n5')), (6, ('n6',))]
    assert chunk_names(names) == chunk_names(names, 0) == [(0, tuple(names))]
    assert chunk_names(names, [1, 4, 2]) == [
        (0, ('n0',)),
        (1, tuple(names[1:5])),
        (5, tuple(names[5:])),
    ]
    words = [dict(prefix=f'{i} ') for i in range(7)]
    passes = prompt_passes(names, caption_prompt=words, chunked_size=[2, 5])
    assert [prompt.caption[:11] for prompt in passes] == ['0 n0. 1 n1', '2 n2. 3 n3.']
    assert len(prompt_passes(names, chunked_size=np.int64(3))) == 3
    for sizes in (2.5, '3', [3, 'x'], None):
        with pytest.raises(PromptError, match='chunked_size is .*: it must be a number'):
            prompt_passes(names, chunked_size=sizes)
    for sizes in ([7, 0], [3, 3], []):
        with pytest.raises(PromptError, match='add up to the 7 names'):
            chunk_names(names, sizes)


def test_chunks_of_a_string_would_be_letters():
    with pytest.raises(PromptError, match='letter by letter'):
        chunk_names('cat. dog', 2)


class TestParsePrompt:
    """The meaning of mmdet's keys."""

    @pytest.mark.parametrize('kind', [list, tuple])
    @pytest.mark.parametrize('custom', [True, False])
    def test_list_of_names(self, kind, custom):
        prompt = parse_prompt(kind(['cat', 'sea_star']), custom_entities=custom)
        assert prompt.caption == 'cat. sea star'

    def test_custom_entities(self):
        prompt = parse_prompt('a red circle . a small blue square', custom_entities=True)
        assert prompt.phrases == ('a red circle', 'a small blue square')
        assert prompt.caption == 'a red circle. a small blue square'

    def test_caption_prompt_reaches_both_kinds_of_lists(self):
        extra = {'cat': dict(prefix='one ')}
        assert parse_prompt(['cat'], caption_prompt=extra).caption == 'one cat'
        assert parse_prompt('cat. dog', True, caption_prompt=extra).caption == 'one cat. dog'

    def test_minus_one_is_the_whole_caption(self):
        assert parse_prompt('the left dog', tokens_positive=-1).spans == (((0, 12),),)

    def test_spans_win_over_custom_entities(self):
        prompt = parse_prompt('cat. dog. ', True, tokens_positive=[[[5, 8]]])
        assert prompt.caption == 'cat. dog. ' and prompt.phrases == ('dog',)

    def test_training_contract_goes_by_sorted_labels(self):
        prompt = parse_prompt('cat. dog. owl. ', tokens_positive={7: [[10, 13]], 2: [[5, 8]]})
        assert prompt.phrases == ('dog', 'owl')

    def test_plain_caption_gives_noun_phrases(self):
        prompt = parse_prompt('A dog beside another dog')
        assert prompt.caption == 'A dog beside another dog'
        assert prompt.phrases == ('A dog', 'another dog')

    @pytest.mark.parametrize(
        'arguments, message',
        [
            (dict(text=['cat'], tokens_positive=-1), 'tokens_positive.*text is a list of names'),
            (dict(text='a cat', caption_prompt={}), 'caption_prompt.*text is a caption'),
            (dict(text='a cat', tokens_positive=-1, caption_prompt={}), 'text is a caption'),
            (dict(text='a cat', tokens_positive=2), 'tokens_positive must be'),
            (dict(text='a cat', tokens_positive={}), 'tokens_positive must be'),
            (dict(text=' . ', custom_entities=True), 'names nothing'),
            (dict(text=''), 'caption is empty'),
            (dict(text='', tokens_positive=-1), 'caption is empty'),
            (dict(text=None), 'got NoneType'),
        ],
    )
    def test_contradictions(self, arguments, message):
        with pytest.raises(PromptError, match=message):
            parse_prompt(**arguments)


def test_every_occurrence_of_a_noun_phrase_is_a_label():
    prompt = noun_phrase_prompt('a dog and a dog')
    assert prompt.phrases == ('a dog', 'a dog')
    assert prompt.spans == (((0, 5),), ((10, 15),))


def test_caption_without_noun_phrases_says_what_to_do():
    with pytest.raises(PromptError, match='no noun phrase found in .*custom_entities=True'):
        noun_phrase_prompt('is it?')


@pytest.mark.parametrize(
    'caption', ['一只狗在汽车旁边', 'собака и машина', '狗。car', 'कुत्ता और कार', '犬とcar', 'สุนัข']
)
def test_noun_phrases_are_english(caption):
    """Their words would be taken for nouns, and the whole caption for one phrase."""
    with pytest.raises(PromptError, match='English captions only.*as a list.*as phrases'):
        parse_prompt(caption)
    assert parse_prompt(caption, tokens_positive=[[[0, 1]]]).phrases == (caption[0],)
    assert parse_prompt(f'{caption} . 猫', custom_entities=True).phrases[1] == '猫'


def test_single_foreign_words_do_no_harm():
    phrases = parse_prompt('a dog beside a sign that says 出口').phrases
    assert phrases[0] == 'a dog'
