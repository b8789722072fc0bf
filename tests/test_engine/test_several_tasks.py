"""A training with several tasks: its log, its resumption, and what is refused before it begins."""

import json

import pytest
import torch
from mmengine.config import Config
from mmengine.runner import Runner

from several_tasks import write_config


def train(config, folder, **more):
    cfg = Config.fromfile(config)
    cfg.update(work_dir=str(folder), **more)
    cfg.visualizer.name = str(folder)
    runner = Runner.from_cfg(cfg)
    runner.train()
    return runner


def logged(folder):
    (file,) = folder.glob('*/vis_data/scalars.json')
    return [json.loads(line) for line in file.read_text().splitlines()]


def test_a_resumed_training_draws_the_same_texts_of_the_same_tasks(tiny_scenes, tmp_path):
    config = write_config(tmp_path, tiny_scenes, shuffle=True, texts=2)
    train(config, tmp_path / 'whole')
    train(config, tmp_path / 'rest', resume=True, load_from=str(tmp_path / 'whole/iter_2.pth'))
    logs = logged(tmp_path / 'whole'), logged(tmp_path / 'rest')
    steps = [{name for name in log if name.startswith('loss_')} for log in logs[0]]
    pairs, statements = {'loss_itc', 'loss_vqa'}, {'loss_nlvr2'}
    assert [pairs <= step for step in steps] == [True] * 4
    assert [round(log['loss'], 4) for log in logs[0]] == [
        round(sum(log[name] for name in names), 4)
        for log, names in zip(logs[0], (pairs, statements, pairs, pairs))
    ]
    for whole, rest in zip(logs[0][2:], logs[1]):
        assert rest['loss'] == pytest.approx(whole['loss'], rel=1e-5)
    weights = [
        torch.load(tmp_path / name / 'iter_4.pth', weights_only=False)['state_dict']
        for name in ('whole', 'rest')
    ]
    for key, value in weights[0].items():
        torch.testing.assert_close(weights[1][key], value, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(
    'change, message',
    [
        ({'train_dataloader.batch_size': 2}, 'batch_size=2, but sampler.batch_size=4'),
        ({'model.tasks': dict(caption=('itc', 'vqa', 'nlvr2'))}, "task 'question', which no head"),
        (
            {
                'model.tasks': dict(
                    caption=('itc',), question=('vqa',), statement=('nlvr2',), fact=('itc',)
                )
            },
            "a task 'fact', of which the data have no text",
        ),
    ],
)
def test_what_does_not_fit_is_refused_before_the_training(tiny_scenes, tmp_path, change, message):
    cfg = Config.fromfile(write_config(tmp_path, tiny_scenes, shuffle=True, texts=1))
    for key, value in change.items():
        place, _, name = key.rpartition('.')
        cfg[place][name] = value
    cfg.work_dir = str(tmp_path)
    with pytest.raises(ValueError, match=message):
        Runner.from_cfg(cfg).train()
    assert not list(tmp_path.glob('*.pth'))
