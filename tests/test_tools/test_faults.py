"""tools/faults.py: what counts as lost, and each scenario with few tries."""

import random

import pytest
import torch

import faults
from fault_injection.damage import KINDS, same
from fault_injection.jobs import differences, logged
from fault_injection.results import Result, table
from fault_injection.scenarios import SCENARIOS

FEW = {
    'stop': 1,
    'stop-two': 1,
    'kill': 2,
    'kill-one': 1,
    'restart': 1,
    'two-jobs': 1,
    'full-disk': 1,
    'read-only': 1,
    'no-boxes': 3,
    'workers': 1,
    'threads': 1,
    'processes': 1,
}


@pytest.mark.processes
@pytest.mark.parametrize('name', FEW)
def test_nothing_is_lost(name, tmp_path):
    (result,) = faults.main([name, '--tries', str(FEW[name]), '--work-dir', str(tmp_path)])
    assert result.tries >= FEW[name] or 'not tried' in result.notes[0]
    assert not result.losses


@pytest.mark.measured
def test_memory_does_not_grow(tmp_path):
    (result,) = faults.main(['memory', '--tries', '300', '--work-dir', str(tmp_path)])
    assert result.tries == 4 and not result.losses


def test_damaged_checkpoints(tmp_path, capsys):
    out = tmp_path / 'table.md'
    arguments = ['checkpoints', '--tries', '60', '--work-dir', str(tmp_path), '--out', str(out)]
    (result,) = faults.main(arguments)
    assert (result.tries, result.survived) == (60, 60)
    row = out.read_text().splitlines()[-1]
    assert '| 60 | 60 | 0 |' in row and row in capsys.readouterr().out


def test_every_scenario_is_tested_and_known(capsys):
    assert {*FEW, 'memory', 'checkpoints', 'checks'} == set(SCENARIOS)
    with pytest.raises(SystemExit):
        faults.parse_args(['earthquake'])
    assert 'earthquake' in capsys.readouterr().err
    assert faults.parse_args(['all']).scenarios == list(SCENARIOS)


def test_damages_are_damages_and_repeat(tmp_path):
    file = tmp_path / 'a.pth'
    torch.save({str(i): torch.full((40, 40), i) for i in range(9)}, file)
    content = file.read_bytes()
    for kind in KINDS:
        found = []
        for _ in range(2):
            draw, changed = random.Random(5), bytearray(content)
            for _ in range(20):
                kind(changed, draw) if len(changed) > 9000 else None
            found.append(changed)
        assert found[0] == found[1] != content, kind


def test_what_is_the_same():
    a = dict(x=[torch.ones(2), 3], y='z')
    assert same(dict(x=[torch.ones(2), 3], y='z'), a)
    for other in (
        dict(x=[torch.zeros(2), 3], y='z'),
        dict(x=[torch.ones(2)], y='z'),
        dict(x=[torch.ones(2), 4], y='z'),
        dict(y='z'),
    ):
        assert not same(other, a)


def test_what_is_lost(tmp_path):
    result = Result('name', 'what')
    result.judge([])
    result.judge(['gone', 'away'])
    assert (result.tries, result.survived, result.losses) == (2, 1, ['try 2: gone; away'])
    assert table([result]).splitlines()[-1] == '| what | 2 | 1 | 1 |  |'
    folder = tmp_path / '1' / 'vis_data'
    folder.mkdir(parents=True)
    (folder / 'scalars.json').write_text(
        '{"loss": 1.0, "step": 1}\n{"loss": 2.0, "step": 2}\n{"loss": 3'
    )
    found = logged(tmp_path)
    assert found == [(1, 1.0), (2, 2.0)]
    assert not differences(found, [(1, 1.0), (2, 2.0)], 1e-6)
    assert 'instead of 2.1' in differences(found, [(1, 1.0), (2, 2.1)], 1e-6)[0]
    assert '[3]' in differences(found, [*found, (3, 1.0)], 1e-6)[0]
    assert 'instead of None' in differences(found, [(1, 1.0)], 1e-6)[0]
    assert differences([(1, float('nan'))], [(1, 1.0)], 1e-6)
