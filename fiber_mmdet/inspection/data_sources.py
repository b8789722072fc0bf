"""Which data a config uses: datasets inside wrappers, files, folders."""

import os.path as osp
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from mmdet.registry import DATASETS
from mmengine.dataset import BaseDataset

from fiber_mmdet.datasets.dataset_tree import is_wrapper, split_datasets
from fiber_mmdet.datasets.file_arguments import FileArgument, file_arguments
from fiber_mmdet.datasets.image_text.vqav2 import ANSWER_FILE
from fiber_mmdet.datasets.shards.names import missing_shards, scheme_of, shard_names

from .config_options import refuse_idle_options

SPLITS = ('train', 'val', 'test')
DF_FILE = FileArgument('df_file', command='fiber build-cider-df KARPATHY_FILE --splits train --out')
# of metrics and objectives
OTHER_FILES = (FileArgument('ann_file'), ANSWER_FILE, DF_FILE)


@dataclass(frozen=True)
class NamedPath:
    """A file or folder that must exist.

    Attributes:
        path: as it will be opened.
        place: of the setting in the config.
        argument: the setting.
    """

    path: str
    place: str
    argument: FileArgument

    @property
    def folder(self) -> bool:
        """Whether it is a folder."""
        return self.argument.folder

    def missing(self) -> bool:
        """Whether it does not exist; remote addresses are not looked up."""
        if self.argument.shards:
            try:
                return bool(missing_shards(shard_names(self.path)))
            except OSError:
                return True
            except (ImportError, TypeError, ValueError):  # building the dataset says why
                return False
        if '://' in self.path:
            return False
        return not (osp.isdir if self.folder else osp.isfile)(self.path)

    def command(self) -> str | None:
        """The command that writes it; None if it has to be downloaded."""
        before, scenes, _ = self.path.rpartition('data/scenes/')
        if scenes and self.argument is not DF_FILE:
            return f'fiber make-scenes {before}data/scenes'
        return self.argument.command and f'{self.argument.command} {self.path}'


@dataclass(frozen=True)
class DataSource:
    """A dataset of a config, without its wrappers.

    Attributes:
        cfg: its config.
        places: the places in the config that build it; validation and test often share one.
    """

    cfg: Mapping[str, Any]
    places: tuple[str, ...]

    @property
    def kind(self) -> type:
        """Its class; mmengine's base class for an unknown name, which building it will report."""
        kind = self.cfg['type']
        kind = DATASETS.get(kind) if isinstance(kind, str) else kind
        return kind if isinstance(kind, type) else BaseDataset

    @property
    def splits(self) -> tuple[str, ...]:
        """The splits that use it."""
        return tuple(
            split for split in SPLITS if any(place.startswith(f'{split}_') for place in self.places)
        )

    @property
    def test(self) -> bool:
        """Whether it is evaluated rather than trained on."""
        return bool(self.cfg.get('test_mode', False))

    @property
    def annotations(self) -> tuple[str, ...]:
        """The paths of its annotation files."""
        return tuple(path.path for path in self.paths() if path.argument.annotations)

    def parts(self) -> set[tuple[str, str]]:
        """Its annotation files, each with each split that is read from it, '' for all."""
        splits = self.cfg.get('splits') or ''
        return {
            (file, split)
            for file in self.annotations
            for split in ([splits] if isinstance(splits, str) else splits)
        }

    def paths(self) -> Iterator[NamedPath]:
        """The files and folders that it reads, as far as its config names them."""
        yield from _named_paths(
            self.cfg, file_arguments(self.kind), self.places[0], self.cfg.get('data_root') or ''
        )


def _named_paths(
    part: Mapping[str, Any], arguments: Iterable[FileArgument], place: str, root: str = ''
) -> Iterator[NamedPath]:
    for argument in arguments:
        value = part.get(argument.name)
        if isinstance(value, str):
            paths = {'': value}
        elif isinstance(value, Mapping):
            paths = {f'.{name}': path for name, path in value.items()}
        else:
            paths = {f'[{i}]': path for i, path in enumerate(value or ())}
        for suffix, path in paths.items():
            where = f'{place}.{argument.name}{suffix}'
            for name in argument.inside or ('',):
                full = osp.join(root, path, name) if name else osp.join(root, path)
                if argument.shards and scheme_of(path):
                    full = path
                # without a folder, the paths in the annotations are complete
                if full if argument.folder else path:
                    yield NamedPath(full, where, argument)


def find_sources(cfg: Mapping[str, Any], splits: Sequence[str] = SPLITS) -> list[DataSource]:
    """The datasets of a config, each once, those of training first.

    Args:
        cfg: a whole config.
        splits: whose dataloaders to search.
    """
    found: list[tuple[Mapping, list[str]]] = []
    for split in splits:
        for part, place in split_datasets(cfg, split):
            if is_wrapper(part):
                continue
            for known, places in found:
                if known == part:
                    places.append(place)
                    break
            else:
                found.append((part, [place]))
    return [DataSource(part, tuple(places)) for part, places in found]


def evaluator_paths(cfg: Mapping[str, Any], splits: Sequence[str] = SPLITS) -> list[NamedPath]:
    """The files that the metrics of a config read."""
    return [
        path
        for split in splits
        if split != 'train'
        for path in _metric_paths(cfg.get(f'{split}_evaluator'), f'{split}_evaluator')
    ]


def _metric_paths(part: Any, place: str) -> Iterator[NamedPath]:
    if isinstance(part, Mapping):
        yield from _named_paths(part, OTHER_FILES, place)
        yield from _metric_paths(part.get('metrics'), f'{place}.metrics')
    elif isinstance(part, Sequence) and not isinstance(part, str):
        for i, one in enumerate(part):
            yield from _metric_paths(one, f'{place}[{i}]')


def model_paths(model: Mapping[str, Any]) -> list[NamedPath]:
    """The files that training a model reads: those of captioning objectives."""
    paths: list[NamedPath] = []
    for name, head in (model.get('heads') or {}).items():
        objective = (head or {}).get('objective')
        # up to version 0.1 the objective was a name, its arguments an argument of that name
        key = objective if isinstance(objective, str) else 'objective'
        arguments = (head or {}).get(key) or {}
        paths += _named_paths(arguments, OTHER_FILES, f'model.heads.{name}.{key}')
    return paths


def replace_tokenizer(part: Any, name_or_path: str) -> None:
    """Use another tokenizer in the model and all transforms of a config, in place."""
    if isinstance(part, Mapping):
        for key, inner in part.items():
            if key == 'tokenizer' and isinstance(inner, dict) and 'name_or_path' in inner:
                inner['name_or_path'] = name_or_path
            else:
                replace_tokenizer(inner, name_or_path)
    elif isinstance(part, Sequence) and not isinstance(part, str):
        for inner in part:
            replace_tokenizer(inner, name_or_path)


def merge_options(cfg: Any, options: Mapping[str, Any] | None) -> None:
    """Override settings of a config about data, in place.

    Cached prefixes of a training are left out: data are looked at as images.

    Args:
        cfg: an mmengine config.
        options: of the command line; None for nothing.

    Raises:
        IdleSettingError: an option that changes nothing, such as ``data_root``.
    """
    refuse_idle_options(cfg, options)
    cfg.merge_from_dict(dict(options or {}))
    for dataset, _ in split_datasets(cfg, 'train'):
        if isinstance(dataset, dict):
            dataset.pop('prefixes', None)
