"""Scores of answers, and the file for the server."""

import json

import pytest

from fiber_mmdet.evaluation import VQAScore
from made_samples import score, score_in_two_processes

ANSWERS = ('yes', 'no', '2', '', 'red')


def sample(question, answer, targets=None, **more):
    """``targets``: class -> score."""
    known = (
        {}
        if targets is None
        else dict(answer_labels=list(targets), answer_scores=list(targets.values()))
    )
    return dict(question_id=question, pred_answer=answer, pred_answer_score=0.5, **known, **more)


def compute(*samples, answers=None, **kwargs):
    metric = VQAScore(**kwargs)
    metric.dataset_meta = dict(answers=answers) if answers else None
    return {key.removeprefix('vqa/'): value for key, value in score(metric, list(samples)).items()}


SAMPLES = [
    sample(11, 0, {0: 1.0, 1: 0.3}, answer_type='yes/no'),
    sample(12, 1, {0: 0.9, 1: 0.3}, answer_type='yes/no'),
    sample(10, 2, {4: 0.6}, answer_type='other'),
    sample(9, 2, {}, answer_type='number'),
]


def test_the_target_of_the_answer_counts():
    found = compute(*SAMPLES)
    assert found == {
        'score': pytest.approx((1 + 0.3) / 4),
        'score/yes/no': pytest.approx(0.65),
        'score/other': 0,
        'score/number': 0,
        'questions': 4,
    }


def test_types_of_questions_if_asked_for():
    samples = [
        dict(s, question_type=kind)
        for s, kind in zip(SAMPLES, ('is there', 'is there', 'what color', 'how many'))
    ]
    found = compute(*samples, question_types=True)
    assert found['score/is there'] == pytest.approx(0.65) == found['score/yes/no']
    assert found['score/what color'] == found['score/how many'] == 0
    assert compute(*samples) == compute(*SAMPLES)


def test_types_may_be_unknown():
    assert compute(sample(1, 0, {0: 0.6}), sample(2, 1, {1: 1.0})) == {
        'score': pytest.approx(0.8),
        'questions': 2,
    }


def test_perfect_and_no_answers():
    assert compute(sample(1, 0, {0: 1.0}), sample(2, 4, {4: 1.0}))['score'] == 1
    assert compute(sample(1, 0, {1: 1.0}))['score'] == 0
    assert compute() == {'score': 0, 'questions': 0}


def test_each_question_counts_once_and_order_does_not_matter(monkeypatch):
    expected = compute(*SAMPLES)
    assert compute(*SAMPLES[::-1]) == expected
    assert compute(*SAMPLES, sample(11, 3, {0: 1.0}), sample(10, 4, {4: 0.6})) == expected
    found = score_in_two_processes(monkeypatch, VQAScore, SAMPLES[:3])
    assert found['vqa/questions'] == 3 and found['vqa/score'] == pytest.approx(1.3 / 3)


def test_file_for_the_server(tmp_path):
    file = tmp_path / 'out/test.vqa.json'
    found = compute(
        sample(3, 4),
        sample(2, 3),
        sample(3, 0),
        answers=ANSWERS,
        outfile_prefix=tmp_path / 'out/test',
    )
    assert found == {'questions': 0}
    assert json.loads(file.read_text()) == [
        dict(question_id=3, answer='red'),
        dict(question_id=2, answer=''),
    ]
    names = tmp_path / 'answers.json'
    names.write_text(json.dumps(['a', 'b', 'c']))
    compute(
        sample(1, 2), answers=ANSWERS, outfile_prefix=tmp_path / 'out/test', answer_file=str(names)
    )
    assert json.loads(file.read_text()) == [dict(question_id=1, answer='c')]


def test_questions_without_known_answers_are_not_scored():
    assert compute(sample(1, 0, {0: 1.0}), sample(2, 0)) == {'score': 1, 'questions': 1}


def test_mistakes(tmp_path):
    with pytest.raises(ValueError, match='does not know their names: give answer_file'):
        compute(sample(1, 2), outfile_prefix=tmp_path / 'x')
    with pytest.raises(ValueError, match='class 5 is predicted, but the list of answers has 5'):
        compute(sample(1, 5), answers=ANSWERS, outfile_prefix=tmp_path / 'x')
    with pytest.raises(KeyError, match="no 'pred_answer' .*VQAHead"):
        compute(dict(question_id=1))
    with pytest.raises(KeyError, match="no 'answer_scores'"):
        compute(dict(question_id=1, pred_answer=1, answer_labels=[1]))
    with pytest.raises(FileNotFoundError, match='build-vqa-answers'):
        VQAScore(answer_file=str(tmp_path / 'none.json'))
