"""Spans to tokens: the fallback rule, positive maps, and phrases that get lost."""

import pytest
import torch

from fiber_mmdet.text import (
    PromptError,
    PromptTokenizer,
    category_prompt,
    label_tokens,
    positive_map,
    span_prompt,
    span_to_tokens,
)


@pytest.fixture(scope='module')
def tokenizer():
    return PromptTokenizer('fiber_mmdet:mini', max_tokens=32)


def owner(tokens):
    """A char_to_token that refuses negative characters as transformers does."""

    def char_to_token(character):
        if character < 0:
            raise OverflowError(character)
        return tokens.get(character)

    return char_to_token


@pytest.mark.parametrize(
    'owned, span, expected',
    [
        ({0: 1, 1: 1, 2: 1}, (0, 3), [1]),
        ({0: 1, 5: 4}, (0, 6), [1, 2, 3, 4]),
        ({1: 2, 4: 3}, (0, 6), [2, 3]),
        ({2: 2, 3: 3}, (0, 6), [2, 3]),
        ({3: 2, 5: 3}, (0, 6), []),
        ({0: 1, 2: 2}, (0, 6), []),
        ({4: 5}, (2, 5), [5]),
        ({0: 1}, (1, 2), []),
        ({0: 1, 1: None, 2: 2}, (1, 2), []),
        ({}, (0, 1), []),
    ],
    ids=[
        'exact',
        'inclusive',
        'begin+1 end-2',
        'begin+2 end-3',
        'begin too far',
        'end too far',
        'only the first',
        'before the text',
        'crossed ends',
        'nothing',
    ],
)
def test_fallback_rule(owned, span, expected):
    assert span_to_tokens(owner(owned), *span) == expected


def test_words_and_blanks_of_a_real_caption(tokenizer):
    tokens = tokenizer(['a  red circle. star'])
    find = tokens.encodings[0].char_to_token
    names = tokenizer.tokenizer.convert_ids_to_tokens(tokens.ids[0].tolist())
    assert names == ['<s>', 'a', 'Ġ', 'Ġred', 'Ġcircle', '.', 'Ġstar', '</s>']
    assert find(1) is None and find(2) is None
    assert span_to_tokens(find, 3, 13) == [3, 4]
    assert span_to_tokens(find, 1, 13) == [3, 4]
    assert span_to_tokens(find, 15, 19) == [6]


def test_trailing_blank_of_a_cleaned_name(tokenizer):
    prompt = category_prompt(['bat_(animal)', 'red circle'])
    assert prompt.caption == 'bat . red circle'
    assert label_tokens(tokenizer([prompt]), 0, prompt) == [[1], [3, 4]]


def test_labels_may_share_tokens_and_have_several_spans(tokenizer):
    prompt = span_prompt('red circle and red star', [[[0, 10]], [[0, 3], [15, 18]]])
    assert label_tokens(tokenizer([prompt]), 0, prompt.spans) == [[1, 2], [1, 4]]


def test_positive_map_is_the_table_of_label_tokens(tokenizer):
    prompt = category_prompt(['red circle', 'star'])
    tokens = tokenizer(['a much longer caption about a dog in the snow', prompt])
    table = positive_map(tokens, 1, prompt)
    assert table.dtype == torch.bool and table.shape == (2, tokens.ids.shape[1])
    assert [row.nonzero()[:, 0].tolist() for row in table] == label_tokens(tokens, 1, prompt)
    assert positive_map(tokens, 1, prompt, num_tokens=256).shape == (2, 256)
    assert positive_map(tokens, 1, []).shape == (0, tokens.ids.shape[1])


def test_padding_and_special_tokens_belong_to_nobody(tokenizer):
    prompt = category_prompt(['star'])
    tokens = tokenizer([prompt, 'a red circle and a blue square'])
    table = positive_map(tokens, 0, prompt)
    assert table.sum() == 1 and table[0, 1]


def test_a_lost_phrase_is_named(tokenizer):
    tokens = tokenizer(['a    red star'])
    with pytest.raises(PromptError, match=r"phrase '   ' \(characters 1 to 4\) has no token"):
        positive_map(tokens, 0, [[(5, 8)], [(1, 4)]])
    assert positive_map(tokens, 0, [[(5, 8)], [(1, 4)]], strict=False).sum(1).tolist() == [1, 0]


def test_a_phrase_beyond_the_limit_is_named_or_empty(tokenizer):
    prompt = category_prompt(['star', 'red circle'])
    tokens = tokenizer([prompt])
    with pytest.raises(PromptError, match="'red circle'.*among the 4 the model reads"):
        label_tokens(tokens, 0, prompt, num_tokens=4)
    assert label_tokens(tokens, 0, prompt, num_tokens=4, strict=False) == [[1], [3]]


def test_truncated_phrases_have_empty_rows_in_training(tokenizer):
    caption = 'red circle. ' * 20 + 'star'
    spans = [[(0, 10)], [(len(caption) - 4, len(caption))]]
    tokens = tokenizer([caption], truncate=True)
    table = positive_map(tokens, 0, spans, strict=False)
    assert table.shape == (2, 32) and table.sum(1).tolist() == [2, 0]
    with pytest.raises(PromptError, match="'star'.*shorten the caption"):
        positive_map(tokens, 0, spans)


def test_unicode_spans_count_characters_not_bytes(tokenizer):
    caption = '日本 café 😀 red star'
    begin = caption.index('red')
    tokens = tokenizer([span_prompt(caption, [[[begin, begin + 8]]])])
    kept = label_tokens(tokens, 0, [[(begin, begin + 8)]])[0]
    names = tokenizer.tokenizer.convert_ids_to_tokens(tokens.ids[0, kept].tolist())
    assert names == ['Ġred', 'Ġstar']
