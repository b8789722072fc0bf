"""Checking and looking at datasets of shards, which are not read from end to end for that."""

import os.path as osp
from collections.abc import Iterator

import numpy as np
from mmdet.registry import TRANSFORMS

from fiber_mmdet.datasets.shards.entries import Entry
from fiber_mmdet.datasets.shards.names import is_local, local_path
from fiber_mmdet.datasets.shards.reading import Fault
from fiber_mmdet.datasets.shards.web_image_text import WebImageTextDataset

from .image_text_check import ImageTextChecker
from .source_check import Faults, SourceReport

LOOKED_INTO = 10  # shards


class ShardChecker(ImageTextChecker):
    """Checks a dataset of shards: their files and sizes, and some samples of some shards.

    ``counts`` are ``samples`` and ``images`` if an index has them, and ``texts`` of those images
    that were looked at.
    """

    def check(self, sample: int, seed: int) -> SourceReport:
        """Look at some samples.

        Args:
            sample: number of samples.
            seed: of the choice of shards.
        """
        if any(path.missing() for path in self.source.paths()):
            return self.report  # check_data lists them
        dataset = self._open()
        if dataset is None:
            return self.report
        self.report.metainfo = dataset.metainfo
        known = dataset.samples()
        if known is None:
            self.report.notes.append(
                'no index.json says how many samples the shards have, so that they are not counted'
            )
        else:
            self.report.counts.update(samples=known, images=known)
        self.report.problems += list(other_sizes(dataset))
        faults = Faults()
        texts: list[str] = []
        for entry in looked_at(dataset, sample, seed):
            self.report.looked_at += 1
            if isinstance(entry, Fault):
                faults.add('are broken', str(entry))
                continue
            texts += entry.captions
            self._check_entry(entry, faults)
        cut = sum(self._too_long(texts))
        self.report.counts.update(texts=len(texts), cut=cut)
        if cut and self.tokenizer is not None:
            self.report.notes.append(
                f'{cut} of {len(texts)} texts that were looked at have more than '
                f'{self.tokenizer.max_tokens} tokens: they are cut'
            )
        few = len(faults) <= dataset.max_broken * max(self.report.looked_at, 1)
        lines = faults.lines(self.report.looked_at)
        (self.report.notes if few else self.report.problems).extend(lines)
        return self.report

    def _check_entry(self, entry: Entry, faults: Faults) -> None:
        if self._load is None:
            step = self._loading_step()
            step.pop('ignore_empty', None)
            self._load = TRANSFORMS.build(step)
        try:
            self._load(entry.sample(False)['views']['image'])
        except Exception as error:  # decoders raise many kinds
            faults.add('are broken', f'{entry.shard}, {entry.key}: {error}')


def other_sizes(dataset: WebImageTextDataset) -> Iterator[str]:
    """Local shards whose size is not that of their index."""
    differing = [
        name
        for name, facts in dataset.facts.items()
        if is_local(name) and facts.size not in (None, osp.getsize(local_path(name)))
    ]
    if differing:
        shown = ', '.join(differing[:3]) + ', …' * (len(differing) > 3)
        yield (
            f'{len(differing)} shards have another size than their index says ({shown}): copy them '
            'again, or make the index anew'
        )


def looked_at(dataset: WebImageTextDataset, count: int, seed: int) -> Iterator[Entry | Fault]:
    """The first samples of some random shards, one entry of each.

    Args:
        dataset: of shards.
        count: how many samples.
        seed: of the choice.
    """
    order = np.random.default_rng(seed).permutation(len(dataset.shards))[:LOOKED_INTO].tolist()
    for rank, index in enumerate(sorted(order)):
        share = len(range(rank, count, len(order)))
        for number, part, entry in dataset.entries(dataset.shards[index]):
            if number >= share and not (isinstance(entry, Fault) and not entry.key):
                break
            if part == 0:
                yield entry
