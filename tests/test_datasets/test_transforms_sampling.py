"""Sampled categories: how many negatives, whose boxes, and never too many tokens."""

from collections import Counter

import numpy as np
import pytest
import torch
from mmcv.transforms.utils import cache_random_params
from mmdet.structures.bbox import HorizontalBoxes

from fiber_mmdet.datasets import SampleCategories
from fiber_mmdet.datasets.transforms.token_budget import TokenBudget
from fiber_mmdet.text import PromptTokenizer, category_prompt

MINI = dict(name_or_path='fiber_mmdet:mini')
LETTERS = tuple('abcdefghij')


def sampled(labels, seed=0, names=LETTERS, caption_prompt=None, **kwargs):
    np.random.seed(seed)
    results = dict(
        text=names,
        gt_bboxes_labels=np.array(labels, dtype=np.int64),
        gt_bboxes=HorizontalBoxes(torch.arange(4.0 * len(labels)).view(-1, 4)),
    )
    if caption_prompt is not None:
        results['caption_prompt'] = caption_prompt
    return SampleCategories(**kwargs).transform(results)


def drawn(labels, times=200, **kwargs):
    """Numbers of negatives in many prompts."""
    return Counter(
        len(sampled(labels, seed, **kwargs)['text']) - len(set(labels)) for seed in range(times)
    )


# ----------------------------------------------------------------- labels and order
@pytest.mark.parametrize('seed', range(5))
@pytest.mark.parametrize('labels', [[3, 7, 3], [], [9, 0, 5, 5]])
def test_labels_follow_their_names(labels, seed):
    out = sampled(labels, seed, max_negatives=4)
    assert [out['text'][i] for i in out['gt_bboxes_labels']] == ['abcdefghij'[i] for i in labels]
    assert len(set(out['text'])) == len(out['text']) and set(out['text']) <= set('abcdefghij')
    assert 1 <= len(out['text']) - len(set(labels)) <= 4


def test_sampling_is_random_and_reproducible():
    def texts():
        return [tuple(sampled([1, 2], seed, max_negatives=5)['text']) for seed in range(20)]

    assert texts() == texts() and len(set(texts())) > 15
    first = {names[0] for names in texts()}
    assert not first <= {'b', 'c'}  # positives are mixed with the negatives


def test_a_cached_draw_is_repeated():
    transform = SampleCategories(max_negatives=5, templates=('{}', 'a {}', 'the {}'))

    def text():
        return transform.transform(dict(text=LETTERS, gt_bboxes_labels=np.array([1])))['text']

    with cache_random_params(transform):
        assert all(text() == text() for _ in range(5))
    assert len({tuple(text()) for _ in range(20)}) > 10


def test_without_shuffling_the_order_is_that_of_the_data():
    for seed in range(20):
        out = sampled([7, 2, 7], seed, max_negatives=4, shuffle=False)
        assert out['text'] == sorted(out['text'])
        assert [out['text'][i] for i in out['gt_bboxes_labels']] == ['h', 'c', 'h']
    assert sampled([7, 2], max_negatives=10, full_prob=1, shuffle=False)['text'] == list(LETTERS)


def test_captions_pass_through():
    results = dict(
        text='a dog on a sofa', tokens_positive=[[[2, 5]]], gt_bboxes_labels=np.array([0])
    )
    assert SampleCategories(tokenizer=MINI).transform(dict(results)) == results


def test_categories_of_one_name_are_one():
    out = sampled(
        [0, 1, 3],
        names=('cat', 'dog', 'cow', 'cat'),
        full_prob=1,
        caption_prompt=[dict(prefix=p) for p in '1234'],
    )
    assert sorted(out['text']) == ['cat', 'cow', 'dog']
    assert [out['text'][i] for i in out['gt_bboxes_labels']] == ['cat', 'dog', 'cat']
    assert dict(zip(out['text'], (around['prefix'] for around in out['caption_prompt']))) == dict(
        cat='1', dog='2', cow='3'
    )
    category_prompt(out['text'])  # which rejects repeated names


def test_names_that_read_alike_once_cleaned_make_a_prompt():
    out = sampled([0, 1], names=('bow_(weapon)', 'bow_(ribbon)', 'hat'), full_prob=1)
    assert category_prompt(out['text']).caption.count('bow') == 2


# ---------------------------------------------------------------------- words
def test_each_prompt_is_worded_by_one_template():
    def texts(**kwargs):
        return [
            tuple(sampled([1, 2], seed, max_negatives=5, **kwargs)['text']) for seed in range(20)
        ]

    worded = [{name[:2] for name in names} for names in texts(templates=('{}', 'a {}'))]
    assert all(len(starts) == 1 or 'a ' not in starts for starts in worded)
    assert sum('a ' in starts for starts in worded) in range(4, 17)
    out = sampled([4, 4], templates=('the {}!',))
    assert [out['text'][i] for i in out['gt_bboxes_labels']] == ['the e!'] * 2


def test_words_around_names_follow_them():
    listed = [dict(suffix=f' number {i}') for i in range(10)]
    given = [dict(words) for words in listed]
    out = sampled([4, 8], caption_prompt=listed, max_negatives=3, templates=('a {}',))
    assert listed == given  # shared by all samples
    caption = category_prompt(out['text'], out['caption_prompt']).caption
    assert sorted(caption.split('. ')) == sorted(
        f'{name} number {LETTERS.index(name)}' for name in out['text']
    )
    by_name = {'e': dict(prefix='large ')}
    out = sampled([4, 8], caption_prompt=by_name, max_negatives=3)
    assert out['caption_prompt'] == by_name
    assert 'large e' in category_prompt(out['text'], by_name).caption
    with pytest.raises(ValueError, match='caption_prompt lists 9 entries for 10 categories'):
        sampled([4], caption_prompt=listed[:9])


# ------------------------------------------------------------- how many negatives
def test_number_of_negatives():
    assert set(drawn([2], max_negatives=4, full_prob=1.0)) == {4}
    assert set(drawn([2], max_negatives=4, full_prob=0.0)) == {1, 2, 3, 4}
    assert set(drawn([2], max_negatives=4, full_prob=0.0, usual_negatives=2)) == {1, 2}
    assert set(drawn([2], max_negatives=0)) == {0}
    assert max(drawn([2])) == 9
    assert 0.5 < drawn([2], max_negatives=4, full_prob=0.5)[4] / 200 < 0.75  # 0.5 + 0.5 / 4


@pytest.mark.parametrize(
    'one, none, full', [(0.05, 0.05, 0.5), (0, 0, 0.5), (0.3, 0.3, 0.2), (0, 0, 1)]
)
def test_the_four_cases_have_their_probabilities(one, none, full):
    times, most = 3000, 9
    counts = drawn([2], times, one_prob=one, none_prob=none, full_prob=full, max_negatives=most)
    rest = (1 - one - none - full) / most
    expected = {0: none, 1: one + rest, most: full + rest, **{i: rest for i in range(2, most)}}
    for number, probability in expected.items():
        # four standard deviations
        slack = 4 * (probability * (1 - probability) / times) ** 0.5
        assert abs(counts[number] / times - probability) <= slack, number
    assert sum(counts.values()) == times and max(counts) == most


def test_a_prompt_is_never_empty():
    assert {len(sampled([], seed, none_prob=1.0, full_prob=0)['text']) for seed in range(5)} == {1}
    assert sampled([3], none_prob=1.0, full_prob=0)['text'] == ['d']


def test_drawing_from_all_categories_throws_positives_away():
    """Of 10 categories 5 are drawn, of which on average 2 of the 4 positive ones are."""
    labels = [0, 1, 2, 3]
    counts = drawn(labels, 2000, draw_from='all', full_prob=1, max_negatives=5)
    assert set(counts) == {1, 2, 3, 4, 5}
    mean = sum(number * count for number, count in counts.items()) / 2000
    assert abs(mean - 5 * 6 / 10) < 0.08  # hypergeometric, standard deviation 0.8
    assert set(drawn(labels, 50, full_prob=1, max_negatives=5)) == {5}


@pytest.mark.parametrize(
    'wrong, message',
    [
        (dict(one_prob=0.3, none_prob=0.3), r'one_prob=0.3, none_prob=0.3, full_prob=0.5 must not'),
        (dict(full_prob=1.2), 'full_prob=1.2'),
        (dict(none_prob=-0.1), 'none_prob=-0.1'),
        (dict(draw_from='positives'), "draw_from='positives'.*'negatives' or 'all'"),
        (
            dict(tokenizer=MINI, count_tokens='words'),
            "count_tokens='words'.*'exact' or 'reference'",
        ),
        (dict(max_negatives=-1), 'max_negatives=-1'),
        (dict(usual_negatives=0), 'usual_negatives=0'),
    ],
)
def test_settings_that_make_no_sense(wrong, message):
    with pytest.raises(ValueError, match=message):
        SampleCategories(**wrong)


# -------------------------------------------------------------------- token budget
WORDS = (
    'red circle',
    'bat_(animal)',
    "o'clock",
    'tissue ',
    'pen/pencil',
    'U.S. flag',
    ' ray',
    'CD',
    'wow!',
    'hot dog',
    'T-shirt',
    'naïve art',
    '3D glasses',
    'a (b) c',
)


def real_length(names, tokenizer, caption_prompt=None):
    prompt = category_prompt(names, caption_prompt)
    return int(PromptTokenizer(tokenizer, 10**6)([prompt]).mask.sum())


@pytest.mark.parametrize('tokenizer', ['mini', 'roberta'])
def test_sum_over_names_is_the_length_of_the_prompt(tokenizer, request):
    tokenizer = (
        'fiber_mmdet:mini'
        if tokenizer == 'mini'
        else str(request.getfixturevalue('shared_dir') / 'roberta-base')
    )
    budget = TokenBudget(tokenizer)
    for seed in range(40):
        names = np.random.default_rng(seed).permutation(WORDS)[: 1 + seed % len(WORDS)].tolist()
        written = [category_prompt([name]).caption for name in names]
        assert budget.length(written) == real_length(names, tokenizer), names


def vocabulary(kind, request):
    """Tokenizer and names of a real vocabulary."""
    shared = request.getfixturevalue('shared_dir')
    if kind == 'lvis':
        import json

        content = json.loads((shared / 'data/lvis/lvis_val_100.json').read_text())
        names = [category['name'] for category in content['categories']]
    else:
        from mmdet.datasets import CocoDataset, Objects365V1Dataset

        names = dict(coco=CocoDataset, objects365=Objects365V1Dataset)[kind].METAINFO['classes']
    return str(shared / 'roberta-base'), tuple(names)


@pytest.mark.parametrize('kind, limit', [('coco', 100), ('objects365', 256), ('lvis', 256)])
def test_prompts_fill_the_model_and_never_exceed_it(kind, limit, request):
    tokenizer, names = vocabulary(kind, request)
    lengths = []
    for seed in range(25):
        labels = np.random.default_rng(seed).integers(0, len(names), 6).tolist()
        out = sampled(
            labels,
            seed,
            names,
            full_prob=1.0,
            max_negatives=150,
            tokenizer=dict(name_or_path=tokenizer, max_tokens=limit),
        )
        assert [out['text'][i] for i in out['gt_bboxes_labels']] == [names[i] for i in labels]
        lengths.append(real_length(out['text'], tokenizer))
    # no name was left out but the one that did not fit
    assert limit - 14 < min(lengths) and max(lengths) <= limit


def test_everything_is_kept_where_it_fits(request):
    tokenizer, names = vocabulary('coco', request)
    for seed in range(5):
        out = sampled([3], seed, names, full_prob=1.0, tokenizer=dict(name_or_path=tokenizer))
        assert sorted(out['text']) == sorted(names)
    assert real_length(names, tokenizer) == 194


def test_the_names_kept_are_the_longest_run_that_fits():
    """Against a search that tokenizes every prompt as a whole."""
    for seed in range(30):
        random = np.random.default_rng(seed)
        names = random.permutation(WORDS).tolist()
        order, limit = random.permutation(len(names)).tolist(), int(random.integers(12, 60))
        runs = [[names[i] for i in order if i < kept] for kept in range(len(names) + 1)]
        expected = max(
            kept
            for kept, run in enumerate(runs)
            if not run or real_length(run, MINI['name_or_path']) <= limit
        )
        written = [category_prompt([name]).caption for name in names]
        assert TokenBudget(**MINI, max_tokens=limit).fit(written, order, 1) == expected, seed


def test_words_around_names_count():
    around = {name: dict(suffix=' with long legs and a very long tail') for name in LETTERS}
    for words in (around, [around[name] for name in LETTERS]):
        out = sampled(
            [1, 1], caption_prompt=words, full_prob=1, tokenizer=dict(MINI, max_tokens=50)
        )
        assert 'b' in out['text'] and 2 <= len(out['text']) < 8
        assert real_length(out['text'], MINI['name_or_path'], out['caption_prompt']) <= 50


def test_positives_that_do_not_fit_lose_their_boxes():
    labels, seen = [0, 1, 2, 3, 4, 0], set()
    for seed in range(30):
        np.random.seed(seed)
        results = dict(
            text=LETTERS,
            gt_bboxes_labels=np.array(labels),
            phrase_ids=list(labels),
            gt_bboxes=HorizontalBoxes(torch.arange(24.0).view(6, 4)),
            gt_ignore_flags=np.array([0, 0, 1, 0, 0, 1], dtype=bool),
        )
        # <s> a . b . c </s>
        out = SampleCategories(tokenizer=dict(MINI, max_tokens=7)).transform(results)
        names = [out['text'][i] for i in out['gt_bboxes_labels']]
        assert len(out['text']) == 3 and set(out['text']) == set(names) <= set('abcde')
        # what is left of each box is that of one and the same box
        rows = (out['gt_bboxes'].tensor[:, 0] / 4).int().tolist()
        assert names == [LETTERS[labels[row]] for row in rows]
        assert out['gt_ignore_flags'].tolist() == [row in (2, 5) for row in rows]
        assert out['phrase_ids'] == [labels[row] for row in rows]
        seen.update(names)
    assert seen == set('abcde')  # it is not always the same ones that are dropped


def test_a_name_longer_than_a_prompt_is_an_error():
    with pytest.raises(ValueError, match="category 'very very.*alone takes more than the 9 tokens"):
        sampled([0], names=('very ' * 20, 'b'), tokenizer=dict(MINI, max_tokens=9))


# ------------------------------------------------------------ counting as the reference does
def reference_choice(names, positives, negatives, count, limit=254):
    """What the reference keeps, spelled out."""
    kept, used = [], 0
    for name in positives:
        used += count(f'{name}. ')
        if used > limit:
            break
        kept.append(name)
    left = limit - used
    for name in negatives:
        left -= count(f'{name}. ')
        if left > 0:
            kept.append(name)
        else:
            break
    return kept


@pytest.mark.parametrize('positives', [0, 3, 78])
def test_counting_as_the_reference_does(positives, request):
    tokenizer, names = vocabulary('coco', request)
    names = [names[i] for i in np.random.default_rng(0).permutation(80)]
    count = PromptTokenizer(tokenizer).tokenizer.tokenize
    assert len(count('dog. ')) == 3  # a blank at the end is a token, one before a word is not
    assert sum(len(count(f'{name}. ')) for name in names) == 311
    kept = TokenBudget(tokenizer, count='reference').fit(names, list(range(80)), positives)
    expected = reference_choice(
        names, names[:positives], names[positives:], lambda text: len(count(text))
    )
    assert names[:kept] == expected and kept < 80
    assert real_length(names[:kept], tokenizer) < 200


# ----------------------------------------------------------- only some of the positives
def test_some_of_the_positives_are_named_and_boxes_of_the_others_are_dropped():
    named = Counter()
    for seed in range(300):
        out = sampled([1, 2, 2, 5], seed, max_negatives=2, some_prob=1.0)
        positives = set(out['text']) & {'b', 'c', 'f'}
        named[len(positives)] += 1
        kept = [out['text'][i] for i in out['gt_bboxes_labels']]
        assert set(kept) == positives
        # the boxes that stay are those of the names that stay
        firsts = (out['gt_bboxes'].tensor[:, 0] / 4).long().tolist()
        assert kept == [('b', 'c', 'c', 'f')[i] for i in firsts]
        assert len(out['text']) - len(positives) in (1, 2)  # negatives never come from positives
    assert set(named) == {0, 1, 2} and min(named.values()) > 60


def test_a_prompt_is_never_empty_when_all_names_are_positives():
    for seed in range(30):
        out = sampled([0, 1], seed, names=('a', 'b'), some_prob=1.0)
        assert len(out['text']) == 1


def test_the_option_draws_nothing_when_it_is_off():
    present = np.array([1, 2])
    np.random.seed(0)
    assert SampleCategories()._some(present) is present
    after = np.random.rand()
    np.random.seed(0)
    assert np.random.rand() == after
    with pytest.raises(ValueError, match='some_prob=1.5'):
        SampleCategories(some_prob=1.5)
