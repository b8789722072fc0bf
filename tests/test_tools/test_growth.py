"""Curves of growth: exponents, files, the picture."""

import json

import pytest

import growth
from planning.growth import Curve, measure, read_curves


def curve(**changes):
    values = dict(
        part='search', what='vectors', unit='ms', x=[10, 100, 1000], y=[3, 300, 30000], command='c'
    )
    return dict(values, **changes)


def test_the_exponent_is_that_of_the_power():
    assert Curve(**curve()).exponent == pytest.approx(2)
    assert Curve(**curve(y=[5, 5, 5])).exponent == pytest.approx(0)
    assert Curve(**curve(y=[5, 5, 50])).at_the_end == pytest.approx(1)


def test_a_measured_curve_has_a_point_for_each_size(monkeypatch):
    from dataclasses import replace

    from planning import growth as made

    shape = made.SWEPT['images'][2]
    small = {'images': ('images', (1, 3), lambda n: replace(shape(n), size=(64, 64)))}
    monkeypatch.setattr(made, 'SWEPT', small)
    monkeypatch.setattr(made, 'MODELS', {'image-text': 'fiber_vl_mini'})
    seconds, memory, *predicted = measure(['images'], 1, 'command')
    assert [one.part.partition(',')[0] for one in predicted] == ['prediction'] * 2
    assert seconds.x == memory.x == [1, 3] and (seconds.unit, memory.unit) == ('CPU s', 'MB')
    assert min(seconds.y) > 0 and memory.y[1] > memory.y[0] > 0


def test_curves_are_drawn_and_wrong_files_named(tmp_path, monkeypatch, capsys):
    file, picture = tmp_path / 'curves.json', tmp_path / 'curves.png'
    file.write_text(json.dumps(dict(curves=[curve(), curve(part='index', y=[1, 2, 4])])))

    def plot():
        monkeypatch.setattr('sys.argv', ['growth.py', 'plot', str(file), '--out', str(picture)])
        return growth.main(), capsys.readouterr()

    code, said = plot()
    assert code == 0 and picture.stat().st_size > 1000 and 'x^2.00' in said.out
    file.write_text(json.dumps(dict(curves=[curve(y=[1, 0, 2])])))
    code, said = plot()
    assert code == 1 and str(file) in said.err and "'search'" in said.err
    with pytest.raises(ValueError, match='curves.json'):
        read_curves(dict(other=1), file)
