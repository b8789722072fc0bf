"""Which files a dataset reads: declared by its class, named in its config."""

from collections.abc import Mapping
from dataclasses import dataclass

from mmdet.datasets import ODVGDataset
from mmdet.registry import DATASETS
from mmengine.dataset import BaseDataset


@dataclass(frozen=True)
class FileArgument:
    """An argument of a dataset that names files or folders below ``data_root``.

    A dataset class lists its own in ``FILES``, a tuple; those of its base classes are added. In a
    config, the argument's value is one path, a list of paths or a dictionary of paths.

    Attributes:
        name: of the argument.
        annotations: whether samples are read from these files. They name the dataset in reports,
            and two splits that read the same ones overlap.
        folder: whether the paths are folders.
        inside: subfolders that such a folder must contain.
        command: what writes the file, up to its path; None for downloaded files.
        shards: whether the paths may be patterns and addresses
            (:func:`~fiber_mmdet.datasets.shards.names.shard_names`).
    """

    name: str
    annotations: bool = False
    folder: bool = False
    inside: tuple[str, ...] = ()
    command: str | None = None
    shards: bool = False


# for classes outside this package, which declare nothing
OTHERS = {
    BaseDataset: (
        FileArgument('ann_file', annotations=True),
        FileArgument('data_prefix', folder=True),
    ),
    ODVGDataset: (FileArgument('label_map_file'),),
}


def file_arguments(kind: type) -> tuple[FileArgument, ...]:
    """The file arguments of a dataset class, those of its base classes first."""
    found = {}
    for cls in reversed((*kind.__mro__, BaseDataset)):
        for argument in vars(cls).get('FILES', OTHERS.get(cls, ())):
            found[argument.name] = argument
    return tuple(found.values())


def published_counts(path: str) -> Mapping[str, int]:
    """What the published annotation file of this name holds, by the end of its path.

    Dataset classes declare it in ``PUBLISHED``: end of a path -> ``images``, ``captions``,
    ``categories``, … -> number.

    Args:
        path: where a config expects the file.

    Returns:
        The numbers; empty for files that no registered class knows.
    """
    for kind in DATASETS.module_dict.values():
        for name, counts in vars(kind).get('PUBLISHED', {}).items():
            if f'/{path}'.endswith(f'/{name}'):
                return counts
    return {}
