"""What a training step costs under several configs, which take turns on the same batches."""

import re
import statistics
import time
from dataclasses import dataclass
from itertools import islice

import torch
from mmdet.registry import MODELS
from mmengine.config import Config
from mmengine.logging import MMLogger
from mmengine.optim import build_optim_wrapper
from mmengine.registry import DefaultScope
from mmengine.runner import Runner

from benchmarking.memory import PeakMemory
from fiber_mmdet.engine.data_workers import without_workers
from fiber_mmdet.models.backbone.fusion import CROSS_MODAL


@dataclass
class Cost:
    """What a config costs.

    Attributes:
        parameters: of the fusion: cross-attention, or an encoder on top.
        seconds: CPU time of a training step on one thread, the median, and of reading its batch.
        memory: bytes that a step needs above what the model and the batch occupy.
    """

    parameters: int
    seconds: float
    memory: int


def costs(files: list[str], rounds: int = 10) -> list[Cost]:
    """Costs of the configs, which have the same training data.

    Args:
        files: the configs.
        rounds: timed steps of each; one of each goes before.
    """
    torch.set_num_threads(1)
    MMLogger.get_instance('costs', log_level='WARNING')
    batches: list = []
    trained, reading = [], 0.0
    for file in files:
        cfg = Config.fromfile(file)
        if not batches:
            loader = dict(cfg.train_dataloader, num_workers=0)
            cfg.train_dataloader = loader
            cfg.merge_from_dict(without_workers(cfg))
            with DefaultScope.overwrite_default_scope('mmdet'):
                reader = iter(Runner.build_dataloader(cfg.train_dataloader, seed=0))
            next(reader)
            before = time.process_time()
            batches = list(islice(reader, 3))
            reading = (time.process_time() - before) / len(batches)
        cfg.model.backbone.pretrained = None  # as fast from any weights
        with DefaultScope.overwrite_default_scope('mmdet'):
            model = MODELS.build(cfg.model)
            model.init_weights()
            trained.append((model.train(), build_optim_wrapper(model, cfg.optim_wrapper)))
    seconds: list[list[float]] = [[] for _ in trained]
    memory = [0] * len(trained)
    for turn in range(rounds + 1):
        for i, (model, wrapper) in enumerate(trained):
            before = time.process_time()
            model.train_step(batches[turn % len(batches)], wrapper)
            seconds[i].append(time.process_time() - before)
    for i, (model, wrapper) in enumerate(trained):
        for batch in batches:
            with PeakMemory(torch.device('cpu')) as used:
                model.train_step(batch, wrapper)
            memory[i] = max(memory[i], used.extra)
    return [
        Cost(
            sum(p.numel() for n, p in model.named_parameters() if re.fullmatch(CROSS_MODAL, n)),
            statistics.median(times[1:]) + reading,
            extra,
        )
        for (model, _), times, extra in zip(trained, seconds, memory)
    ]
