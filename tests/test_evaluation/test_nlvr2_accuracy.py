"""Accuracy and consistency of statements, by split, and the files of predictions."""

import pytest

from fiber_mmdet.evaluation import NLVR2Accuracy
from fiber_mmdet.evaluation.nlvr2_accuracy import sentence_of
from made_samples import score, score_in_two_processes


def sample(identifier, predicted, label, split=None):
    return dict(
        identifier=identifier,
        split=split or identifier.split('-')[0],
        pred_label=predicted,
        label=label,
        text='a text',
    )


# sentence 0 of set 1 is right for both pairs, sentence 1 for one of two
SAMPLES = [
    sample('dev-1-0-0', 1, 1),
    sample('dev-1-1-0', 0, 0),
    sample('dev-1-0-1', 1, 1),
    sample('dev-1-1-1', 1, 0),
    sample('test1-1-0-0', 0, 1),
    sample('dev-2-0-0', 0, 0),
]


def compute(*samples, **kwargs):
    return {
        key.removeprefix('nlvr2/'): value
        for key, value in score(NLVR2Accuracy(**kwargs), list(samples)).items()
    }


EXPECTED = {
    'dev': 4 / 5,
    'dev/consistency': 2 / 3,
    'dev/statements': 5,
    'test1': 0,
    'test1/consistency': 0,
    'test1/statements': 1,
}


def test_accuracy_of_each_split():
    assert compute(*SAMPLES) == pytest.approx(EXPECTED)
    assert score(NLVR2Accuracy(), SAMPLES, batch=4)['nlvr2/dev'] == pytest.approx(4 / 5)


def test_the_split_is_the_name_of_the_file():
    assert set(compute(sample('dev-1-0-0', 1, 1, split='val'))) == {
        'val',
        'val/consistency',
        'val/statements',
    }


def test_perfect_and_nothing():
    assert compute(sample('dev-1-0-0', 1, 1), sample('dev-1-1-0', 0, 0)) == {
        'dev': 1,
        'dev/consistency': 1,
        'dev/statements': 2,
    }
    assert compute() == {}


def test_each_statement_counts_once_and_order_does_not_matter(monkeypatch):
    assert compute(*SAMPLES[::-1]) == pytest.approx(EXPECTED)
    assert compute(*SAMPLES, sample('dev-1-0-0', 0, 1), sample('dev-2-0-0', 1, 0)) == pytest.approx(
        EXPECTED
    )
    found = score_in_two_processes(monkeypatch, NLVR2Accuracy, SAMPLES[:5])
    assert found['nlvr2/dev'] == 3 / 4 and found['nlvr2/dev/statements'] == 4


@pytest.mark.parametrize(
    'identifier, sentence',
    [
        ('dev-850-3-1', 'dev-850-1'),
        ('train-0-0-0', 'train-0-0'),
        ('own', 'own'),
        ('a-b-c', 'a-b-c'),
    ],
)
def test_sentences(identifier, sentence):
    assert sentence_of(identifier) == sentence


def test_files(tmp_path):
    compute(*SAMPLES, sample('dev-1-0-0', 0, 1), outfile_prefix=tmp_path / 'out/nlvr2')
    assert (tmp_path / 'out/nlvr2.test1.csv').read_text() == 'test1-1-0-0,False\n'
    lines = (tmp_path / 'out/nlvr2.dev.csv').read_text().splitlines()
    assert lines[:2] == ['dev-1-0-0,True', 'dev-1-1-0,False'] and len(lines) == 5


def test_mistakes():
    with pytest.raises(KeyError, match="no 'pred_label' .*NLVR2Head"):
        compute(dict(identifier='dev-1-0-0', split='dev', label=1))
    with pytest.raises(KeyError, match="no 'split'"):
        compute(dict(identifier='dev-1-0-0', label=1, pred_label=1))
    with pytest.raises(TypeError, match="'outfile_prefix'"):
        NLVR2Accuracy(out_prefix='x')
