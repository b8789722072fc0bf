"""Whether a dataloader yields a batch at all."""

from collections.abc import Sized
from itertools import islice
from typing import Any

from torch.utils.data import BatchSampler

from .one_source_per_batch import OneSourcePerBatchSampler


def refuse_no_steps(loader: Any) -> None:
    """Refuse a training loader that leaves all its samples out.

    With ``drop_last`` only whole batches count, in each process, and for batches of one aspect
    ratio among the images of either orientation.

    Args:
        loader: torch's ``DataLoader``; one that does not know its length is left alone.

    Raises:
        ValueError: with the numbers and the remedy.
    """
    batches: Any = getattr(loader, 'batch_sampler', None)
    size = getattr(batches, 'batch_size', None) or getattr(loader, 'batch_size', None)
    sampler = getattr(batches, 'sampler', None)
    if not isinstance(sampler, Sized):
        sampler = getattr(loader, 'sampler', None)
    try:
        count, total, steps = len(sampler), len(loader.dataset), len(loader)  # type: ignore[arg-type]
    except TypeError:  # endless
        return
    if total and is_endless(sampler):
        return
    drop_last = getattr(batches, 'drop_last', False)
    # batches by aspect ratio are of two kinds, and their len() does not know how many of each
    if (
        steps
        and drop_last
        and isinstance(size, int)
        and count < 2 * size
        and type(batches) is not BatchSampler
    ):
        steps = sum(1 for _ in islice(iter(batches), count + 1))
    if not steps:
        raise ValueError(no_steps(count, total, size, drop_last))


def refuse_mixed_batches(loader: Any) -> None:
    """Refuse a sampler whose batches are not those of its loader.

    Args:
        loader: torch's ``DataLoader``.

    Raises:
        ValueError: the two sizes differ.
    """
    batches: Any = getattr(loader, 'batch_sampler', None)
    size, sampler = getattr(batches, 'batch_size', None), getattr(batches, 'sampler', None)
    if isinstance(sampler, OneSourcePerBatchSampler) and sampler.batch_size != size:
        raise ValueError(
            f'train_dataloader.batch_size={size}, but sampler.batch_size={sampler.batch_size}: '
            'batches would be of several datasets. Set both to the same'
        )


def no_steps(count: int, total: int, size: int | None, drop_last: bool) -> str:
    """What is wrong with a training without steps.

    Args:
        count: samples of a process.
        total: samples of all.
        size: of a batch.
        drop_last: whether an incomplete batch is left out.
    """
    if not total or not drop_last:
        return 'the training data have no sample: an epoch would have no step'
    share = '' if count == total else f' of each process ({total} in all)'
    return (
        f'{count} samples{share} make no whole batch of {size}, and drop_last=True leaves them '
        'out: an epoch would have no step. Lower train_dataloader.batch_size, or set '
        'drop_last=False'
    )


def is_endless(sampler: Any) -> bool:
    """Whether a sampler starts again when it has gone through the data."""
    names = [kind.__name__ for kind in type(sampler).__mro__]
    return any('Infinite' in name or 'MultiSource' in name for name in names)
