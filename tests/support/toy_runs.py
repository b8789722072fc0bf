"""Trainings of a toy model in mmengine's Runner, with all randomness a training can have."""

import itertools
import random

import numpy as np
import torch
from mmdet.structures import DetDataSample
from mmengine.evaluator import BaseMetric
from mmengine.hooks import Hook
from mmengine.model import BaseModel
from mmengine.registry import DefaultScope
from mmengine.runner import Runner
from mmengine.structures import InstanceData
from torch import nn
from torch.utils.data import Dataset

import fiber_mmdet  # noqa: F401

COUNT = itertools.count()


class Noisy(Dataset):
    """Samples drawn from the three generators that transforms use."""

    def __init__(self, size):
        self.size = size

    def __len__(self):
        return self.size

    def __getitem__(self, index):
        return dict(
            inputs=torch.tensor(
                [index + random.random(), index + np.random.rand(), index + torch.rand(()).item()],
                dtype=torch.float32,
            )
        )


class OneScene(Dataset):
    """One image with a prompt and two boxes, as the pipelines pack it."""

    def __init__(self, boxes=((8, 8, 60, 60), (40, 20, 120, 100)), size=4, side=128):
        self.boxes, self.size, self.side = boxes, size, side

    def __len__(self):
        return self.size

    def __getitem__(self, index):
        sample = DetDataSample(
            gt_instances=InstanceData(
                bboxes=torch.tensor(self.boxes, dtype=torch.float32).reshape(-1, 4),
                labels=torch.arange(len(self.boxes)),
            ),
            metainfo=dict(
                text=['red circle', 'blue square'],
                img_shape=(self.side, self.side),
                ori_shape=(self.side, self.side),
                scale_factor=(1.0, 1.0),
                img_id=index,
            ),
        )
        generator = torch.Generator().manual_seed(index)
        image = torch.randint(
            256, (3, self.side, self.side), generator=generator, dtype=torch.uint8
        )
        return dict(inputs=image, data_samples=sample)


class Toy(BaseModel):
    """Linear layers with dropout and a buffer that learns."""

    def __init__(self, drop=0.5):
        super().__init__()
        torch.manual_seed(0)
        self.first = nn.Linear(3, 16)
        self.norm = nn.BatchNorm1d(16)
        self.drop = nn.Dropout(drop)
        self.last = nn.Linear(16, 1)

    def forward(self, inputs, mode='loss'):
        y = self.last(self.drop(self.norm(self.first(inputs / 10)).relu()))
        return dict(loss=y.pow(2).mean()) if mode == 'loss' else list(y)


class Score(BaseMetric):
    """Given values, one per evaluation; otherwise the sum of the predictions."""

    default_prefix = 'toy'

    def __init__(self, values=None):
        super().__init__()
        self.values = list(values) if values else None

    def process(self, data_batch, data_samples):
        torch.rand(3), np.random.rand(3), random.random()  # validations draw numbers too
        self.results += [float(x) for x in data_samples]

    def compute_metrics(self, results):
        return dict(score=self.values.pop(0) if self.values else sum(results))


class Recorder(Hook):
    """Iteration -> (loss, samples, learning rates), and metrics in order."""

    def __init__(self):
        self.iters, self.metrics = {}, []

    def before_train_iter(self, runner, batch_idx, data_batch=None):
        self.batch = data_batch['inputs']
        self.rates = [group['lr'] for group in runner.optim_wrapper.optimizer.param_groups]

    def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None):
        self.iters[runner.iter] = (outputs['loss'].item(), self.batch, self.rates)

    def after_val_epoch(self, runner, metrics=None):
        self.metrics.append((runner.iter, metrics['toy/score']))

    @property
    def losses(self):
        return {i: loss for i, (loss, _, _) in self.iters.items()}


def run(
    folder,
    hooks,
    loop,
    loader=None,
    size=8,
    model=None,
    resume=None,
    values=None,
    scheduler=None,
    lr=0.1,
    validate=True,
    start=None,
    kind=Runner,
    **more,
):
    """Train; returns the :class:`Recorder` and the runner.

    Args:
        folder: work_dir.
        hooks: custom_hooks.
        loop: train_cfg.
        loader: further settings of the training loader (default: no workers, batch 2).
        size: number of samples.
        model: a :class:`Toy` by default.
        resume: checkpoint to resume; or True or 'auto', to resume in the folder.
        start: checkpoint with the initial weights.
        values: metric of each evaluation.
        scheduler: param_scheduler.
        lr: learning rate.
        validate: whether to validate.
        kind: class of the runner.
        more: further arguments of the Runner.
    """
    recorder = Recorder()
    source = start if resume in (None, True, 'auto') else resume
    by_epoch = loop.get('by_epoch', 'max_epochs' in loop)
    loop = {key: value for key, value in loop.items() if key != 'by_epoch'}
    collate = dict(type='default_collate')
    val = (
        dict(
            dataloader=dict(
                batch_size=2,
                num_workers=0,
                dataset=Noisy(4),
                collate_fn=collate,
                sampler=dict(type='DefaultSampler', shuffle=False),
            ),
            cfg=dict(),
            evaluator=dict(type=Score, values=values),
        )
        if validate
        else {}
    )
    defaults = dict(
        randomness=dict(seed=3),
        log_level='ERROR',
        optim_wrapper=dict(optimizer=dict(type='AdamW', lr=lr)),
        default_hooks=dict(checkpoint=dict(type='CheckpointHook', interval=1, by_epoch=by_epoch)),
    )
    with DefaultScope.overwrite_default_scope('mmdet'):
        runner = kind(
            model=Toy() if model is None else model,
            work_dir=str(folder),
            experiment_name=f'{folder.name}-{next(COUNT)}',
            default_scope='mmdet',
            train_dataloader=dict(
                dict(
                    batch_size=2,
                    num_workers=0,
                    dataset=Noisy(size),
                    collate_fn=collate,
                    sampler=dict(type='DefaultSampler', shuffle=True),
                ),
                **(loader or {}),
            ),
            train_cfg=loop if 'type' in loop else dict(loop, by_epoch=by_epoch),
            **{f'val_{key}': value for key, value in val.items()},
            param_scheduler=scheduler,
            custom_hooks=[*hooks, recorder],
            resume=resume if resume in (True, 'auto') else resume is not None,
            load_from=None if source is None else str(source),
            **{**defaults, **more},
        )
        runner.train()
    stop_workers(runner.train_loop)
    return recorder, runner


def stop_workers(loop):
    """End data workers now; a collected loader waits five seconds for each."""
    loader = loop.dataloader
    for iterator in (
        loader._iterator,
        getattr(getattr(loop, 'dataloader_iterator', None), '_iterator', None),
    ):
        if hasattr(iterator, '_shutdown_workers'):
            iterator._shutdown_workers()
