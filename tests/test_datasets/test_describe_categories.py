"""Prompts of descriptions in training: who is asked for, in which words, and never too many."""

import json
from collections import Counter

import numpy as np
import pytest
import torch
from mmcv.transforms.utils import cache_random_params
from mmdet.structures.bbox import HorizontalBoxes

from fiber_mmdet.datasets import DescribeCategories
from fiber_mmdet.text import PromptTokenizer, category_prompt, parse_prompt

MINI = dict(name_or_path='fiber_mmdet:mini')
NAMES = [f'n{i}' for i in range(20)]
TOKENIZER = PromptTokenizer('fiber_mmdet:mini')


@pytest.fixture(scope='module')
def file(tmp_path_factory):
    """Descriptions of all categories but the last."""
    path = tmp_path_factory.mktemp('descriptions') / 'mine.json'
    described = {name.upper(): [f't{i}', ['red', f'p{i}']] for i, name in enumerate(NAMES[:-1])}
    path.write_text(json.dumps(described))
    return str(path)


def asked(transform, labels, seed=0, names=NAMES, **more):
    """The sample of an image whose boxes have these labels."""
    np.random.seed(seed)
    return transform.transform(
        dict(
            text=names,
            gt_bboxes_labels=np.array(labels, dtype=np.int64),
            gt_bboxes=HorizontalBoxes(torch.arange(4.0 * len(labels)).view(-1, 4)),
            **more,
        )
    )


def described(file, **more):
    return DescribeCategories(file, **{'tokenizer': MINI, 'prob': 1.0, **more})


# ------------------------------------------------------------------- words
def test_words_of_a_prompt(file):
    transform = described(file, size=3, all_prob=1.0, fewer_negatives_prob=0.0, name_prob=1.0)
    out = asked(transform, [2, 5, 2])
    prompt = parse_prompt(out['text'], caption_prompt=out['caption_prompt'])
    rest = ' red, p{0}'
    said = {i: f'n{i}, a kind of t{i},' + rest.format(i) for i in range(19)}
    said[19] = 'n19'
    order = [NAMES.index(name) for name in out['text']]
    assert prompt.caption == 'Detect: ' + ''.join(f'{said[i]}. ' for i in order)
    for (span,), i in zip(prompt.spans, order):
        assert prompt.caption[slice(*span)] == ('n19' if i == 19 else f'n{i}, a kind of t{i},')
    assert {2, 5} < set(order) and len(order) == 3
    assert [out['text'][label] for label in out['gt_bboxes_labels']] == [
        NAMES[i] for i in (2, 5, 2)
    ]


def test_names_are_left_out_half_the_time(file):
    heads = Counter()
    for seed in range(300):
        out = asked(described(file, size=4), [1], seed)
        for name, words in zip(out['text'], out['caption_prompt']):
            if name != NAMES[-1]:  # which has no description, so it keeps its name
                i = NAMES.index(name)
                assert words['name'] in (f'n{i}, a kind of t{i},', f'a kind of t{i},')
                assert words['suffix'].removesuffix('. ') == f' red, p{i}'
                heads[words['name'].startswith('n')] += 1
            else:
                assert words['name'] == 'n19'
    assert heads[True] / sum(heads.values()) == pytest.approx(0.5, abs=0.05)


# --------------------------------------------------------------------- whom
def drawn(file, labels, times=3000, **more):
    """How often each pair (positives, negatives) is asked for."""
    transform = described(file, **more)
    counts = Counter()
    for seed in range(times):
        out = asked(transform, labels, seed)
        positives = len({out['text'][i] for i in out['gt_bboxes_labels']})
        counts[positives, len(out['text']) - positives] += 1
    return {mix: count / times for mix, count in counts.items()}


def test_probabilities(file):
    """p = 3, q = 5: half of the prompts have all; the rest as stated in DesCo's configuration."""
    found = drawn(file, [0, 1, 1, 2])
    expected = Counter({(3, 5): 0.5})
    for negatives in range(6):
        expected[3, negatives] += 0.1 / 6
    for positives in range(4):
        expected[positives, 5] += 0.4 / 4
    assert found.keys() == expected.keys()
    for mix, share in expected.items():
        assert found[mix] == pytest.approx(share, abs=0.025), mix


def test_share_of_images_that_lose_all_boxes(file):
    """0.7 * 0.4 / (p + 1), the others being asked by name."""
    transform = described(file, prob=0.7)
    empty = [not len(asked(transform, [4], seed)['gt_bboxes_labels']) for seed in range(3000)]
    assert np.mean(empty) == pytest.approx(0.7 * 0.4 / 2, abs=0.02)


def test_many_categories(file):
    labels = list(range(12))
    found = drawn(file, labels, times=300, all_prob=1.0, fewer_negatives_prob=0.0)
    assert found.keys() == {(12, 0)}
    found = drawn(file, labels, times=300, fewer_negatives_prob=0.0, all_prob=0.0)
    assert {negatives for positives, negatives in found} == {0, 1}  # never an empty prompt
    assert all(negatives == 0 for positives, negatives in found if positives)
    reference = dict(all_prob=1.0, fewer_negatives_prob=0.0, legacy_overflow=True)
    room = dict(tokenizer=dict(MINI, max_tokens=999))
    assert drawn(file, labels, times=50, **reference, **room).keys() == {(12, 4)}


def test_images_without_boxes_and_classes_without_negatives(file):
    out = asked(described(file, all_prob=0.0, fewer_negatives_prob=1.0), [])
    assert 1 <= len(out['text']) <= 8
    for seed in range(50):
        out = asked(described(file), [0], seed, names=NAMES[:1])
        assert out['text'] == NAMES[:1] and len(out['gt_bboxes_labels']) == 1 or seed


def test_boxes_go_with_their_category(file):
    transform = described(file, all_prob=0.0, fewer_negatives_prob=0.0)
    labels = [0, 3, 3, 7]
    for seed in range(50):
        out = asked(transform, labels, seed, phrase_ids=list(labels))
        kept = [labels[i] for i, box in enumerate(range(4)) if NAMES[labels[i]] in out['text']]
        assert [NAMES.index(out['text'][i]) for i in out['gt_bboxes_labels']] == kept
        assert out['gt_bboxes'].tensor[:, 0].tolist() == [
            4.0 * i for i, label in enumerate(labels) if label in kept
        ]
        assert out['phrase_ids'] == kept


# ------------------------------------------------------------------- tokens
@pytest.mark.parametrize('limit', [40, 60, 90])
def test_prompts_are_filled_but_never_too_long(file, limit):
    """Independently: the prompt as written has at most as many tokens; one label more has more."""
    tokenizer = dict(MINI, max_tokens=limit)
    transform = described(file, size=15, all_prob=1.0, fewer_negatives_prob=0.0)
    cut = described(file, size=15, all_prob=1.0, fewer_negatives_prob=0.0, tokenizer=tokenizer)
    lengths = []
    for seed in range(40):
        out, whole = asked(cut, [0, 1], seed), asked(transform, [0, 1], seed)
        caption = category_prompt(out['text'], out['caption_prompt']).caption
        lengths.append(TOKENIZER([caption]).ids.shape[1])
        assert set(out['text']) <= set(whole['text'])
    assert max(lengths) <= limit < min(lengths) + 20 and max(lengths) > limit - 8


def test_one_description_that_is_too_long(tmp_path):
    (tmp_path / 'd.json').write_text(json.dumps({'n0': ['thing', ['very long'] * 30]}))
    transform = described(str(tmp_path / 'd.json'), tokenizer=dict(MINI, max_tokens=40))
    with pytest.raises(ValueError, match=r"d.json: the description of 'n0' alone takes \d+ tokens"):
        asked(transform, [0], names=['n0'])


# -------------------------------------------------------------- the others
def test_the_other_samples(file):
    """By name with probability 0.3; captions and samples with their own words pass through."""
    transform = described(file, prob=0.7, plain=dict(max_negatives=2, full_prob=1.0))
    plain = 0
    for seed in range(1000):
        out = asked(transform, [3], seed)
        plain += 'caption_prompt' not in out
        if 'caption_prompt' not in out:
            assert len(out['text']) == 3 and NAMES[3] in out['text']
    assert plain / 1000 == pytest.approx(0.3, abs=0.04)
    results = dict(text='a caption', tokens_positive=[])
    assert transform.transform(dict(results)) == results
    own = {NAMES[3]: dict(suffix=' of mine')}
    assert asked(described(file), [3], caption_prompt=own)['caption_prompt'] == own


def test_a_cached_draw_is_repeated(file):
    transform = described(file, prob=0.5)
    with cache_random_params(transform):
        first, second = (asked(transform, [1, 2], seed)['text'] for seed in (1, 2))
    assert first == second


@pytest.mark.parametrize(
    'arguments, message',
    [
        (dict(prob=1.5), 'prob=1.5'),
        (dict(all_prob=0.8, fewer_negatives_prob=0.3), 'their sum=1.1'),
        (dict(size=0), 'size=0 must be 1'),
    ],
)
def test_bad_arguments(file, arguments, message):
    with pytest.raises(ValueError, match=message):
        described(file, **arguments)


def test_files(file, tmp_path, caplog):
    with pytest.raises(FileNotFoundError, match='gone.json'):
        described(str(tmp_path / 'gone.json'))
    with pytest.raises(ValueError, match='mine.json describes none of the 2 names'):
        asked(described(file), [0], names=['cat', 'dog'])


def test_published_descriptions_of_objects365(shared_dir):
    """Names match regardless of case; prompts stay within RoBERTa's 256 tokens."""
    from mmdet.datasets import Objects365V1Dataset

    path = shared_dir / 'data/descriptions/o365.description.v1.json'
    if not path.is_file() or not (shared_dir / 'roberta-base/vocab.json').is_file():
        pytest.skip('no descriptions of Objects365, or no RoBERTa tokenizer')
    names = list(Objects365V1Dataset.METAINFO['classes'])
    name = str(shared_dir / 'roberta-base')
    transform = DescribeCategories(
        str(path), prob=1.0, tokenizer=dict(name_or_path=name, max_tokens=256)
    )
    roberta, sizes = PromptTokenizer(name), []
    for seed in range(60):
        out = asked(transform, [0, 5, 12], seed, names=names)
        caption = category_prompt(out['text'], out['caption_prompt']).caption
        assert roberta([caption]).ids.shape[1] <= 256
        sizes.append(len(out['text']))
    assert len(transform.descriptions_of(tuple(names))) > 330 and np.mean(sizes) > 6
