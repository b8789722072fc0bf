"""Datasets inside wrappers (concatenated, repeated), in a config and as built."""

import os.path as osp
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from mmengine.dataset import BaseDataset, ConcatDataset

from .shards.names import is_local, local_path, shard_names


def type_name(cfg: Mapping[str, Any]) -> str:
    """Name of the class that a config builds, without its scope or module."""
    kind = cfg['type']
    name = kind if isinstance(kind, str) else kind.__name__
    return name.rpartition('.')[2]


def split_datasets(cfg: Mapping[str, Any], split: str) -> Iterator[tuple[Mapping[str, Any], str]]:
    """Dataset configs of a split, wrappers before what they wrap, each with its place.

    Args:
        cfg: a whole config; its ``<split>_dataloader`` may be missing, one or a list.
        split: 'train', 'val' or 'test'.

    Yields:
        A dataset's config and where it stands, such as
        ``'train_dataloader.dataset.datasets[1]'``.
    """
    place = f'{split}_dataloader'
    loaders = cfg.get(place) or {}
    if isinstance(loaders, Mapping):
        loaders = {place: loaders}
    else:
        loaders = {f'{place}[{i}]': loader for i, loader in enumerate(loaders)}
    for where, loader in loaders.items():
        if loader.get('dataset'):
            yield from _with_inner(loader['dataset'], f'{where}.dataset')


def files_of(cfg: Mapping[str, Any]) -> Iterator[Path]:
    """Local files that the datasets and metrics of a config name: those that nothing overwrites.

    Args:
        cfg: a whole config.
    """
    for name, part in cfg.items():
        if name.endswith(('_dataloader', '_evaluator')):
            yield from _named_files(part, Path())


def _named_files(part: Any, root: Path) -> Iterator[Path]:
    if isinstance(part, Mapping):
        root = Path(part.get('data_root') or root)
        if part.get('shards'):
            yield from _shards(part, root)
        part = list(part.values())
    if isinstance(part, (list, tuple)):
        for one in part:
            yield from _named_files(one, root)
    elif isinstance(part, (str, Path)):
        for path in {Path(part), root / part}:
            if osp.isfile(path):  # which no name is too long or too strange for
                yield path


def _shards(part: Mapping[str, Any], root: Path) -> Iterator[Path]:
    try:
        names = shard_names(part['shards'], str(root), outside_paths=True)
    except (ImportError, OSError, TypeError, ValueError):  # whoever reads them says why
        return
    yield from (Path(local_path(name)) for name in names if is_local(name))


def is_wrapper(dataset: Mapping[str, Any]) -> bool:
    """Whether a dataset's config wraps others."""
    return bool(dataset.get('datasets')) or 'dataset' in dataset


def pipelined_datasets(
    cfg: Mapping[str, Any], split: str
) -> Iterator[tuple[Mapping[str, Any], str]]:
    """Dataset configs of a split whose pipelines read its images, each with its place.

    Those are the datasets inside wrappers; of a ``TasksOfImages``, which has a table of datasets,
    itself and not those inside.

    Args:
        cfg: a whole config.
        split: 'train', 'val' or 'test'.
    """
    joined = ''
    for part, place in split_datasets(cfg, split):
        if joined and place.startswith(joined):
            continue
        joins = isinstance(part.get('datasets'), Mapping)
        if joins:
            joined = f'{place}.'
        if joins or not is_wrapper(part):
            yield part, place


def _with_inner(part: Mapping[str, Any], place: str) -> Iterator[tuple[Mapping[str, Any], str]]:
    yield part, place
    for name, one in _members(part.get('datasets')):
        yield from _with_inner(one, f'{place}.datasets{name}')
    if 'dataset' in part:
        yield from _with_inner(part['dataset'], f'{place}.dataset')


def _members(datasets: Any) -> list[tuple[str, Any]]:
    """The members of a list of datasets, or of a table of them without those left out."""
    if isinstance(datasets, Mapping):
        return [(f'.{name}', one) for name, one in datasets.items() if one is not None]
    return [(f'[{i}]', one) for i, one in enumerate(datasets or ())]


def leaves(dataset: Any) -> Iterator[BaseDataset]:
    """The datasets inside wrappers, each once and in order."""
    inner = list(getattr(dataset, 'datasets', [])) or (
        [dataset.dataset] if hasattr(dataset, 'dataset') else []
    )
    for part in inner:
        yield from leaves(part)
    if not inner:
        yield dataset


def locate(dataset: Any, index: int) -> tuple[BaseDataset, int]:
    """The dataset inside wrappers that a sample comes from, and its index there."""
    while hasattr(dataset, '_get_ori_dataset_idx'):
        place = dataset._get_ori_dataset_idx(index)
        if isinstance(dataset, ConcatDataset):
            dataset, index = dataset.datasets[place[0]], place[1]
        else:
            dataset, index = dataset.dataset, place
    return dataset, index
