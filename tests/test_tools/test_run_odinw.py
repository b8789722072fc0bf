"""tools/run_odinw.py: its runs, its table, and one real run on tiny data."""

import json
import runpy
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from mmengine.config import Config

from benchmark_files import odinw

CHECKOUT = Path(__file__).resolve().parents[2]
CONFIG = CHECKOUT / 'configs/odinw/fiber_swin-b_4xb1-plateau_odinw.py'
tool = runpy.run_path(str(CHECKOUT / 'tools/run_odinw.py'))


@pytest.fixture
def run(monkeypatch, tmp_path, capsys):
    """Run the tool; returns its exit code and output."""
    weights = tmp_path / 'weights.pth'
    weights.touch()

    def run(*arguments, config=CONFIG):
        monkeypatch.setattr(
            sys,
            'argv',
            [
                'run_odinw.py',
                str(config),
                str(weights),
                '--work-dir',
                str(tmp_path / 'work'),
                *map(str, arguments),
            ],
        )
        code = tool['main']()
        return code, capsys.readouterr().out

    return run


@pytest.fixture
def calls(monkeypatch):
    """Commands and environments, recorded instead of run; AP is 0.1 x shots + 0.01 x seed."""
    calls = []

    def pretend(command, env, check):
        calls.append((command, env))
        folder = Path(command[command.index('--work-dir') + 1])
        folder.mkdir(parents=True, exist_ok=True)
        if any('train.py' in word for word in command):
            if env['ODINW_SET'] == 'pothole' and 'fail' in command:
                raise subprocess.CalledProcessError(3, command)
            (folder / 'last_checkpoint').touch()
            (folder / 'best_coco_bbox_mAP_epoch_2.pth').touch()
        else:
            (folder / 'now').mkdir()
            ap = 0.1 * int(env['ODINW_SHOTS']) + 0.01 * int(env['ODINW_SEED'].replace('None', '0'))
            (folder / 'now/now.json').write_text(json.dumps({'coco/bbox_mAP': ap}))

    monkeypatch.setattr(subprocess, 'run', pretend)
    return calls


def test_commands(run, calls, tmp_path):
    code, _ = run('--sets', 'Aquarium', '--gpus', 2, '--cfg-options', 'a=1')
    assert code == 0 and len(calls) == 2
    (train, env), (test, _) = calls
    folder, launcher = (
        tmp_path / 'work/all/Aquarium',
        ['-m', 'torch.distributed.run', '--standalone'],
    )
    assert train[:5] == [sys.executable, *launcher, '--nproc_per_node=2']
    assert train[5:7] == [str(CHECKOUT / 'tools/train.py'), str(CONFIG)]
    assert train[7:] == [
        '--work-dir',
        str(folder),
        '--launcher',
        'pytorch',
        '--cfg-options',
        'train_dataloader.batch_size=2',
        f'load_from={tmp_path / "weights.pth"}',
        'a=1',
    ]
    assert test[5:] == [
        str(CHECKOUT / 'tools/test.py'),
        str(CONFIG),
        str(folder / 'best_coco_bbox_mAP_epoch_2.pth'),
        '--work-dir',
        str(folder / 'test'),
        '--launcher',
        'pytorch',
        '--cfg-options',
        'a=1',
    ]
    assert (env['ODINW_SET'], env['ODINW_SHOTS'], env['ODINW_SEED']) == ('Aquarium', '0', 'None')


def test_plan_and_figures(run, calls, tmp_path):
    code, out = run('--sets', 13, '--shots', 0, 1, 5)
    runs = [(env['ODINW_SET'], env['ODINW_SHOTS'], env['ODINW_SEED']) for _, env in calls[::2]]
    assert len(runs) == len(set(runs)) == 13 * (1 + 3 + 3)
    assert {r[1:] for r in runs} == {
        ('0', 'None'),
        *((s, seed) for s in '15' for seed in ('3', '30', '300')),
    }
    lines = [line.split() for line in out.splitlines()]
    assert ['all', 'images', '1-shot', '5-shot'] in lines
    # (0.13 + 0.4 + 3.1) / 3 = 1.21, of which the deviation is 1.6423
    assert lines.count('Raccoon 0.0 121.0 ± 164.2 161.0 ± 164.2'.split()) == 1
    assert lines.count('average 0.0 121.0 ± 164.2 161.0 ± 164.2'.split()) == 1
    report = json.loads((tmp_path / 'work/odinw.json').read_text())
    few = report['shots']['1']['average']
    assert (
        few['seeds'] == pytest.approx({'3': 0.13, '30': 0.4, '300': 3.1})
        and len(report['shots']['1']) == 14
    )
    assert few['mean'] == pytest.approx(1.21) and few['std'] == pytest.approx(1.6423, abs=1e-4)
    assert report['shots']['all']['pistols'] == dict(mean=0.0, std=None, seeds={'None': 0.0})


def test_goes_on_where_it_was(run, calls, tmp_path):
    code, out = run(
        '--sets', 'Aquarium', 'pothole', '--shots', 3, '--seeds', 3, '--cfg-options', 'fail'
    )
    assert code == 1 and 'FAILED 3-shot/seed-3/pothole: ' in out
    assert ['pothole', 'failed'] in [line.split() for line in out.splitlines()]
    assert (
        json.loads((tmp_path / 'work/odinw.json').read_text())['shots']['3']['average']['mean']
        is None
    )
    assert len(calls) == 3
    (tmp_path / 'work/3-shot/seed-3/pothole/last_checkpoint').touch()
    (tmp_path / 'work/3-shot/seed-3/pothole/best_coco.pth').touch()
    calls.clear()
    run('--sets', 'Aquarium', 'pothole', '--shots', 3, '--seeds', 3, '--cfg-options', 'fail')
    ((train, _),) = calls  # Aquarium is done
    assert '--resume' in train and not any(word.startswith('load_from') for word in train)
    code, out = run('--sets', 'Aquarium', '--shots', 3, '--seeds', 3, '--cfg-options', 'another=1')
    assert code == 1 and 'give another --work-dir' in out


@pytest.mark.parametrize(
    'arguments, message',
    [
        (['--sets', 'Aquarium', 'aquarium'], 'no set aquarium in ODinW'),
        (['--gpus', '3'], 'cannot share a batch of 4'),
        (['--shots', '-1'], 'numbers of images'),
    ],
)
def test_refused(arguments, message, run, capsys):
    with pytest.raises(SystemExit):
        run(*arguments)
    assert message in capsys.readouterr().err


def test_a_zeroshot_config_is_refused(run, capsys):
    with pytest.raises(SystemExit):
        run(config=CONFIG.with_name('fiber_swin-b_zeroshot_odinw13.py'))
    assert 'fiber test' in capsys.readouterr().err


@pytest.mark.processes
def test_real_run(tmp_path, monkeypatch, tiny_sizes, build, capsys):
    """Train for an epoch on one shot, test the best weights; a second start reads the result."""
    sets = [found for found in odinw.odinw_sets() if found[0] == 'pothole/']
    monkeypatch.setattr(odinw, 'odinw_sets', lambda: sets)
    odinw.write_odinw(tmp_path / 'data/odinw')
    config = tmp_path / 'config.py'
    config.write_text(f"""
_base_ = {str(CONFIG)!r}
model = {tiny_sizes}
train_cfg = dict(max_epochs=1)


def small(pipeline):
    return [dict(part, scale=(128, 128)) if 'scale' in part else part for part in pipeline]


here = dict(num_workers=0, persistent_workers=False)
train_dataloader = dict(here, dataset=dict(dataset=dict(pipeline=small(_base_.train_pipeline))))
val_dataloader = dict(here, dataset=dict(pipeline=small(_base_.test_pipeline)))
test_dataloader = val_dataloader
""")
    model = build(Config.fromfile(config).model)
    torch.save(dict(state_dict=model.state_dict()), tmp_path / 'weights.pth')
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv('PYTHONPATH', str(CHECKOUT))
    monkeypatch.setattr(
        sys,
        'argv',
        [
            'run_odinw.py',
            'config.py',
            'weights.pth',
            '--sets',
            'pothole',
            '--shots',
            '1',
            '--seeds',
            '3',
        ],
    )
    assert tool['main']() == 0
    folder = tmp_path / 'work_dirs/config/1-shot/seed-3/pothole'
    metrics = json.loads((folder / 'metrics.json').read_text())
    assert (
        0 <= metrics['coco/bbox_mAP'] <= 1 and (folder / 'best_coco_bbox_mAP_epoch_1.pth').is_file()
    )
    monkeypatch.setattr(subprocess, 'run', None)
    assert tool['main']() == 0
    report = json.loads((tmp_path / 'work_dirs/config/odinw.json').read_text())
    assert report['shots']['1']['pothole']['seeds'] == {'3': metrics['coco/bbox_mAP']}
    assert 'pothole' in capsys.readouterr().out


def test_failures_of_any_kind_are_counted(run, calls, tmp_path, monkeypatch):
    """A full disk, a damaged file and a failing tool end one run each, not all of them."""
    from fiber_mmdet import outputs

    damaged = tmp_path / 'work/all/Raccoon/metrics.json'
    damaged.parent.mkdir(parents=True)
    damaged.write_text('{"coco/bbox')
    write = outputs.write_json

    def full(path, *args, **kwargs):
        if 'Packages' in str(path):
            raise OSError(28, 'No space left on device', str(path))
        return write(path, *args, **kwargs)

    monkeypatch.setattr(outputs, 'write_json', full)
    sets = ('Raccoon', 'Packages', 'Aquarium', 'pothole')
    code, out = run('--sets', *sets, '--cfg-options', 'fail')
    assert code == 1 and '3 of 4 runs failed' in out
    assert 'Raccoon/metrics.json is damaged' in out and 'No space left' in out
    found = json.loads((tmp_path / 'work/odinw.json').read_text())['shots']['all']
    assert [found[name]['mean'] for name in sets] == [None, None, 0, None]


def test_ctrl_c_keeps_finished_runs(run, calls, tmp_path, monkeypatch):
    pretend = subprocess.run

    def interrupted(command, env, check):
        if env['ODINW_SET'] == 'pothole':
            raise KeyboardInterrupt
        pretend(command, env, check)

    monkeypatch.setattr(subprocess, 'run', interrupted)
    code, out = run('--sets', 'Aquarium', 'pothole')
    assert code == 130 and 'interrupted: 1 of 2 runs are done' in out and 'Aquarium' in out
    assert (tmp_path / 'work/all/Aquarium/metrics.json').is_file()
    assert not (tmp_path / 'work/odinw.json').exists()
