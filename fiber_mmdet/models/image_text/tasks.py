"""Several tasks in one training: which heads read which texts of a batch."""

import logging
from collections.abc import Collection, Mapping, Sequence
from typing import Any

import torch
from mmengine.dist import all_reduce, get_world_size
from mmengine.logging import print_log
from torch import Tensor

from fiber_mmdet.structures import SampleGroup, need_field

from ..backbone import ImagePrefix
from .batch import EncodedBatch

REMEDY = "PackImageText.meta_keys must keep 'task', which TasksOfImages writes"


class BatchPart(EncodedBatch):
    """Some pairs of a batch, and their images, which are encoded with those of the whole batch.

    Args:
        whole: the batch.
        rows: numbers of the pairs, in order.
    """

    def __init__(self, whole: EncodedBatch, rows: Sequence[int]) -> None:
        image_of = [i for i, count in enumerate(whole.texts_of_image) for _ in range(count)]
        groups: dict[int, list] = {}
        for row in rows:
            groups.setdefault(image_of[row], []).append(whole.samples[row])
        super().__init__(
            whole.model, whole.inputs, [SampleGroup(samples=group) for group in groups.values()]
        )
        self._whole = whole
        self._kept = list(groups)

    @property
    def device(self) -> torch.device:
        """Device of the images."""
        return self._whole.device

    def pixels(self, view: str = 'image') -> Tensor:
        """(B, 3, S, S) normalised images of a view; see :class:`EncodedBatch`."""
        whole = self._whole.pixels(view)
        return whole if len(self._kept) == len(whole) else whole[self._kept]

    def images(self, view: str = 'image') -> ImagePrefix:
        """Prefix of the B images of a view; see :class:`EncodedBatch`."""
        whole = self._whole.images(view)
        if len(self._kept) == len(whole):
            return whole
        if view not in self._images:
            self._images[view] = whole.select(self._kept)
        return self._images[view]

    def finished(self, view: str = 'image') -> Tensor:
        """(B, H, W, C) output of the last block without text; see :class:`EncodedBatch`."""
        whole = self._whole.finished(view)
        return whole if len(self._kept) == len(whole) else whole[self._kept]


class TaskTable:
    """The heads of each task.

    Args:
        tasks: task -> names of the heads that read its texts; None leaves a task out (to switch off
            one of a base config).
        heads: name -> head, in the order in which they run.
        off: names of heads that are switched off; a task of these alone is left out, too.

    Raises:
        ValueError: a head that does not exist, a task that no head reads, a head without a task, or
            a head that reads hard negatives of other texts than its own.
    """

    def __init__(
        self,
        tasks: Mapping[str, Sequence[str] | None],
        heads: Mapping[str, Any],
        off: Collection[str] = (),
    ) -> None:
        read: dict[str, list[str]] = {}
        for task, names in tasks.items():
            if names is None:
                continue
            if isinstance(names, str) or not names:
                raise ValueError(
                    f'tasks.{task}={names!r} must list the heads that read the task, of '
                    f'{", ".join(heads)}'
                )
            for name in names:
                if name not in heads and name not in off:
                    raise ValueError(
                        f'tasks.{task} names a head {name!r}, but the heads are {", ".join(heads)}'
                    )
            on = [name for name in names if name in heads]
            if on:
                read[task] = on
        self.tasks = tuple(read)
        self.of_head = {
            name: frozenset(task for task, names in read.items() if name in names) for name in heads
        }
        for name, own in self.of_head.items():
            if not own:
                raise ValueError(
                    f'no task lists the head {name!r}, which would never be trained: add it to '
                    f'one of tasks ({", ".join(tasks)}), or leave it out of heads'
                )
        chosen_from: frozenset | None = None
        for name, head in heads.items():
            if getattr(head, 'needs_negatives', False):
                chosen_from = self.of_head[name]
            elsewhere = chosen_from is not None and chosen_from != self.of_head[name]
            if head.uses_hard_negatives and elsewhere:
                raise ValueError(
                    f'head {name!r} reads {_words(self.of_head[name])}, but its hard negatives are '
                    f'chosen among the texts of {_words(chosen_from)}: list it with the same tasks '
                    'as the ITCHead before it'
                )
        self._wasted = 0  # steps in which a head was left out, though a process had pairs for it

    def parts(self, batch: EncodedBatch) -> dict[str, EncodedBatch]:
        """The part of a batch that each head reads.

        A head without a pair is left out: its parameters have no gradient in this step. In several
        processes it takes part if each of them has a pair for it, so that all run the same layers
        and log the same losses.

        Args:
            batch: of samples with ``task``.

        Returns:
            Name of a head -> its part. Heads that read the same pairs share one.

        Raises:
            KeyError: a sample without a task.
            ValueError: a task that no head reads, or no head takes part.
        """
        tasks = [need_field(sample, 'task', REMEDY) for sample in batch.samples]
        for task in tasks:
            if task not in self.tasks:
                raise ValueError(
                    f'a sample of task {task!r}, which no head reads: model.tasks has '
                    f'{", ".join(self.tasks)}'
                )
        present = set(tasks)
        names = self._taking_part([bool(own & present) for own in self.of_head.values()], batch)
        found: dict[str, EncodedBatch] = {}
        parts = {tuple(range(len(tasks))): batch}
        for name in names:
            rows = tuple(row for row, task in enumerate(tasks) if task in self.of_head[name])
            if rows not in parts:
                parts[rows] = BatchPart(batch, rows)
            found[name] = parts[rows]
        return found

    def _taking_part(self, here: Sequence[bool], batch: EncodedBatch) -> list[str]:
        """The heads for which all processes have pairs, given those for which this one has."""
        processes = get_world_size()
        having = [int(own) for own in here]
        if processes > 1:
            counted = torch.tensor(here, dtype=torch.float32, device=batch.device)
            all_reduce(counted)  # a sum over processes
            having = counted.long().tolist()
        counts = dict(zip(self.of_head, having))
        wasted = {name: count for name, count in counts.items() if 0 < count < processes}
        if wasted:
            self._wasted += 1
            if self._wasted.bit_count() == 1:  # the 1st, 2nd, 4th, … time
                name, count = next(iter(wasted.items()))
                print_log(
                    f'head {name!r} is left out of a step, since only {count} of {processes} '
                    f'processes have a text of {_words(self.of_head[name])} (number {self._wasted} '
                    'of such steps). If there are many, raise the batch size, or give the images '
                    'of rare tasks batches of their own (OneSourcePerBatchSampler)',
                    'current',
                    logging.WARNING,
                )
        names = [name for name, count in counts.items() if count == processes]
        if not names:
            raise ValueError(
                'no head has texts in all processes: each step needs the same tasks in all of '
                'them. Let OneSourcePerBatchSampler choose the batches'
            )
        return names


def _words(tasks: frozenset | None) -> str:
    return ' and '.join(map(repr, sorted(tasks or ())))
