"""Objectives that compare pairs say so where there is nothing to compare with."""

from types import SimpleNamespace

import pytest
import torch
from mmdet.registry import MODELS
from mmengine.registry import DefaultScope
from torch.utils.data import DataLoader

from fiber_mmdet.engine import TrainingCheckHook
from fiber_mmdet.models.image_text.heads import CiderLoss
from fiber_mmdet.text.document_frequency import write_document_frequency
from image_text_pairs import images, model_cfg, samples


def model(**heads):
    with DefaultScope.overwrite_default_scope('mmdet'):
        return MODELS.build(model_cfg(heads))


def start(model, batch, processes=1, monkeypatch=None):
    if monkeypatch:
        monkeypatch.setattr('fiber_mmdet.engine.training_check.get_world_size', lambda: processes)
    loader = DataLoader(list(range(8)), batch_size=batch)
    runner = SimpleNamespace(
        model=model,
        train_loop=SimpleNamespace(dataloader=loader),
        _resume=False,
        _load_from='start.pth',
    )
    TrainingCheckHook().before_train(runner)


ITC, ITM = dict(type='ITCHead', queue_size=0), dict(type='ITMHead')
VIEW = dict(type='ITMHead', negatives='view')


@pytest.mark.parametrize(
    'heads, processes, message',
    [
        (dict(itc=ITC), 1, 'heads.itc cannot learn: .*nothing to compare its pair with'),
        (dict(itc=ITC), 2, 'heads.itc cannot learn'),
        (dict(itc=dict(ITC, gather=True)), 2, None),
        (dict(itc=dict(ITC, gather=True), itm=ITM), 2, 'true pairs only'),
        (dict(itc=dict(ITC, queue_size=8), itm=ITM), 1, None),
        (dict(itm=VIEW), 1, 'heads.itm cannot learn: .* false pairs only'),
        (dict(mlm=dict(type='MLMHead')), 1, None),
    ],
)
def test_batches_of_one_pair(heads, processes, message, monkeypatch):
    made = model(**heads)
    start(made, 2, processes, monkeypatch)
    if message is None:
        start(made, 1, processes, monkeypatch)
        return
    with pytest.raises(ValueError, match=message):
        start(made, 1, processes, monkeypatch)


def test_one_pair_at_the_end_of_an_epoch_is_said_once(monkeypatch):
    said = []
    monkeypatch.setattr(
        'fiber_mmdet.models.image_text.heads.base.print_log', lambda text, *_: said.append(text)
    )
    made = model(itc=dict(ITC, same_image_guard=False), itm=ITM).train()
    for _ in range(3):
        losses = made(dict(image=images(1)), samples(1), mode='loss')
        assert all(torch.isfinite(value).all() for value in losses.values())
    assert len(said) == 2 and 'ITCHead: a batch of 1 pair' in said[0]
    assert 'ITMHead: batches without negatives' in said[1]


def test_no_reward_without_a_corpus(tmp_path):
    write_document_frequency(str(tmp_path / 'df.json'), {('a',): 1}, 1)
    with pytest.raises(ValueError, match='df.json: frequencies of 1 image'):
        CiderLoss(df_file=str(tmp_path / 'df.json')).train().loss(None, None)
