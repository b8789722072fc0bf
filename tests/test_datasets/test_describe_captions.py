"""Captions as true and false statements: words, spans, boxes, and how many of which."""

import json
import math
from collections import Counter

import numpy as np
import pytest
import torch
from mmcv.transforms.utils import cache_random_params
from mmdet.structures.bbox import HorizontalBoxes
from mmengine.registry import DefaultScope

from coco_json import box, image, write_json
from fiber_mmdet.datasets import DescribeCaptions, MDETRGroundingDataset
from fiber_mmdet.datasets.transforms.statement_mix import StatementMix
from fiber_mmdet.datasets.transforms.statements import split_sentences
from fiber_mmdet.text import PromptTokenizer

MINI = dict(name_or_path='fiber_mmdet:mini')
CAPTION = 'A woman flies a red kite on a long line . Is the sky blue? Two dogs run.'
PHRASES = {'woman': 'a kind of person, tall', 'a red kite': 'a kind of toy, flies in the wind.'}
FALSE = ['A man sells kites.', 'The kite is green.']
TEXTS = {
    'A woman flies a red kite on a long line.': '\n'.join(
        f'{head}: {json.dumps(part)}'
        for head, part in (
            ('descriptions', PHRASES),
            ('objects', {'balloon': 'a kind of toy, round'}),
            ('captions', FALSE),
        )
    ),
    'Two dogs run.': 'descriptions: {"dogs": "a kind of animal"}\n'
    'objects: {}\ncaptions: ["One cat."]',
}


def spans(*words, caption=CAPTION):
    """The spans of these words."""
    return [[caption.index(word), caption.index(word) + len(word)] for word in words]


# label 0: the woman, 1: the kite, in two pieces, 2: the dogs, 3: the sky
LABELS = [spans('woman'), spans('a red', 'kite'), spans('Two dogs'), spans('the sky')]


def sample(**more):
    boxes = [0, 1, 1, 2, 3]
    return dict(
        text=CAPTION,
        tokens_positive=LABELS,
        phrase_ids=list(boxes),
        gt_bboxes_labels=np.array(boxes, dtype=np.int64),
        gt_bboxes=HorizontalBoxes(torch.arange(20.0).view(-1, 4)),
        sentence_descriptions=TEXTS,
        **more,
    )


def drawn(times=300, ratios=None, sample=sample, **more):
    """The samples of a run."""
    ratios = dict(statements=1.0) if ratios is None else ratios
    transform = DescribeCaptions(**{'tokenizer': MINI, 'ratios': ratios, **more})
    np.random.seed(0)
    return [transform.transform(sample()) for _ in range(times)]


def pieces(text):
    """The statements of a prompt."""
    return [piece for piece in text.replace('? ', '?. ').split('. ') if piece]


# ------------------------------------------------------------------- words
DESCRIBED = {
    'a red kite, a kind of toy, flies in the wind',
    'a kind of toy, flies in the wind',
    'dogs, a kind of animal',
    'a kind of animal',
}
TRUE = {
    'A woman flies a red kite on a long line',
    'Is the sky blue?',
    'Two dogs run',
    *DESCRIBED,
}
LIES = {
    *(text.rstrip('.') for text in FALSE),
    'balloon, a kind of toy, round',
    'a kind of toy, round',
    'One cat',
}


def test_statements_are_sentences_descriptions_and_negatives():
    found = Counter(piece for out in drawn() for piece in pieces(out['text']))
    assert found.keys() == TRUE | LIES  # the woman's description is none of them
    described = Counter()
    for out in drawn(1000):
        described[bool(DESCRIBED & set(pieces(out['text'])))] += 1
        assert out['text'].endswith(('. ', '? '))
    assert 0.4 < described[True] / 1000 < 0.8  # at most describe_prob


def test_without_descriptions():
    found = {piece for out in drawn(describe_prob=0.0) for piece in pieces(out['text'])}
    assert found == TRUE - DESCRIBED | {'A man sells kites', 'The kite is green', 'One cat'}


def test_spans_are_where_the_words_are():
    """Each label marks its words in the sentence, and name and type in the description."""
    seen = Counter()
    for out in drawn():
        marked = [{out['text'][b:e] for b, e in own} for own in out['tokens_positive']]
        for words in marked:
            seen[frozenset(words)] += 1
        labels = out['gt_bboxes_labels'].tolist()
        assert set(labels) == set(range(len(marked))) and out['phrase_ids'] == labels
        # which box is which is told by its place
        first = {0: 'woman', 4: 'a red kite', 8: 'a red kite', 12: 'Two dogs', 16: 'the sky'}
        for x, label in zip(out['gt_bboxes'].tensor[:, 0].tolist(), labels):
            assert marked[label] & {first[int(x)], *WORDS_OF[int(x)]}, (x, marked[label])
    assert set().union(*seen) == {
        'woman',
        'a red kite',
        'Two dogs',
        'the sky',
        'a red kite, a kind of toy,',
        'a kind of toy,',
        'dogs, a kind of animal',
        'a kind of animal',
    }
    assert frozenset({'a red kite', 'a kind of toy,'}) in seen


KITE = ('a red kite, a kind of toy,', 'a kind of toy,')
WORDS_OF = {0: (), 4: KITE, 8: KITE, 12: ('dogs, a kind of animal', 'a kind of animal'), 16: ()}


def test_negatives_never_carry_a_span():
    for out in drawn():
        begin, text = 0, out['text']
        marks = [span for own in out['tokens_positive'] for span in own]
        for piece in pieces(text):
            begin = text.index(piece, begin)
            inside = [span for span in marks if begin <= span[0] < begin + len(piece)]
            assert piece in TRUE or not inside
            begin += len(piece)


def test_images_may_lose_all_boxes():
    empty = [out for out in drawn(600) if not len(out['gt_bboxes_labels'])]
    assert empty
    for out in empty:
        assert out['tokens_positive'] == [] and not set(pieces(out['text'])) & (
            TRUE - {'Is the sky'}
        )
        assert len(out['gt_bboxes']) == 0


def test_sentences():
    found = split_sentences(CAPTION, LABELS)
    assert [sentence.text for sentence in found] == [
        'A woman flies a red kite on a long line',
        'Is the sky blue?',
        'Two dogs run',
    ]
    assert [[(label, s.text[b:e]) for label, b, e in s.marks] for s in found] == [
        [(0, 'woman'), (1, 'a red kite')],
        [(3, 'the sky')],
        [(2, 'Two dogs')],
    ]
    (only,) = split_sentences('.. a dog runs', [[[3, 99]], [[0, 1]]])
    assert only.text == '.. a dog runs'.strip(' .') or only.marks


# ----------------------------------------------------------------- passing
def test_what_stays_as_it_is():
    plain = Counter()
    for out in drawn(1000, dict(statements=0.8)):
        plain[out['text'] == CAPTION] += 1
        assert 'sentence_descriptions' not in out and 'phrase_nouns' not in out
    assert plain[True] / 1000 == pytest.approx(0.2, abs=0.04)
    for without in (None, {}, {'Another sentence.': TEXTS['Two dogs run.']}):
        (out,) = drawn(
            1, sample=lambda without=without: sample() | dict(sentence_descriptions=without)
        )
        assert out['text'] == CAPTION and out['tokens_positive'] == LABELS
    transform = DescribeCaptions(MINI, dict(statements=1.0))
    for text, positive in ((['a', 'b'], None), (CAPTION, -1), (CAPTION, [])):
        results = dict(text=text, tokens_positive=positive, sentence_descriptions=TEXTS)
        out = transform.transform(dict(results))
        assert (out['text'], out['tokens_positive']) == (text, positive)


def test_spans_by_label():
    """mmdet's form of spans, a table whose keys are the labels."""

    def by_label():
        labels = np.array([7, 5, 5, 9, 2])
        spans = {7: LABELS[0], 5: LABELS[1], 9: LABELS[2], 2: LABELS[3]}
        return sample() | dict(tokens_positive=spans, gt_bboxes_labels=labels)

    for out in drawn(100, sample=by_label):
        marked = [{out['text'][b:e] for b, e in own} for own in out['tokens_positive']]
        for x, label in zip(out['gt_bboxes'].tensor[:, 0].tolist(), out['gt_bboxes_labels']):
            words = {0: 'woman', 4: 'kite', 8: 'kite', 12: 'dogs', 16: 'sky'}[int(x)]
            kind = {4: 'a kind of toy,', 8: 'a kind of toy,', 12: 'a kind of animal'}.get(int(x))
            assert any(words in piece or piece == kind for piece in marked[label])


def test_a_cached_draw_has_the_same_seed():
    transform = DescribeCaptions(MINI, dict(statements=1.0))
    with cache_random_params(transform):
        np.random.seed(0)
        first = transform.transform(sample())['text']
        transform.mix = StatementMix()
        assert transform.transform(sample())['text'] == first


# ------------------------------------------------------------------ tokens
@pytest.mark.parametrize('limit', [30, 60])
def test_prompts_are_never_too_long(limit):
    tokenizer = PromptTokenizer('fiber_mmdet:mini')
    lengths = [
        tokenizer([out['text']]).ids.shape[1]
        for out in drawn(200, tokenizer=dict(MINI, max_tokens=limit))
        if out['text'] != CAPTION
    ]
    assert len(lengths) > 150 and max(lengths) <= limit and max(lengths) > limit - 6


# -------------------------------------------------------------- controller
def normal(t):
    """The share of a length: N(20, 4) on [t - 1/2, t + 1/2]."""
    edge = [0.5 * math.erf((x - 20) / 4 / math.sqrt(2)) for x in (t - 0.5, t + 0.5)]
    return edge[1] - edge[0]


def test_mixes_even_out():
    """With everything at hand, each bin's count grows with its share, up to the slack."""
    mix, draws = StatementMix(), 2000
    for _ in range(draws):
        mix.count(*mix.choose(true=40, false=40))
    bins = {(t, k) for t in range(1, 36) for k in range(t + 1)}
    load = {b: mix.counts[b] / normal(b[0]) for b in bins}
    assert sum(mix.counts.values()) == draws
    middle = [load[b] for b in bins if 12 <= b[0] <= 28]
    # one more prompt of a length adds 1 / its share
    assert max(middle) - min(middle) <= 10 + 1 / normal(12)
    by_length = Counter()
    for (t, _), count in mix.counts.items():
        by_length[t] += count
    assert sorted(by_length, key=by_length.get)[-1] in range(19, 25)  # share x (t + 1) bins


def test_true_statements_are_kept_while_the_bins_allow():
    mix = StatementMix()
    assert mix.choose(true=3, false=5) == (3, 3)
    mix.count(3, 3)
    assert mix.choose(true=3, false=5) == (4, 3)
    for t in range(4, 9):
        mix.count(t, 3)
    assert mix.choose(true=3, false=5) == (2, 2)
    shares = Counter()
    for _ in range(500):
        choice = mix.choose(true=3, false=5)
        assert 0 <= choice[1] <= 3 and 0 <= choice[0] - choice[1] <= 5
        shares[choice[1]] += 1
        mix.count(*choice)
    assert shares.keys() == {0, 1, 2, 3}


def test_limits_of_a_choice():
    mix = StatementMix()
    assert mix.choose(true=1, false=0) == (1, 1)
    assert mix.choose(true=9, false=9, most=2) == (2, 2)
    assert mix.choose(true=9, false=9, most=0)[0] == 1
    assert max(mix.choose(true=99, false=99)) <= 35


# -------------------------------------------------------------- vocabulary
def entry(kind, count, *similar):
    text = json.dumps({'type': kind, 'description': 'seen; known', 'similar objects': similar})
    return [text, count]


@pytest.fixture
def vocabulary(tmp_path):
    path = tmp_path / 'nouns.json'
    nouns = {
        'kite': entry('toy', 50, 'balloon', 'yacht'),
        'balloon': entry('toy', 20),
        'dogs': entry('animal', 99),
        'woman': entry('person', 20_000),
        **{f'noun{i}': entry('thing', 9) for i in range(60)},
    }
    path.write_text(json.dumps(nouns))
    return str(path)


@pytest.mark.parametrize('given', [None, [['woman'], ['kite', 'line'], ['dogs'], []]])
def test_nouns(vocabulary, given):
    """The kite and the dogs have texts; the woman is too common, the sky is unknown."""
    heads = Counter()
    for out in drawn(
        100,
        dict(vocabulary=1.0),
        vocabulary=vocabulary,
        tokenizer=dict(MINI, max_tokens=999),
        sample=lambda: sample(phrase_nouns=given),
    ):
        said = pieces(out['text'])
        assert sum(len(piece.split()) for piece in said) <= 180 and len(said) > 10
        assert all(piece.endswith('seen, known') for piece in said)
        assert any('balloon, a kind of toy' in piece or 'a kind of toy' in piece for piece in said)
        assert not any('woman' in piece or 'yacht' in piece for piece in said)
        marked = [{out['text'][b:e] for b, e in own} for own in out['tokens_positive']]
        assert out['gt_bboxes'].tensor[:, 0].tolist() == [4, 8, 12]
        for label, words in zip(out['gt_bboxes_labels'].tolist(), ('kite', 'kite', 'dogs')):
            kind = dict(kite='toy', dogs='animal')[words]
            assert marked[label] <= {f'{words}, a kind of {kind},', f'a kind of {kind},'}
            heads[words in min(marked[label])] += 1
    assert heads[True] / sum(heads.values()) == pytest.approx(0.5, abs=0.1)


def test_captions_without_a_noun(vocabulary):
    unknown = dict(vocabulary=vocabulary, sample=lambda: sample(phrase_nouns=[['x']] * 4))
    (out,) = drawn(1, dict(vocabulary=1.0), **unknown)
    assert out['text'] == CAPTION


def test_ways_are_taken_as_often_as_told(vocabulary):
    ways = Counter()
    for out in drawn(1500, dict(statements=0.5, vocabulary=0.4), vocabulary=vocabulary):
        text = out['text']
        ways['plain' if text == CAPTION else 'nouns' if 'seen, known' in text else 'said'] += 1
    for way, share in (('said', 0.5), ('nouns', 0.4), ('plain', 0.1)):
        assert ways[way] / 1500 == pytest.approx(share, abs=0.04)


@pytest.mark.parametrize(
    'arguments, message',
    [
        (dict(ratios=dict(v4=0.5)), "probabilities of 'statements' and 'vocabulary'"),
        (dict(ratios=dict(statements=1.2)), 'at most 1'),
        (dict(ratios=dict(vocabulary=0.5)), 'needs a file'),
        (dict(ratios=dict(statements=0.5), vocabulary='nouns.json'), 'read by no other'),
    ],
)
def test_bad_arguments(arguments, message):
    with pytest.raises(ValueError, match=message):
        DescribeCaptions(MINI, **arguments)


# ------------------------------------------------------------------- files
def read(tmp_path, images, boxes, **more):
    with DefaultScope.overwrite_default_scope('mmdet'):
        return MDETRGroundingDataset(
            **{
                'ann_file': write_json(tmp_path / 'c.json', images, boxes),
                'data_prefix': dict(img='images'),
                'pipeline': [],
                'with_descriptions': True,
                **more,
            }
        )


def test_files_with_descriptions(tmp_path):
    images = [
        image(1, caption='a dog', gpt3_outputs={'a dog': 'x'}),
        image(2, caption='a dog beside a cat'),
    ]
    here, there = [10, 10, 20, 20], [30, 5, 20, 20]
    boxes = [
        box(1, 1, here, tokens_positive=[[0, 5]]),
        box(2, 2, here, tokens_positive=[[0, 5]], nouns=['dog']),
        box(3, 2, here, tokens_positive=[[13, 18]], nouns=['cat']),
        box(4, 2, there, tokens_positive=[[13, 18]]),
    ]
    first, second = read(tmp_path, images, boxes)
    assert first['sentence_descriptions'] == {'a dog': 'x'} and first['phrase_nouns'] is None
    assert second['sentence_descriptions'] is None
    assert second['phrase_nouns'] == [['dog', 'cat'], []]
    assert 'phrase_nouns' not in read(tmp_path, images, boxes, with_descriptions=False)[0]


@pytest.mark.parametrize(
    'record, of_box, more, message',
    [
        ({}, {}, {}, 'no image has "gpt3_outputs" and no annotation "nouns"'),
        (
            dict(gpt3_outputs=['x']),
            {},
            {},
            r"image 1 has gpt3_outputs \['x'\]: it must be an object",
        ),
        (dict(gpt3_outputs={'a': 1}), {}, {}, 'image 1 has gpt3_outputs'),
        ({}, dict(nouns='dog'), {}, "annotation 1 has nouns 'dog': it must be a list"),
        ({}, {}, dict(test_mode=True), 'leave it out in test_mode'),
        ({}, {}, dict(whole_caption=True), 'whole_caption'),
    ],
)
def test_files_without_or_with_others(tmp_path, record, of_box, more, message):
    boxes = [box(1, 1, [10, 10, 20, 20], tokens_positive=[[0, 5]], **of_box)]
    with pytest.raises(ValueError, match=message):
        read(tmp_path, [image(1, caption='a dog', **record)], boxes, **more)
