"""What a console shows before the first figure, and what only the log file holds."""

import logging
import pickle
import re
from types import SimpleNamespace

import pytest
import torch
from mmdet.registry import MODELS
from mmengine.config import Config
from mmengine.logging import MMLogger
from mmengine.optim import CosineAnnealingLR, LinearLR, MultiStepLR, ReduceOnPlateauLR
from mmengine.registry import DefaultScope
from mmengine.runner import EpochBasedTrainLoop, IterBasedTrainLoop
from torch import nn

from fiber_mmdet.checkpoints.reading import read_training_checkpoint
from fiber_mmdet.engine import BriefRunner
from fiber_mmdet.engine.run_summary import millions
from fiber_mmdet.engine.runner import WithoutPages
from fiber_mmdet.engine.schedule_check import schedule_remarks
from toy_runs import Noisy, Toy


def runner_of(tmp_path, **options):
    return BriefRunner(
        model=Toy(),
        work_dir=str(tmp_path),
        train_dataloader=dict(
            batch_size=2,
            dataset=Noisy(6),
            sampler=dict(type='DefaultSampler', shuffle=False),
            collate_fn=dict(type='default_collate'),
        ),
        train_cfg=dict(type='EpochBasedTrainLoop', max_epochs=1),
        optim_wrapper=dict(
            optimizer=dict(type='SGD', lr=0.5), paramwise_cfg=dict(bias_lr_mult=2.0)
        ),
        param_scheduler=[dict(type='MultiStepLR', milestones=[1])],
        default_hooks=dict(
            logger=dict(type='LoggerHook', interval=1),
            summary=dict(type='mmdet.RunSummaryHook'),
            visualization=None,
            checkpoint=None,
        ),
        experiment_name=tmp_path.name,
        default_scope='mmdet',
        **options,
    )


def test_pages_are_in_the_file_and_the_console_says_the_essential(tmp_path, capsys):
    runner = runner_of(tmp_path)
    names = [type(hook).__name__ for hook in runner.hooks]
    assert 'CheckpointHook' not in names and 'RunSummaryHook' in names
    runner.train()
    shown = capsys.readouterr().out
    (log,) = tmp_path.glob('*/*.log')
    written = log.read_text()
    for page in ('System environment:', 'Hooks will be executed', 'paramwise_options -- '):
        assert page in written and page not in shown
    before, _, _ = shown.partition('Epoch(train)')
    assert len(before.splitlines()) < 20 and 'Epoch(train)' in shown
    trained = sum(p.numel() for p in runner.model.parameters())
    for part in (
        f'Toy: {trained} parameters, {trained} of them trained',
        'weights: new',
        '6 samples (Noisy), 2 in a batch',
        'for 1 epochs of 3 iterations',
        'SGD (OptimWrapper), first learning rate 0.5 to 1',
        str(log),
    ):
        assert part in shown and part in written
    # a remark about the schedule
    assert 'param_scheduler.0 (MultiStepLR of lr) has steps after 1 epochs' in shown


def test_the_config_is_laid_out_once(tmp_path, monkeypatch):
    count = []

    def lay_out(text, **_):
        count.append(text)
        return f'{text}  # laid out', True

    monkeypatch.setattr('yapf.yapflib.yapf_api.FormatCode', lay_out)
    some = tmp_path / 'config' / 'some.py'
    some.parent.mkdir()
    some.write_text('')
    cfg = Config(dict(model=dict(type='Toy'), lr=0.5), filename=str(some))
    runner = runner_of(tmp_path, cfg=cfg)
    runner.train()
    runner.save_checkpoint(str(tmp_path), 'weights.pth')
    assert len(count) == 1
    text = read_training_checkpoint(tmp_path / 'weights.pth', 'cpu')['meta']['cfg']
    assert text == (tmp_path / 'some.py').read_text() == cfg.pretty_text
    assert text.endswith('  # laid out') and runner.cfg.lr == 0.5
    runner.cfg.lr = 0.25
    assert 'lr=0.25' in runner.cfg.pretty_text.replace(' ', '')
    again = pickle.loads(pickle.dumps(runner.cfg))
    assert again.pretty_text == runner.cfg.pretty_text


def test_a_console_of_level_debug_shows_all(tmp_path, capsys):
    runner_of(tmp_path, log_level='DEBUG')
    assert 'Hooks will be executed' in capsys.readouterr().out


def schedules(*configs, iters=None, epochs=None, val_begin=1, val=True):
    optimizer = torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=1.0)
    kind = EpochBasedTrainLoop if iters is None else IterBasedTrainLoop
    loop = kind.__new__(kind)
    loop._max_iters, loop._max_epochs = iters or 10 * epochs, epochs or 1
    loop.val_begin = val_begin
    runner = SimpleNamespace(
        train_loop=loop,
        _val_loop=object() if val else None,
        param_schedulers=[kind(optimizer, **options) for kind, options in configs],
    )
    return list(schedule_remarks(runner))


def by_iter(kind, **options):
    return kind, dict(options, by_epoch=False)


@pytest.mark.parametrize(
    'scheduler, said',
    [
        (by_iter(LinearLR, end=101), None),
        (by_iter(LinearLR, end=102), 'LinearLR of lr.* 102 iterations, longer than .* 100'),
        (by_iter(CosineAnnealingLR, T_max=90, begin=10, end=100), None),
        (by_iter(CosineAnnealingLR, T_max=100), None),
        (by_iter(CosineAnnealingLR, T_max=190, begin=10, end=200), 'ends after 200 .* after 100'),
        (by_iter(CosineAnnealingLR, T_max=40, begin=10, end=50), 'ends after 50 .* on to 100'),
        (by_iter(CosineAnnealingLR, T_max=40, begin=100, end=150), 'begins after 100'),
        (by_iter(MultiStepLR, milestones=[50, 99]), None),
        (by_iter(MultiStepLR, milestones=[50, 100]), 'steps after 100 iterations'),
    ],
)
def test_schedules_of_another_length_are_named(scheduler, said):
    remarks = schedules(scheduler, iters=100)
    assert len(remarks) == (said is not None)
    if said:
        assert 'param_scheduler.0 ' in remarks[0]
        assert re.search(said, remarks[0])


def test_schedules_of_epochs_and_validations_that_never_come():
    late = (MultiStepLR, dict(milestones=[8, 11], by_epoch=True))
    assert schedules(late, epochs=12) == []
    (remark,) = schedules(late, epochs=10)
    assert 'steps after 11 epochs' in remark
    (remark,) = schedules(iters=100, val_begin=500)
    assert 'train_cfg.val_begin=500, but train_cfg.max_iters=100' in remark
    assert schedules(iters=100, val_begin=500, val=False) == []


def test_schedules_of_epochs_never_step_in_a_loop_of_iterations():
    (remark,) = schedules((LinearLR, dict(end=5, by_epoch=True)), iters=100)
    assert 'param_scheduler.0 (LinearLR of lr) counts epochs' in remark and 'by_epoch' in remark
    plateau = (ReduceOnPlateauLR, dict(monitor='AP', by_epoch=True))
    assert schedules(plateau, iters=100) == []


def test_models_say_how_they_start_part_by_part(tiny_model_cfg, tmp_path, capsys):
    logger = MMLogger(f'start {tmp_path}', log_level='INFO')
    with DefaultScope.overwrite_default_scope('mmdet'):
        model = MODELS.build(tiny_model_cfg)
    MMLogger._instance_dict[logger.instance_name] = logger
    try:
        model.init_weights()
    finally:
        del MMLogger._instance_dict[logger.instance_name]
    shown = capsys.readouterr().out
    assert len(shown.splitlines()) < 8
    total = len(list(model.parameters()))
    counts = [
        int(word) for line in shown.splitlines()[1:] for word in line.split() if word.isdigit()
    ]
    assert sum(counts) == total and 'bbox_head: ' in shown and 'GroundingHead.init_weights' in shown


def test_large_numbers_are_short():
    assert [millions(n) for n in (999, 12_345, 999_600, 4_442_000, 1_230_000_000)] == [
        '999',
        '12.3 k',
        '1 M',
        '4.44 M',
        '1.23 G',
    ]


def test_other_messages_are_shown():
    def shown(level, text):
        record = logging.LogRecord('x', level, '', 0, text, (), None)
        return WithoutPages().filter(record)

    assert shown(logging.INFO, 'Iter(train) [1/2]') and not shown(logging.INFO, 'Config:\na = 1')
    assert shown(logging.WARNING, 'Config:\nis wrong')
    assert not shown(logging.WARNING, '"FileClient" will be deprecated in future.')
