"""tools/claims.py: what it trains, in which order, how it goes on, and its tables."""

import json
import os
import re
import runpy
import signal
import sys
from pathlib import Path

import pytest
from mmengine.config import Config, DictAction

from paper_claims import comparisons, plan, tables
from paper_claims.cost import Cost
from paper_claims.trainings import Trainings

CHECKOUT = Path(__file__).resolve().parents[2]
FUSED, NONE, ON_TOP = (
    f'configs/scenes/fiber_mini_scenes_{name}.py' for name in plan.FUSIONS.values()
)


class Process:
    """A tool that pretends: trainings leave checkpoints, tests metrics.

    AP50 is 0.5, 0.1 more from the towers or 0.2 from stage 1, and 0.01 more with Muon or with few
    boxes. Scores are 0.6 plus 0.01 x seed.
    """

    commands: list[list[str]] = []
    failing = ''

    def __init__(self, command, stdout, stderr, env, start_new_session):
        assert env['OMP_NUM_THREADS'] == '1' and start_new_session
        self.command = command[1:]
        self.commands.append(self.command)
        self.code = 0
        if self.failing and self.failing in ' '.join(command):
            stdout.write(b'first\nit is broken\n')
            self.code = 3
            return
        if self.command[0].endswith('learning_curve.py'):
            self.measure(Path(self.after('--out')))
            return
        folder = Path(self.after('--work-dir'))
        if self.command[0].endswith('train.py'):
            log = folder / 'now/vis_data/scalars.json'
            log.parent.mkdir(parents=True, exist_ok=True)
            steps = [dict(loss=1, time=time, step=step) for step, time in ((50, 0.5), (100, 0.7))]
            log.write_text('\n'.join(map(json.dumps, [*steps, dict(score=1, step=100)])))
            length = plan.load(self.command[1]).train_cfg.max_iters
            (folder / f'iter_{length}.pth').touch()
        else:
            (folder / 'now').mkdir(parents=True, exist_ok=True)
            seed = int(re.search(r'seed(\d)', str(folder))[1])
            found = {'coco/bbox_mAP_50': ap50(str(folder))}
            if 'questions' in str(folder):
                found = {'vqa/score': 0.6 + 0.01 * seed, 'vqa/score/where': 0.3, 'vqa/questions': 9}
            (folder / 'now/now.json').write_text(json.dumps(found))

    def after(self, name):
        return self.command[self.command.index(name) + 1]

    def measure(self, out):
        groups = self.command[self.command.index('--runs') + 1 : self.command.index('--iterations')]
        points = self.command[
            self.command.index('--iterations') + 1 : self.command.index('--measures')
        ]
        figures = {}
        for measure in self.command[self.command.index('--measures') + 1 :]:
            for folder in ','.join(group.partition('=')[2] for group in groups).split(','):
                for point in points:
                    assert Path(folder).is_dir()
                    key = f'{measure.partition("=")[2]} {folder} {point}'
                    figures[key] = dict(value=ap50(folder) if 'AP50' in measure else 0.9, written=1)
        out.with_suffix('.json').write_text(json.dumps(figures))

    def wait(self):
        return self.code


def ap50(folder):
    parts = dict(towers=0.1, muon=0.01, few_boxes=0.01) | {'/stage-1': 0.2}
    return 0.5 + sum(more for part, more in parts.items() if part in folder)


@pytest.fixture
def run(monkeypatch, tmp_path, capsys):
    """Run the tool; returns its exit code and what it printed, and the commands it called."""
    monkeypatch.chdir(CHECKOUT)
    monkeypatch.setattr('paper_claims.trainings.subprocess.Popen', Process)
    monkeypatch.setattr(Process, 'failing', '')
    monkeypatch.setattr(comparisons.Claims, 'check_starts', lambda self: None)
    monkeypatch.setattr(
        comparisons, 'costs', lambda files: [Cost(858_632, 0.25, 3 << 20) for _ in files]
    )
    tool = runpy.run_path(str(CHECKOUT / 'tools/claims.py'))

    def run(*arguments):
        monkeypatch.setattr(Process, 'commands', [])
        monkeypatch.setattr(
            sys, 'argv', ['claims.py', '--work-dir', str(tmp_path / 'work'), *arguments]
        )
        code = tool['main']()
        return code, capsys.readouterr(), Process.commands

    return run


def test_all_is_trained_and_measured_once(run, tmp_path):
    code, said, commands = run()
    assert code == 0
    trained = [command for command in commands if command[0].endswith('train.py')]
    folders = [command[command.index('--work-dir') + 1] for command in trained]
    # 3 starts with 4 optimizers; then 2 more seeds of the best with all boxes, 3 with few;
    # 3 fusions, and 3 more starts, of questions
    assert len(folders) == len(set(folders)) == 12 + 3 * 2 + 3 * 3 + 3 * 3 + 3 * 3
    assert all('--resume' in command for command in trained)
    best = [folder for folder in folders if 'few_boxes' in folder]
    assert len(best) == 9 and all('muon-1e-2' in folder for folder in best)
    assert '| stage-1 | 0.700 | 0.700 | 0.700 | **0.710** |' in said.out
    assert '| few | AP50 | towers | 0.620 (0.620–0.620) |' in said.out
    assert '| all | AP50 | scratch | 0.510 (0.510–0.510) |' in said.out
    assert '| none | 858 632 | ' in said.out and ' | 0.250 | 3 |' in said.out
    assert '| fusion | all questions | where |' in said.out
    assert '| on top | 0.610 (0.600–0.620) | 0.300 (0.300–0.300) |' in said.out
    assert '| a detector from stage 1 | 0.610 (0.600–0.620) |' in said.out
    # 0.6 seconds a step
    length = plan.load(FUSED).train_cfg.max_iters
    assert f'| in the backbone | 858 632 | {length} | {length / 100:.1f} |' in said.out

    code, again, commands = run()  # all is there: only the store of the curves is looked at
    assert code == 0 and {command[0].rpartition('/')[2] for command in commands} == {
        'learning_curve.py'
    }
    assert again.out.endswith(said.out[said.out.index('AP50 on the') :])


def test_what_failed_is_said_and_left_out(run):
    Process.failing = 'short_vqa_on_top'
    code, said, _ = run('--seeds', '0')
    assert code == 1 and 'it is broken' in said.err and 'first' not in said.err
    assert '| on top | – | – |' in said.out and '| none | 0.600 | 0.300 |' in said.out
    Process.failing = ''
    code, said, commands = run('--seeds', '0')
    assert code == 0 and '| on top | 0.600 | 0.300 |' in said.out
    assert sum(command[0].endswith('train.py') for command in commands) == 1


def test_a_folder_of_other_settings_is_refused(run, monkeypatch):
    run('--seeds', '0')
    monkeypatch.setitem(plan.BOXES, 'few', ('other=1',))
    code, said, _ = run('--seeds', '0')
    assert code == 1 and 'few_boxes' in said.err and 'other settings' in said.err


def test_without_stage_1_nothing_begins(run, monkeypatch, tmp_path):
    monkeypatch.undo()
    monkeypatch.chdir(tmp_path)
    claims = comparisons.Claims(tmp_path, 2, [0])
    with pytest.raises(FileNotFoundError, match='work_dirs/fiber_mini_scenes_towers_3_words'):
        claims.check_starts()


def test_stopping_ends_the_processes(tmp_path, monkeypatch):
    """With SIGTERM, which makes a training write a checkpoint; the rest does not begin."""
    monkeypatch.setattr('paper_claims.trainings.TOOLS', tmp_path)
    (tmp_path / 'wait.py').write_text(
        'import pathlib, signal, sys\n'
        'folder = pathlib.Path(sys.argv[1])\n'
        'def stop(*_):\n'
        '    folder.joinpath("stopped").touch()\n'
        '    sys.exit(143)\n'
        'signal.signal(signal.SIGTERM, stop)\n'
        'folder.joinpath("begun").touch()\n'
        f'import os; os.kill({os.getpid()}, signal.SIGUSR2)\n'
        'signal.pause()\n'
    )
    for name in 'ab':
        (tmp_path / name).mkdir()
    trainings = Trainings(tmp_path, jobs=1)

    def interrupt(*_):
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGUSR2, interrupt)
    try:
        with pytest.raises(KeyboardInterrupt):
            trainings.each(
                'run',
                lambda name: trainings.call('wait.py', str(tmp_path / name), log=tmp_path / 'log'),
                ['a', 'b'],
            )
    finally:
        signal.signal(signal.SIGUSR2, before)
    assert (tmp_path / 'a/stopped').is_file() and not (tmp_path / 'b/begun').exists()
    assert not trainings.failures


def merged(run):
    """The config of a run with its options, as tools/train.py reads it."""
    cfg = Config.fromfile(run.config)
    options = [option.split('=', 1) for option in run.options]
    cfg.merge_from_dict({key: DictAction._parse_iterable(value) for key, value in options})
    assert cfg.randomness.seed == 1 and cfg.val_cfg is None
    return cfg


def test_options_change_what_they_mean():
    muon = merged(plan.detector('stage-1', 'few', 'muon-1e-2', 1))
    assert [part.indices for part in muon.train_dataloader.dataset.datasets] == [250, 250, 250, 750]
    assert muon.train_dataloader.dataset.datasets[3].type == 'MDETRGroundingDataset'
    assert muon.optim_wrapper.optimizer.matrix_lr == 0.01
    assert (
        merged(plan.detector('scratch', 'all', 'adamw-5e-4', 1)).optim_wrapper.optimizer.lr == 5e-4
    )
    pretrained = merged(plan.questions_from_stage_1(1)).model.backbone.pretrained
    assert pretrained.towers is None and 'fiber_mini_scenes_pretrain/' in pretrained.coarse
    before = plan.detector('towers', 'all', 'adamw-1e-3', 1)
    cfg = merged(plan.questions_from_detector(before, 'towers', 1, Path('work')))
    assert cfg.model.backbone.pretrained is None
    assert cfg.load_from == f'work/{before.folder}/iter_{before.length}.pth'


def test_spread():
    assert tables.spread([0.5, 0.7, 0.6]) == '0.600 (0.500–0.700)'
    assert tables.spread([0.5]) == '0.500' and tables.spread([0.5, None]) == '–'
    assert tables.spread([]) == '–'
