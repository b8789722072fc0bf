"""Learning rates and the end of a training that watches its metric."""

import math

import pytest

from toy_runs import run

MONITOR = 'toy/score'


def train(folder, values, patience=8, drop=3, epochs=40, resume=None, **stopping):
    scheduler = dict(
        type='PlateauLR', monitor=MONITOR, rule='greater', factor=0.1, patience=drop, min_value=1e-6
    )
    stopping.update(type='PlateauStoppingHook', monitor=MONITOR, patience=patience)
    more = dict(
        default_hooks=dict(
            checkpoint=dict(type='CheckpointHook', interval=1, save_best=MONITOR, rule='greater')
        )
    )
    recorded, _ = run(
        folder,
        [stopping, dict(type='SeedEveryIterHook')],
        dict(max_epochs=epochs),
        size=2,
        values=values,
        scheduler=scheduler,
        lr=1e-4,
        resume=resume,
        **more,
    )
    return recorded


def rates(recorded):
    return [rate for _, _, (rate,) in recorded.iters.values()]


def test_rate_drops_after_four_bad_evaluations(tmp_path):
    """With patience 3, after the fourth consecutive evaluation below the best."""
    values = [0.5] + [0.4] * 15
    recorded = train(tmp_path, values, patience=15)
    assert len(recorded.metrics) == 16
    found = rates(recorded)
    expected = [1e-4] * 5 + [1e-5] * 4 + [1e-6] * 7  # never below the floor
    assert found == pytest.approx(expected)


def test_zero_is_no_evaluation_for_the_rate(tmp_path):
    recorded = train(tmp_path, [0.0] * 6 + [0.5] + [0.0] * 6 + [0.6], patience=40, epochs=14)
    assert rates(recorded) == pytest.approx([1e-4] * 14)


def test_rise_starts_the_count_again(tmp_path):
    recorded = train(tmp_path, [0.1, 0.05, 0.05, 0.05, 0.2, 0.1, 0.1, 0.1, 0.3], epochs=9)
    assert rates(recorded) == pytest.approx([1e-4] * 9)


def test_stops_after_evaluations_below_the_best(tmp_path):
    recorded = train(tmp_path, [0.1, 0.3, 0.2, 0.1, 0.2] + [0.9] * 9, patience=3, drop=9)
    assert [score for _, score in recorded.metrics] == [0.1, 0.3, 0.2, 0.1, 0.2]
    assert [path.name for path in tmp_path.glob('best_*')] == ['best_toy_score_epoch_2.pth']


def test_ties_are_no_loss(tmp_path):
    values = [0.3, 0.2, 0.3, 0.2, 0.3, 0.2, 0.2, 0.9]
    recorded = train(tmp_path, values, patience=2, drop=9)
    assert len(recorded.metrics) == 7


@pytest.mark.parametrize(
    'values, options, evaluations',
    [
        ([0.1, 0.5, 0.95, 0.2], dict(stopping_threshold=0.9), 3),
        ([0.1, math.inf, 0.2, 0.3], dict(), 2),
        ([0.1, math.inf, 0.2, 0.3], dict(check_finite=False), 4),
    ],
)
def test_ends_at_a_threshold_or_an_infinite_metric(values, options, evaluations, tmp_path):
    assert len(train(tmp_path, values, epochs=4, **options).metrics) == evaluations


@pytest.mark.parametrize('done', [3, 4])
def test_resumed(done, tmp_path):
    """An epoch's checkpoint is written before its validation, which is done first on resume."""
    values = [0.1, 0.5, 0.4, 0.4, 0.4, 0.45, 0.3, 0.3, 0.3]
    full = train(tmp_path / 'full', values, patience=6, drop=2)
    assert len(full.metrics) == 8 and len(set(rates(full))) == 2
    again = train(
        tmp_path / 'again',
        values[done - 1 :],
        patience=6,
        drop=2,
        resume=tmp_path / f'full/epoch_{done}.pth',
    )
    assert again.metrics == full.metrics[done - 1 :]
    assert rates(again) == pytest.approx(rates(full)[done:])
    assert again.losses == pytest.approx({i: full.losses[i] for i in again.losses}, rel=1e-6)


def test_resumed_at_its_end_trains_no_more(tmp_path):
    full = train(tmp_path, [0.5, 0.4, 0.3, 0.9], patience=2)
    assert len(full.metrics) == 3
    again = train(tmp_path / 'again', [0.3, 0.9, 0.9], patience=2, resume=tmp_path / 'epoch_3.pth')
    assert again.metrics == full.metrics[-1:] and not again.iters
