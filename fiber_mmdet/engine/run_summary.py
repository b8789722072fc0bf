"""The dozen lines that somebody wants to read before a training or a test."""

from collections import Counter
from collections.abc import Iterator
from typing import Any

from mmdet.registry import HOOKS
from mmengine.hooks import Hook
from mmengine.runner import BaseLoop, IterBasedTrainLoop
from torch import nn

from fiber_mmdet.datasets.dataset_tree import leaves
from fiber_mmdet.datasets.shards.streams import StreamedDataset

from .schedule_check import schedule_remarks
from .unwrapping import inner_model


@HOOKS.register_module()
class RunSummaryHook(Hook):
    """Say what is about to run: model, weights, data, length, optimizer, files.

    Also what a schedule does that is not of the length of its training, see
    :func:`schedule_remarks`.
    """

    priority = 'VERY_HIGH'  # before hooks that begin their work

    def before_train(self, runner: Any) -> None:
        """Log the summary of a training."""
        loop = runner.train_loop
        lines = [*model_lines(runner, training=True), f'train on {of_loader(loop.dataloader)}']
        if isinstance(runner._val_loop, BaseLoop):
            lines.append(f'validate on {of_loader(runner.val_loop.dataloader)}')
        lines += [length(loop), optimization(runner.optim_wrapper), *files(runner)]
        runner.logger.info('Training\n' + '\n'.join(f'  {line}' for line in lines))
        for remark in schedule_remarks(runner):
            runner.logger.warning(remark)

    def before_test(self, runner: Any) -> None:
        """Log the summary of a test."""
        loop = runner.test_loop
        lines = [*model_lines(runner, training=False), f'test on {of_loader(loop.dataloader)}']
        runner.logger.info('Test\n' + '\n'.join(f'  {line}' for line in [*lines, *files(runner)]))


def model_lines(runner: Any, training: bool) -> Iterator[str]:
    """The model, its parameters, and where its weights come from."""
    model: nn.Module = inner_model(runner.model)
    sizes: Counter[str] = Counter()
    for name, parameter in model.named_parameters():
        path = name.split('.')
        deep = path[0] in ('backbone', 'heads')
        sizes['.'.join(path[: 2 if deep else 1])] += parameter.numel()
    parts = ', '.join(f'{part} {millions(size)}' for part, size in sizes.most_common() if size)
    trained = sum(p.numel() for p in model.parameters() if p.requires_grad)
    how_many = f'{millions(sum(sizes.values()))} parameters'
    if training:
        how_many += f', {millions(trained)} of them trained'
    yield f'{type(model).__name__}: {how_many} ({parts})'
    named = pretrained_parts(model)
    if runner._resume:
        yield f'weights: resumed from {runner._load_from} at iteration {runner.iter}'
    elif runner._load_from:
        yield f'weights: {runner._load_from}'
    elif named and training:
        yield f'weights: {", ".join(named)}; the rest is new'
    else:
        yield 'weights: new, nothing was loaded'


def pretrained_parts(model: nn.Module) -> list[str]:
    """The files that parts of a new model were filled from, as the config names them."""
    pretrained = getattr(getattr(model, 'backbone', None), 'pretrained', None) or {}
    return [f'pretrained.{key}={value}' for key, value in pretrained.items() if value]


def of_loader(loader: Any) -> str:
    """Sizes of the datasets that a loader reads, and of its batches."""
    dataset = loader.dataset
    kinds = Counter(type(part).__name__ for part in leaves(dataset))
    names = ', '.join(f'{count} {name}' if count > 1 else name for name, count in kinds.items())
    batch = loader.batch_size or getattr(loader.batch_sampler, 'batch_size', None)
    streamed = isinstance(dataset, StreamedDataset)
    size = f'a stream of {dataset.size_said()}' if streamed else f'{len(dataset)} samples'
    return f'{size} ({names})' + (f', {batch} in a batch' if batch else '')


def length(loop: Any) -> str:
    """How long a training is, and how often it is validated."""
    if isinstance(loop, IterBasedTrainLoop):
        whole, unit = loop.max_iters, 'iterations'
        said = f'for {whole} iterations'
    else:
        whole, unit = loop.max_epochs, 'epochs'
        said = f'for {whole} epochs of {len(loop.dataloader)} iterations'
    every = getattr(loop, 'val_interval', None)
    if not every or getattr(loop.runner, '_val_loop', None) is None:
        return said
    # mmengine also validates at the end
    return f'{said}, validated ' + (f'every {every} {unit}' if every < whole else 'at the end')


def optimization(wrapper: Any) -> str:
    """The optimizer, its rates and its precision."""
    optimizer = getattr(wrapper, 'optimizer', None)
    if optimizer is None:  # several
        return f'by {type(wrapper).__name__}'
    rates = sorted({group['lr'] for group in optimizer.param_groups})
    spread = f'{rates[0]:.3g}' if len(rates) == 1 else f'{rates[0]:.3g} to {rates[-1]:.3g}'
    groups = len(optimizer.param_groups)
    return (
        f'by {type(optimizer).__name__} ({type(wrapper).__name__}), first learning rate {spread} '
        f'in {groups} group{"s" * (groups != 1)}'
    )


def files(runner: Any) -> Iterator[str]:
    """Where the run writes."""
    yield f'files in {runner.work_dir}'
    if getattr(runner.logger, 'log_file', None):
        yield f'environment, whole config and hooks: {runner.logger.log_file}'


def millions(count: int) -> str:
    """A number of parameters as people write it: 4.44 M, 12.3 k."""
    if count >= 999_500:
        return f'{count / 1e6:.3g} M' if count < 999.5e6 else f'{count / 1e9:.3g} G'
    return f'{count / 1e3:.3g} k' if count >= 1000 else str(count)
