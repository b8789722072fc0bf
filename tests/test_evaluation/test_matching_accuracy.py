"""Accuracy of matching against pairs that were counted by hand."""

import numpy as np
import pytest
import torch

from fiber_mmdet.evaluation import MatchingAccuracy
from made_samples import score, score_in_two_processes

OWN = [[0], [1, 2]]  # texts of two images, a third has the fourth
CONTRAST = [[0.9, 0.1, 0.3, 0.2], [0.4, 0.8, 0.7, 0.5], [0.5, 0.2, 0.1, 0.9]]
# nearest others: image 2 of text 0, 2 of text 1, 0 of text 2, 1 of text 3
MATCH = [[2.0, 9.0, -1.0, 9.0], [9.0, 1.0, -3.0, 0.5], [-2.0, -0.1, 9.0, 4.0]]


def samples(**kinds):
    return [
        dict(
            image_id=i,
            scores={kind: torch.tensor(rows[i]) for kind, rows in kinds.items()},
            text_rows=texts,
        )
        for i, texts in enumerate([*OWN, [3]])
    ]


def test_each_text_with_its_own_image_and_the_nearest_other(monkeypatch):
    given = samples(itc=CONTRAST, itm=MATCH)
    found = score(MatchingAccuracy(), given)
    assert found == score_in_two_processes(monkeypatch, MatchingAccuracy, given)
    assert found == {
        'matching/own': pytest.approx(3 / 4),  # all but text 2
        'matching/other': pytest.approx(3 / 4),  # all but text 3
        'matching/accuracy': pytest.approx(3 / 4),
        'matching/pairs': 8,
    }


def test_without_contrast_the_best_match_is_the_other():
    found = score(MatchingAccuracy(), samples(itm=MATCH))
    assert found['matching/own'] == 0.75 and found['matching/other'] == 0.0
    calm = (np.array(MATCH) - 10).tolist()
    assert score(MatchingAccuracy(), samples(itm=calm))['matching/accuracy'] == 0.5


def test_scores_that_say_nothing():
    with pytest.raises(KeyError, match='no matching scores.*RetrievalTestLoop'):
        score(MatchingAccuracy(), samples(itc=CONTRAST))
    with pytest.raises(KeyError, match='RetrievalTestLoop'):
        score(MatchingAccuracy(), [dict(image_id=0)])
    with pytest.raises(ValueError, match='two images or more'):
        score(MatchingAccuracy(), samples(itm=MATCH)[:1])
