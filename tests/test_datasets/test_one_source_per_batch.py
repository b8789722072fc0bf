"""Batches of one dataset each, in turns that follow their shares."""

from itertools import islice

import pytest
from mmengine.dataset import ConcatDataset
from torch.utils.data import BatchSampler, DataLoader

from fiber_mmdet.datasets import OneSourcePerBatchSampler
from fiber_mmdet.datasets.steps import refuse_mixed_batches, refuse_no_steps


class Sets:
    """A ConcatDataset of these sizes, without samples."""

    def __init__(self, *sizes):
        self.datasets = [range(size) for size in sizes]
        self.cumulative_sizes = ConcatDataset.cumsum(self.datasets)

    def __len__(self):
        return self.cumulative_sizes[-1]


def batches(sampler, count):
    return list(islice(BatchSampler(sampler, sampler.batch_size, True), count))


def sources(found, first=10):
    assert all(len({index < first for index in batch}) == 1 for batch in found)
    return ''.join('A' if batch[0] < first else 'B' for batch in found)


def sampler(rank=0, processes=1, monkeypatch=None, **kwargs):
    if monkeypatch is not None:
        place = 'mmdet.datasets.samplers.multi_source_sampler.get_dist_info'
        monkeypatch.setattr(place, lambda: (rank, processes))
    kwargs = dict(dict(batch_size=4, source_ratio=[3, 1], seed=5), **kwargs)
    return OneSourcePerBatchSampler(Sets(10, 7), **kwargs)


def test_shares_are_kept_from_the_beginning():
    assert sources(batches(sampler(), 12)) == 'AABAAABAAABA'
    assert sources(batches(sampler(source_ratio=[1, 1]), 6)) == 'ABABAB'
    found = sources(batches(sampler(source_ratio=[0.7, 0.3]), 100))
    assert all(abs(found[:n].count('A') - 0.7 * n) < 1 for n in range(1, 101))


def test_all_samples_of_a_dataset_come_before_one_is_repeated():
    found = batches(sampler(), 40)
    of_first = [index for batch in found for index in batch if index < 10]
    of_second = [index for batch in found for index in batch if index >= 10]
    for indices, size in ((of_first, 10), (of_second, 7)):
        for start in range(0, len(indices) - size, size):
            assert len(set(indices[start : start + size])) == size
    assert of_first[:10] != of_first[10:20]
    assert batches(sampler(), 40) == found != batches(sampler(seed=6), 40)
    plain = batches(sampler(shuffle=False), 3)
    assert plain == [[0, 1, 2, 3], [4, 5, 6, 7], [10, 11, 12, 13]]


def test_processes_take_turns_together_and_share_the_samples(monkeypatch):
    whole = batches(sampler(batch_size=8), 9)
    halves = [batches(sampler(rank, 2, monkeypatch), 9) for rank in (0, 1)]
    assert sources(halves[0]) == sources(halves[1]) == sources(whole)
    for one, first, second in zip(whole, *halves):
        assert one[0::2] == first and one[1::2] == second


@pytest.mark.parametrize('done', [0, 1, 5])
def test_a_resumed_training_goes_on(monkeypatch, done):
    whole = batches(sampler(1, 2, monkeypatch), 12)
    rest = sampler(1, 2, monkeypatch)
    rest.skip(4 * done)
    assert batches(rest, 12 - done) == whole[done:]
    with pytest.raises(ValueError, match='6 samples are no whole batches'):
        rest.skip(6)


@pytest.mark.parametrize(
    'wrong, message',
    [
        (dict(source_ratio=[1]), r'source_ratio=\[1\] must have a share above 0.*2 datasets'),
        (dict(source_ratio=[1, 0]), 'share above 0'),
        (dict(batch_size=0), 'batch_size=0'),
    ],
)
def test_values_that_cannot_be_meant(wrong, message):
    with pytest.raises(ValueError, match=message):
        sampler(**wrong)


def test_datasets_that_cannot_be_meant():
    with pytest.raises(ValueError, match='ConcatDataset, not a range'):
        OneSourcePerBatchSampler(range(4), 2, [1])
    with pytest.raises(ValueError, match='dataset 1 of the ConcatDataset has no sample'):
        OneSourcePerBatchSampler(Sets(3, 0), 2, [1, 1])
    with pytest.raises(TypeError, match="no argument 'ratio'"):
        OneSourcePerBatchSampler(Sets(3, 1), 2, ratio=[1, 1])


def test_loaders_of_another_batch_size_are_refused():
    refuse_mixed_batches(DataLoader(Sets(10, 7), 4, sampler=sampler()))
    loader = DataLoader(Sets(10, 7), 8, sampler=sampler())
    refuse_no_steps(loader)
    with pytest.raises(ValueError, match='batch_size=8, but sampler.batch_size=4'):
        refuse_mixed_batches(loader)
