"""tools/training_curves.py reads the logs of trainings, resumed and continued ones too."""

import json
import sys

import pytest
from PIL import Image

import training_curves as tool
from fiber_mmdet.visualization.training_curves import read_log


def write(folder, run, lines):
    log = folder / run / 'vis_data/scalars.json'
    log.parent.mkdir(parents=True)
    log.write_text(''.join(json.dumps(line) + '\n' for line in lines))


def train(step, loss, **more):
    return dict(loss=loss, iter=step, step=step, **more)


@pytest.fixture
def logs(tmp_path):
    """A training that was resumed at 20, the next step of it, and one by epochs."""
    first, second, epochs = (tmp_path / name for name in ('first', 'second', 'epochs'))
    write(first, '20260101_1', [train(10, 9.0), train(20, 8.0), train(30, 1e9)])
    write(first, '20260101_2', [train(30, 7.0), {'vqa/score': 0.25, 'step': 0}])
    write(second, '20260102_1', [train(10, 0.2), {'vqa/score': 0.75, 'step': 12}])
    write(epochs, '20260103_1', [train(50, 3.0, epoch=1), {'vqa/score': 0.5, 'step': 1}])
    return first, second, epochs


def test_runs_are_joined(logs):
    first, second, epochs = logs
    read = {str(folder): read_log(folder) for folder in logs}
    both = f'{first}+{second}'
    assert tool.curve_of(f'{both}:loss', read) == ([10, 20, 30, 40], [9.0, 8.0, 7.0, 0.2])
    assert tool.curve_of(f'{both}:vqa/score', read) == ([30, 42], [0.25, 0.75])
    assert tool.curve_of(f'{epochs}:vqa/score', read) == ([50], [0.5])


@pytest.fixture
def run(monkeypatch, capsys):
    def run(*arguments):
        monkeypatch.setattr(sys, 'argv', ['training_curves.py', *map(str, arguments)])
        try:
            return tool.main(), *capsys.readouterr()
        except SystemExit as error:
            return error.code, *capsys.readouterr()

    return run


def test_the_drawing(run, logs, tmp_path):
    first, second, _ = logs
    out = tmp_path / 'curves.png'
    code, said, _ = run(
        *('--out', out),
        *('--panel', 'loss', f'both={first}+{second}:loss', f'first={first}:loss'),
        *('--panel', 'score', f'questions={first}:vqa/score'),
    )
    assert code == 0 and Image.open(out).width > 800
    assert 'loss: both (loss) ends with 0.2 at iteration 40' in said.splitlines()


def test_losses_of_several_decades_have_numbers_in_full():
    from fiber_mmdet.visualization.training_curves import curves_figure

    steps = [0, 100, 200]
    figure = curves_figure(
        [
            ('losses', dict(all=('loss', steps, [60.0, 2.0, 0.3]))),
            ('score', dict(all=('vqa/score', steps, [0.01, 0.5, 0.9]))),
        ]
    )
    losses, score = figure.axes
    figure.canvas.draw()
    low, high = losses.get_ylim()
    labels = [
        label.get_text()
        for label in losses.get_yticklabels()
        if low <= label.get_position()[1] <= high
    ]
    assert labels == ['0.5', '1', '2', '5', '10', '20', '50']
    assert losses.get_yscale() == 'log' and score.get_yscale() == 'linear'
    assert not any(label.get_text() for label in losses.get_yminorticklabels())


def test_what_is_missing_is_named(run, logs, tmp_path):
    out, folder = tmp_path / 'curves.png', logs[0]
    assert 'vqa/score' in run('--out', out, '--panel', 'a', f'b={folder}:acc')[2]
    assert 'no-folder' in run('--out', out, '--panel', 'a', f'b={tmp_path}/no-folder:loss')[2]
    assert 'NAME=VALUE' in run('--out', out, '--panel', 'a', 'b')[2]
    assert 'NAME=WORK_DIR:KEY' in run('--out', out, '--panel', 'a', 'b=c')[2]
    text = tmp_path / 'curves.xyz'
    assert 'ending of a drawing' in run('--out', text, '--panel', 'a', f'b={folder}:loss')[2]
    with (folder / '20260101_2/vis_data/scalars.json').open('a') as file:
        file.write('{"loss": ')  # a kill may leave that
    assert run('--out', out, '--panel', 'a', f'b={folder}:loss')[0] == 0
    out.unlink()
    with (folder / '20260101_2/vis_data/scalars.json').open('a') as file:
        file.write('\n')
    assert 'scalars.json, line 3' in run('--out', out, '--panel', 'a', f'b={folder}:loss')[2]
    assert not out.exists()
