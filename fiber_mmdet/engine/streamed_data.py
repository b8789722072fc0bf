"""Training on streams: how a loader reads them, and how a resumed training goes on with them."""

import inspect
from collections.abc import Callable, Mapping
from typing import Any

from mmdet.registry import DATASETS
from mmengine.dist import all_gather_object, get_rank
from mmengine.hooks import Hook
from mmengine.runner import IterBasedTrainLoop
from torch.utils.data import DataLoader

from fiber_mmdet.datasets.dataset_tree import split_datasets
from fiber_mmdet.datasets.shards.reading import Fault
from fiber_mmdet.datasets.shards.streams import Progress, State, StreamedDataset
from fiber_mmdet.fields import is_whole

KEY = 'streams'  # of a checkpoint
NAMED = 100  # what is left out that a process names in the log one by one
EVERY = 1000  # of those after them, one in so many
REFUSED = dict(
    sampler='a stream has an order of its own: leave it out, or set sampler=None',
    batch_sampler='batches are made of the samples of a stream as they come: leave it out',
    shuffle='set shuffle of the dataset, the number of samples among which it chooses',
    num_batch_per_epoch='a stream has no epochs: leave it out, and set train_cfg.max_iters',
)


def is_streamed(dataset: Any) -> bool:
    """Whether a dataset, or a config of one, is read as a stream."""
    if isinstance(dataset, Mapping):
        kind = dataset.get('type')
        dataset = DATASETS.get(kind) if isinstance(kind, str) else kind
        return inspect.isclass(dataset) and issubclass(dataset, StreamedDataset)
    return isinstance(dataset, StreamedDataset)


class StreamedBatch(dict):
    """A batch that knows where its stream is after it (``progress``)."""

    progress: Progress


class _Collate:
    """Collates samples and adds the progress of their stream; runs where these are loaded."""

    def __init__(self, dataset: StreamedDataset, collate: Callable) -> None:
        self.dataset, self.collate = dataset, collate

    def __call__(self, samples: list) -> StreamedBatch:
        batch = StreamedBatch(self.collate(samples))
        batch.progress = self.dataset.progress()
        return batch


def stream_loader(
    build: Callable[..., DataLoader], loader: Mapping[str, Any], seed: int | None, own_seeds: bool
) -> DataLoader:
    """A loader of a streamed dataset.

    Args:
        build: mmengine's ``build_dataloader``.
        loader: config of the loader.
        seed: of the training.
        own_seeds: whether each process has its own (``diff_rank_seed``).

    Raises:
        ValueError: settings that say in which order samples are read.
    """
    for name, why in REFUSED.items():
        if loader.get(name) is not None:
            raise ValueError(f'a dataloader of shards has {name}={loader[name]!r}, but {why}')
    if not is_whole(loader.get('batch_size')) or loader['batch_size'] < 1:
        raise ValueError('a dataloader of shards needs batch_size, a number of images')
    kept = {key: value for key, value in loader.items() if key not in REFUSED}
    built = build(dict(kept, sampler=None), seed, own_seeds)
    dataset: Any = built.dataset
    if seed is not None:  # the same order in all processes
        dataset.seed = seed - get_rank() if own_seeds else seed
    built.collate_fn = _Collate(dataset, built.collate_fn)
    # where mmengine looks for it, to begin with what comes next
    built.sampler.skip = _Skip(built)  # type: ignore[attr-defined]
    return built


class _Skip:
    """``skip`` of mmengine's samplers, for a loader of streams."""

    def __init__(self, loader: DataLoader) -> None:
        self.dataset: Any = loader.dataset
        self.batch_size = loader.batch_size or 1
        self.states: Mapping[int, State | None] = {}

    def __call__(self, num_samples: int) -> None:
        self.dataset.begin_after(num_samples // self.batch_size, self.states)


def refuse_other_loops(loop: Any) -> None:
    """Refuse to train on streams in epochs.

    Raises:
        ValueError: the loop counts epochs.
    """
    if is_streamed(loop.dataloader.dataset) and not isinstance(loop, IterBasedTrainLoop):
        raise ValueError(
            f'shards are an endless stream, which {type(loop).__name__} cannot divide into epochs: '
            "set train_cfg=dict(type='IterBasedTrainLoop', max_iters=…), as in "
            'configs/_base_/image_text_iter_based_runtime.py'
        )


def refuse_evaluation(loader: Any, split: str) -> None:
    """Refuse to evaluate on streams.

    Args:
        loader: config of the loader, or the loader.
        split: 'val' or 'test'.

    Raises:
        ValueError: a dataset of the split is streamed.
    """
    cfg = {} if isinstance(loader, DataLoader) else {f'{split}_dataloader': loader}
    for dataset, place in split_datasets(cfg, split):
        if is_streamed(dataset):
            raise ValueError(
                f'{place} is a {dataset["type"]}, an endless stream for training: evaluate on a '
                'dataset with an index, whose samples are counted'
            )


class StreamPositionHook(Hook):
    """Keeps how far the streams of a training have come, and says what they leave out.

    Registered by ``BriefRunner`` for a training on streams. A checkpoint holds the state of all
    streams (of all processes, if ``WholeCheckpointHook`` writes it); a resumed training goes on
    with the samples that come next. With another number of processes or workers, or other shards,
    it cannot, and says so.
    """

    priority = 'VERY_HIGH'

    def __init__(self) -> None:
        self.states: dict[int, State | None] = {}  # of this process; None before the first batch
        self.everywhere: dict[int, State | None] | None = None
        self.found: dict[str, Any] | None = None
        self.faults = 0
        self.total: tuple[int, ...] = ()

    def before_train(self, runner: Any) -> None:
        """Tell the loader where a resumed training goes on."""
        loader = runner.train_loop.dataloader
        for remark in loader.dataset.remarks(stream_count(loader)):
            runner.logger.warning(remark)
        found, self.found = self.found, None
        states = {} if found is None else settled(found, loader, runner.logger)
        loader.sampler.skip.states = states
        self.states = {number: states.get(number) for number in own_streams(loader)}

    def before_train_iter(self, runner: Any, batch_idx: int, data_batch: Any = None) -> None:
        """Note how far the stream of a batch has come, and what it has left out."""
        progress = data_batch.progress
        self.states[progress.stream] = progress.state
        for fault in progress.faults:
            self.tell(runner, fault)

    def tell(self, runner: Any, fault: Fault) -> None:
        """Log a fault, with the running total of this process."""
        self.faults += 1
        if self.faults > NAMED and self.faults % EVERY:
            return
        often = f'; of further ones, one in {EVERY} is named' if self.faults == NAMED else ''
        runner.logger.warning(f'left out, number {self.faults} of this process: {fault}{often}')

    def before_write_checkpoint(self, runner: Any) -> None:
        """Bring the states of all processes together; all of them call this."""
        gathered = all_gather_object(self.states)
        self.everywhere = {key: state for states in gathered for key, state in states.items()}
        self.say_total(runner, self.everywhere)

    def after_train(self, runner: Any) -> None:
        """Log what all processes have left out."""
        self.before_write_checkpoint(runner)

    def say_total(self, runner: Any, states: Mapping[int, State | None]) -> None:
        """Log what all processes have left out, if that is more than was said before."""
        parts = [part for state in states.values() for part in (state or {}).get('parts', [state])]
        total = tuple(
            sum((part or {}).get(key, 0) for part in parts)
            for key in ('faults', 'broken_shards', 'samples')
        )
        if any(total[:2]) and total[:2] != self.total[:2]:
            runner.logger.warning(
                f'left out so far, by all processes: {total[0]} of {total[2]} samples, and the '
                f'rest of {total[1]} shards'
            )
        self.total = total

    def before_save_checkpoint(self, runner: Any, checkpoint: dict) -> None:
        """Add the states."""
        loader = runner.train_loop.dataloader
        states = self.states if self.everywhere is None else self.everywhere
        checkpoint[KEY] = dict(
            count=stream_count(loader),
            of=loader.dataset.fingerprint(),
            seed=loader.dataset.seed,
            states=states,
        )
        self.everywhere = None

    def after_load_checkpoint(self, runner: Any, checkpoint: dict) -> None:
        """Remember the states of a checkpoint from which training is resumed."""
        self.found = checkpoint.get(KEY) or {} if runner._resume else None


def stream_count(loader: DataLoader) -> int:
    """Streams of all workers of all processes."""
    dataset: Any = loader.dataset
    return dataset.processes * max(loader.num_workers, 1)


def own_streams(loader: DataLoader) -> list[int]:
    """Numbers of the streams of this process."""
    dataset: Any = loader.dataset
    workers = max(loader.num_workers, 1)
    return [dataset.lane(worker, workers).number for worker in range(workers)]


def settled(
    found: Mapping[str, Any], loader: DataLoader, logger: Any
) -> Mapping[int, State | None]:
    """The states with which the streams of a resumed training begin.

    Args:
        found: what the checkpoint says of its streams.
        loader: of the training.
        logger: for what cannot be as it was.

    Returns:
        State of each stream by its number; nothing if all begin at their beginning.
    """
    dataset: Any = loader.dataset
    count, before, states = stream_count(loader), found.get('count'), found.get('states')
    if not is_whole(before) or not isinstance(states, Mapping) or not states:
        logger.warning(
            'the checkpoint does not say how far the shards were read: they are read from their '
            'beginning'
        )
        return {}
    if found.get('of') != dataset.fingerprint():
        logger.warning(
            'the shards, their weights or their shuffle are not those of the checkpoint: they are '
            'read from their beginning'
        )
        return {}
    if is_whole(found.get('seed')) and found['seed'] >= 0:  # that of the order, if none is given
        dataset.seed = found['seed']
    if before == count == len(states):
        return states
    if before == count:
        logger.warning(
            f'the checkpoint knows {len(states)} of {count} streams (WholeCheckpointHook saves '
            'those of all processes): all of them go on after the furthest'
        )
    else:
        logger.warning(
            f'shards were read by {before} data workers, and now by {count}: what those had begun '
            'to read is left, and the order differs from here on'
        )
    known = [state for state in states.values() if state is not None]
    lane = dataset.lane(0, max(loader.num_workers, 1))
    return {n: dataset.go_on(known, lane.at(n)) for n in range(count)} if known else {}


def add_position_hook(runner: Any, loop: Any) -> None:
    """Register :class:`StreamPositionHook` for a training on streams, once."""
    if is_streamed(loop.dataloader.dataset):
        if not any(isinstance(hook, StreamPositionHook) for hook in runner.hooks):
            runner.register_hook(StreamPositionHook())
