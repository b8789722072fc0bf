"""Phrases given as words: which characters of a caption they are."""

import pytest

from fiber_mmdet.text import (
    PromptError,
    PromptTokenizer,
    find_phrase,
    label_tokens,
    parse_prompt,
    phrase_prompt,
    prompt_passes,
)


@pytest.mark.parametrize(
    'caption, phrase, found',
    [
        ('a train besides sidewalk', 'train', ['train']),
        ('a train, a train and trains', 'train', ['train', 'train']),
        ('Train beside a TRAIN', 'train', ['Train', 'TRAIN']),
        ('the US and us', 'US', ['US']),
        ('the US and us', 'us', ['us']),
        ('the US and us', 'Us', ['US', 'us']),
        ('a red  car\nby a red\tcar', ' red car ', ['red  car', 'red\tcar']),
        ('a woman and a man', 'man', ['man']),
        ('a mans (man) man2 man-made', 'man', ['man', 'man']),
        ('ice cream? (ice cream!)', 'ice cream', ['ice cream', 'ice cream']),
        ('what is 3.5 + 3.5?', '3.5', ['3.5', '3.5']),
        ('a.b a+b', 'a.b', ['a.b']),
        ('go go go go', 'go go', ['go go', 'go go']),
        ('ago go go', 'go go', ['go go']),
        ('Æble og æble', 'ÆBLE', ['Æble', 'æble']),
        ('一列火车在站台旁', '火车', ['火车']),
        ('기차가 역에', '기차', ['기차']),
        ('un cafe\u0301 noir', 'caf\xe9 noir', ['cafe\u0301 noir']),
        ('le caf\xe9, un CAFE\u0301', 'cafe\u0301', ['caf\xe9']),
        ('le Caf\xe9, un CAFE\u0301', 'cafe\u0301', ['Caf\xe9', 'CAFE\u0301']),
        ('x\u0323\u0301 and x', 'x', ['x']),
        ('\u2764\ufe0f', '\u2764', ['\u2764']),
    ],
)
def test_occurrences(caption, phrase, found):
    spans = find_phrase(caption, phrase)
    assert [caption[begin:end] for begin, end in spans] == found
    assert spans == sorted(set(spans))


@pytest.mark.parametrize(
    'caption, phrase, message',
    [
        ('a train', 'sidewalk', "'sidewalk' does not occur in the caption 'a train': write"),
        ('two Trains and a strain', 'train', "'train' does not occur .* but within 'Trains'"),
        ('two Trains', 'train', "but within 'Trains': give whole words"),
        ('a red, car', 'red car', 'does not occur'),
        ('', 'car', 'does not occur'),
        ('un cafe\u0301 noir', 'cafe', 'does not occur'),
        ('un cafe\u0301s noir', 'caf\xe9', "but within 'cafés'"),
        ('यह की है', 'क', "but within 'की'"),
        ('a car', ' ', "' ' does not occur"),
    ],
)
def test_phrases_that_do_not_occur(caption, phrase, message):
    with pytest.raises(PromptError, match=message):
        find_phrase(caption, phrase)


def test_the_worked_example_of_the_published_demo():
    """DesCo's picture of a train; their demo makes a label of each occurrence."""
    prompt = parse_prompt('a train besides sidewalk', phrases=['train', 'sidewalk'])
    assert prompt == parse_prompt('a train besides sidewalk', phrases='train; sidewalk')
    assert prompt.phrases == ('train', 'sidewalk')
    assert prompt.spans == (((2, 7),), ((16, 24),))
    marked = parse_prompt('a train besides sidewalk', tokens_positive=[[[2, 7]], [[16, 24]]])
    assert prompt == marked


def test_all_occurrences_are_one_label():
    caption = 'A dog, a red dog and a bird'
    prompt = phrase_prompt(caption, ('dog', 'Red Dog', 'bird'))
    assert prompt.phrases == ('dog', 'Red Dog', 'bird')  # as given
    assert prompt.spans == (((2, 5), (13, 16)), ((9, 16),), ((23, 27),))
    tokenizer = PromptTokenizer('fiber_mmdet:mini')
    dog, red_dog, bird = label_tokens(tokenizer([prompt]), 0, prompt)
    assert set(dog) - set(red_dog) and set(dog) & set(red_dog) and not set(bird) & set(dog)


def test_tokens_of_the_worked_example(shared_dir):
    tokenizer = PromptTokenizer(str(shared_dir / 'roberta-base'))
    prompt = phrase_prompt('a train besides sidewalk', 'train;sidewalk')
    found = tokenizer([prompt])
    assert found.encodings[0].tokens == ['<s>', 'a', 'Ġtrain', 'Ġbesides', 'Ġsidewalk', '</s>']
    assert label_tokens(found, 0, prompt) == [[2], [4]]


@pytest.mark.parametrize(
    'arguments, message',
    [
        (dict(phrases=[]), 'phrases must be a list'),
        (dict(phrases=' ; '), 'phrases must be a list'),
        (dict(phrases={'dog'}), 'phrases must be a list'),
        (dict(phrases=['dog', ' ']), r"phrases\[1\] is ' '"),
        (dict(phrases=['dog', 7]), r'phrases\[1\] is 7'),
        (dict(phrases=['dog', 'DOG']), "'dog' and 'DOG' .labels 0 and 1. are the same words"),
        (dict(phrases='dog; cat;dog '), "'dog' and 'dog' .labels 0 and 2."),
        (dict(phrases=['dog'], tokens_positive=-1), 'give one of them'),
        (dict(phrases=['dog'], caption_prompt={}), 'text is a caption'),
        (dict(phrases=['dog'], text=['dog']), 'phrases marks words of a caption'),
        (dict(phrases=['dog'], text=' '), 'caption is empty'),
    ],
)
def test_contradictions(arguments, message):
    with pytest.raises(PromptError, match=message):
        parse_prompt(**dict(dict(text='a dog and a cat'), **arguments))


def test_phrases_win_over_entities_and_are_never_cut():
    (prompt,) = prompt_passes('cat . dog', True, phrases=['dog'], chunked_size=1)
    assert prompt.caption == 'cat . dog' and prompt.phrases == ('dog',)
    # mmdet's DetInferencer passes tokens_positive, and nothing of ours
    assert prompt_passes('cat . dog', True, ['dog'], chunked_size=1) == [prompt]
