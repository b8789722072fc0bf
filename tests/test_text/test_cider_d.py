"""CIDEr-D against a computation by hand, the public package and the reference; its files."""

import json
import math
import pickle
import runpy
import sys
from collections import defaultdict
from pathlib import Path

import numpy as np
import pytest

from fiber_mmdet.text.cider_d import CiderD, caption_words, ngrams
from fiber_mmdet.text.document_frequency import read_document_frequency

CHECKOUT = Path(__file__).resolve().parents[2]
WORDS = 'a red blue circle star is left of the and <eos>'.split()


def corpus(images=8, seed=0):
    """Reference captions and a candidate per image, as words; some repeat words or are short."""
    rng = np.random.default_rng(seed)

    def caption():
        return list(rng.choice(WORDS, rng.integers(1, 12)))

    references = [[caption() for _ in range(rng.integers(1, 5))] for _ in range(images)]
    candidates = [caption() if rng.random() < 0.5 else [*refs[0][1:], 'new'] for refs in references]
    return references, candidates


def by_hand(candidate, references, images, sigma=6.0, largest=4):
    """By vectors over all n-grams that occur; slow and plain."""
    total = 0
    for n in range(1, largest + 1):

        def grams(words, n=n):
            return [tuple(words[i : i + n]) for i in range(len(words) - n + 1)]

        space = sorted(
            {g for refs in images for r in refs for g in grams(r)} | set(grams(candidate))
        )
        inside = [sum(any(g in grams(r) for r in refs) for refs in images) for g in space]
        idf = math.log(len(images)) - np.log(np.maximum(inside, 1))

        def vector(words, space=space, idf=idf):
            return np.array([grams(words).count(g) for g in space]) * idf

        h = vector(candidate)
        for reference in references:
            r = vector(reference)
            size = np.linalg.norm(h) * np.linalg.norm(r)
            shift = max(len(candidate) - 1, 0) - max(len(reference) - 1, 0)
            cosine = (np.minimum(h, r) * r).sum() / size if size else 0
            total += cosine * math.exp(-(shift**2) / (2 * sigma**2)) / len(references)
    return 10 * total / largest


@pytest.mark.parametrize('n', [4, 2])
def test_against_a_computation_by_hand(n):
    images, candidates = corpus()
    cider = CiderD.from_captions(images, n=n)
    found = [cider.score(c, refs) for c, refs in zip(candidates, images)]
    expected = [by_hand(c, refs, images, largest=n) for c, refs in zip(candidates, images)]
    np.testing.assert_allclose(found, expected, rtol=1e-9)
    assert max(found) > 1 and min(found) < 1


def test_against_the_public_package():
    """Its Cider is the same formula, with document frequencies of the references at hand."""
    scorer = pytest.importorskip('pycocoevalcap.cider.cider').Cider()
    images, candidates = corpus(images=12, seed=1)
    lines = {i: [' '.join(words) for words in refs] for i, refs in enumerate(images)}
    mean, each = scorer.compute_score(lines, {i: [' '.join(c)] for i, c in enumerate(candidates)})
    cider = CiderD.from_captions(images)
    found = [cider.score(c, refs) for c, refs in zip(candidates, images)]
    np.testing.assert_allclose(found, each, rtol=1e-9)
    assert np.mean(found) == pytest.approx(mean) and mean > 1


@pytest.mark.parametrize('prefix', ['', 'sharp:'])
def test_against_the_reference(shared_dir, prefix):
    with np.load(shared_dir / 'parity/coarse_grained.npz') as file:
        case = json.loads(str(file['meta']))['arrays'][f'{prefix}cider']
        expected = file[f'{prefix}cider/scores']
    cider = CiderD(
        {(word,): count for word, count in case['document_frequency'].items()},
        case['ref_len_count'],
    )
    references = [
        [text.removesuffix('.').split() + ['<eos>'] for text in texts] for texts in case['gt_txt']
    ]
    candidates = [text.split() for text in case['hyp']]
    samples = len(candidates) // len(references)
    found = [
        score
        for i, refs in enumerate(references)
        for score in cider.scores(candidates[i * samples : (i + 1) * samples], refs)
    ]
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-6)
    assert cider.ends == ['<eos>']


def test_the_best_score_is_ten_and_the_worst_zero():
    words = 'a red star above two blue rings'.split()
    cider = CiderD.from_captions([[words], ['a cat sits'.split()], ['b'.split()]])
    assert cider.score(words, [words, words]) == pytest.approx(10)
    assert cider.score(words, [words, ['b']]) == pytest.approx(5)
    for bad in ([], ['unknown'], 'cat sits'.split()):
        assert cider.score(bad, [words]) == 0
    longer = cider.score([*words, 'x', 'y'], [words])
    assert 5 < longer < cider.score([*words, 'x'], [words]) < 10


def test_repetition_does_not_pay():
    words = 'a red star'.split()
    cider = CiderD.from_captions([[words], ['b'.split()]])
    repeated = cider.score(['red'] * 3, [words])
    assert repeated < cider.score(['red', 'x', 'y'], [words])


def test_a_corpus_of_one_image_weighs_nothing():
    assert CiderD.from_captions([[['a']]]).score(['a'], [['a']]) == 0


def test_impossible_input_is_refused():
    with pytest.raises(ValueError, match='ref_len=0 must be the number of images'):
        CiderD.from_captions([])
    with pytest.raises(ValueError, match='at least one reference'):
        CiderD({}, 2).score(['a'], [])


def test_ngrams():
    assert list(ngrams('abc', 2)) == [('a',), ('b',), ('c',), ('a', 'b'), ('b', 'c')]
    assert list(ngrams('a', 4)) == [('a',)]


@pytest.mark.parametrize(
    'text, expected',
    [
        ("A man's dog isn't here. It runs, quickly!", "a man 's dog is n't here it runs quickly"),
        (
            'a red circle, two squares and a star, the star is left of it.',
            'a red circle two squares and a star the star is left of it',
        ),
        (
            'Close-up of a black-and-white cat; people -- many...',
            'close-up of a black-and-white cat people many',
        ),
        ("a cat (sleeping) by a `quote'", 'a cat -lrb- sleeping -rrb- by a quote'),
        ('Rock and/or $5.00 at 3:30?', 'rock and/or $ 5.00 at 3:30'),
        (' \n', ''),
    ],
)
def test_words_of_captions(text, expected):
    """What the tokenizer of the public evaluation makes of them."""
    assert caption_words(text) == expected.split()


# ------------------------------------------------------------------ files
TABLE = {('a',): 3, ('a', 'red'): 2, ('<eos>',): 4, ('café',): 1}


def test_json_files(tmp_path):
    file = tmp_path / 'df.json'
    CiderD(TABLE, 4).save(file)
    assert read_document_frequency(file) == (TABLE, 4)
    loaded = CiderD.load(file, n=2)
    assert loaded.document_frequency == TABLE and loaded.n == 2


@pytest.mark.parametrize('protocol', range(pickle.HIGHEST_PROTOCOL + 1))
def test_pickled_files(tmp_path, protocol):
    file = tmp_path / 'words.p'
    table = defaultdict(float, {key: float(value) for key, value in TABLE.items()})
    file.write_bytes(pickle.dumps(dict(ref_len=4, document_frequency=table), protocol))
    found, count = read_document_frequency(file)
    assert found == TABLE and count == 4 and type(found) is dict


def test_a_pickle_of_python_2(tmp_path):
    """Strings without a type come in as text."""
    file = tmp_path / 'words.p'
    file.write_bytes(
        b"(dS'ref_len'\nF4\nsS'document_frequency'\nccollections\ndefaultdict\n"
        b"(c__builtin__\nfloat\ntR(S'x'\ntI2\nss."
    )
    assert read_document_frequency(file) == ({('x',): 2}, 4)


class Attack:
    def __reduce__(self):
        return (print, ('run',))


@pytest.mark.parametrize(
    'content, message',
    [
        (
            pickle.dumps(dict(ref_len=4, document_frequency=Attack())),
            'builtins.print, which is not plain',
        ),
        (pickle.dumps(dict(ref_len=np.float64(4), document_frequency={})), 'not plain data'),
        (pickle.dumps(TABLE), "has no 'ref_len'"),
        (pickle.dumps([1]), "has no 'ref_len'"),
        (pickle.dumps(dict(ref_len=4)), "has no 'document_frequency'"),
        (pickle.dumps(dict(ref_len=0.5, document_frequency={})), 'ref_len is 0.5'),
        (pickle.dumps(dict(ref_len=4, document_frequency=[])), 'is no table'),
        (pickle.dumps(dict(ref_len=4, document_frequency={1: 2})), 'the key 1, no n-gram'),
        (pickle.dumps(dict(ref_len=4, document_frequency={('a',): 'b'})), "'b' images"),
        (pickle.dumps(TABLE)[:-9], 'no document frequencies'),
        (b'', 'no document frequencies'),
        (b'what', 'no document frequencies'),
        (b'{"ref_len": 3', 'no document frequencies'),
        (b'{"ref_len": NaN, "document_frequency": {}}', 'nan'),
    ],
)
def test_other_files_are_refused_and_nothing_in_them_is_run(tmp_path, capsys, content, message):
    file = tmp_path / 'file'
    file.write_bytes(content)
    with pytest.raises(ValueError, match=message) as error:
        read_document_frequency(file)
    assert str(file) in str(error.value) and 'fiber build-cider-df' in str(error.value)
    assert capsys.readouterr().out == ''


def test_no_file(tmp_path):
    with pytest.raises(FileNotFoundError, match='no file .*none.json: .*build-cider-df'):
        CiderD.load(tmp_path / 'none.json')


def build(monkeypatch, *arguments):
    monkeypatch.setattr(sys, 'argv', ['build_cider_df.py', *map(str, arguments)])
    runpy.run_path(str(CHECKOUT / 'tools/build_cider_df.py'))['main']()


def karpathy(path):
    images = [
        dict(filename=f'{i}.jpg', split=split, sentences=[dict(raw=text) for text in texts])
        for i, (split, texts) in enumerate(
            [
                ('train', ['A star.', 'a star, a star']),
                ('restval', ['Two stars']),
                ('val', ['unseen']),
            ]
        )
    ]
    path.write_text(json.dumps(dict(images=images, dataset='coco')))
    return path


def test_tool(monkeypatch, tmp_path, capsys):
    file, out = karpathy(tmp_path / 'dataset.json'), tmp_path / 'df.json'
    build(monkeypatch, file, '--out', out)
    table, count = read_document_frequency(out)
    assert count == 2 and '2 images (train, restval)' in capsys.readouterr().out
    assert table[('a', 'star')] == 1 and table[('a', 'star', '<eos>')] == 1
    assert table[('<eos>',)] == 2 and ('unseen',) not in table
    build(monkeypatch, file, '--out', out, '--splits', 'val', '--n', 1)
    assert read_document_frequency(out) == ({('unseen',): 1, ('<eos>',): 1}, 1)


def test_tool_refuses_other_files(monkeypatch, tmp_path):
    file, out = karpathy(tmp_path / 'dataset.json'), tmp_path / 'df.json'
    with pytest.raises(SystemExit, match="error: .*no split 'trian'"):
        build(monkeypatch, file, '--out', out, '--splits', 'trian')
    with pytest.raises(SystemExit, match='error: no file'):
        build(monkeypatch, tmp_path / 'none.json', '--out', out)
