"""Which data a config names: data sets inside wrappers, files, folders."""

import os.path as osp
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from fiber_mmdet.datasets.dataset_tree import is_wrapper, split_datasets

SPLITS = ('train', 'val', 'test')
FILES = ('ann_file', 'label_map_file', 'answer_file', 'image_data_file', 'exclude_ids', 'df_file')
FILE_LISTS = ('question_files', 'annotation_files', 'ann_files')
# of a data set below its data_root; what a folder of this name has inside
FOLDERS = {'entities_root': ('Annotations', 'Sentences')}
# files that a tool of ours writes, by the argument that names them
MAKERS = {
    'answer_file': 'tools/build_vqa_answers.py TRAIN_ANNOTATIONS VAL_ANNOTATIONS --out',
    'df_file': 'tools/build_cider_df.py KARPATHY_FILE --splits train --out',
}


@dataclass(frozen=True)
class NamedPath:
    """A file or folder that has to be there.

    Attributes:
        path: as it will be opened.
        folder: whether it is a folder.
        where: the place in the config that names it.
    """

    path: str
    folder: bool
    where: str

    def missing(self) -> bool:
        """Whether it is not there; addresses of other hosts are not looked up."""
        if '://' in self.path:
            return False
        return not (osp.isdir if self.folder else osp.isfile)(self.path)

    def maker(self) -> str | None:
        """The command that writes it, None if it has to be fetched."""
        key = self.where.rpartition('.')[2]
        before, scenes, _ = self.path.rpartition('data/scenes/')
        if scenes and key != 'df_file':
            return f'write it with tools/make_scenes.py {before}data/scenes'
        return f'write it with {MAKERS[key]} {self.path}' if key in MAKERS else None


@dataclass(frozen=True)
class DataSource:
    """A data set of a config, without its wrappers.

    Attributes:
        cfg: its config.
        places: the places in the config that build it; val and test are often one.
    """

    cfg: Mapping[str, Any]
    places: tuple[str, ...]

    @property
    def splits(self) -> tuple[str, ...]:
        """The splits it belongs to."""
        return tuple(
            split for split in SPLITS if any(place.startswith(f'{split}_') for place in self.places)
        )

    @property
    def test(self) -> bool:
        """Whether it is evaluated rather than trained on."""
        return bool(self.cfg.get('test_mode', False))

    @property
    def ann_file(self) -> str:
        """The path of its annotations, several behind commas."""
        return ', '.join(self._annotations())

    def parts(self) -> set[tuple[str, str]]:
        """Its annotation files, each with each split that is read from it, '' for all."""
        splits = self.cfg.get('splits') or ''
        return {
            (file, split)
            for file in self._annotations()
            for split in ([splits] if isinstance(splits, str) else splits)
        }

    def _annotations(self) -> list[str]:
        return [
            join(self.cfg.get('data_root'), path)
            for key in ('ann_file', 'ann_files', 'question_files')
            for path, _ in _listed(self.cfg.get(key))
        ]

    def paths(self) -> Iterator[NamedPath]:
        """The files and folders it names."""
        place = self.places[0]
        root = self.cfg.get('data_root')
        for key in FILES:
            if self.cfg.get(key):
                yield NamedPath(join(root, self.cfg[key]), False, f'{place}.{key}')
        for key in FILE_LISTS:
            for path, name in _listed(self.cfg.get(key)):
                yield NamedPath(join(root, path), False, f'{place}.{key}{name}')
        for key in ('data_prefix', 'image_dirs'):
            for name, folder in (self.cfg.get(key) or {}).items():
                # without a folder the paths of the annotations are complete
                if join(root, folder):
                    yield NamedPath(join(root, folder), True, f'{place}.{key}.{name}')
        for key, inside in FOLDERS.items():
            if self.cfg.get(key):
                for name in inside:
                    yield NamedPath(
                        join(root, osp.join(self.cfg[key], name)), True, f'{place}.{key}'
                    )


def join(root: str | None, path: str) -> str:
    """A path below ``data_root``, as mmengine joins them."""
    return osp.join(root or '', path)


def _listed(files: Any) -> Iterator[tuple[str, str]]:
    """Each path of an argument that is a path, a list or a dictionary of some, and its place."""
    if isinstance(files, str):
        if files:
            yield files, ''
    elif isinstance(files, Mapping):
        yield from ((path, f'.{name}') for name, path in files.items())
    else:
        yield from ((path, f'[{i}]') for i, path in enumerate(files or ()))


def find_sources(cfg: Mapping[str, Any], splits: Sequence[str] = SPLITS) -> list[DataSource]:
    """The data sets of a config, each once, those of training first.

    Args:
        cfg: a whole config.
        splits: of which loaders.
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


def replace_tokenizer(part: Any, name_or_path: str) -> None:
    """Let the model and all transforms of a config use another tokenizer, in place."""
    if isinstance(part, Mapping):
        for key, inner in part.items():
            if key == 'tokenizer' and isinstance(inner, Mapping) and 'name_or_path' in inner:
                inner['name_or_path'] = name_or_path
            else:
                replace_tokenizer(inner, name_or_path)
    elif isinstance(part, Sequence) and not isinstance(part, str):
        for inner in part:
            replace_tokenizer(inner, name_or_path)


def merge_options(cfg: Any, options: Mapping[str, Any] | None) -> None:
    """Override settings of a config about data, in place.

    Args:
        cfg: an mmengine config.
        options: of the command line; None for nothing.

    Raises:
        ValueError: ``data_root``, which data sets have copied when the config was read.
    """
    if options and 'data_root' in options:
        raise ValueError(
            'data_root=… would change nothing: the data sets took it over when the config was read. '
            'Set train_dataloader.dataset.data_root=… (and val_dataloader…, test_dataloader…), or '
            'data_root in a config of your own'
        )
    cfg.merge_from_dict(dict(options or {}))


def evaluator_paths(cfg: Mapping[str, Any], splits: Sequence[str] = SPLITS) -> list[NamedPath]:
    """The files that the metrics of a config name."""
    found = []
    for split in splits:
        if split != 'train':
            found += _metric_paths(cfg.get(f'{split}_evaluator'), f'{split}_evaluator')
    return found


def model_paths(model: Mapping[str, Any]) -> list[NamedPath]:
    """The files that training a model reads: those of captioning objectives."""
    paths = []
    for name, head in (model.get('heads') or {}).items():
        objective = (head or {}).get('objective')
        # up to version 0.1 the objective was a name, its arguments an argument of that name
        key = objective if isinstance(objective, str) else 'objective'
        arguments = (head or {}).get(key) or {}
        paths += [
            NamedPath(arguments[file], False, f'model.heads.{name}.{key}.{file}')
            for file in FILES
            if arguments.get(file)
        ]
    return paths


def _metric_paths(part: Any, place: str) -> Iterator[NamedPath]:
    if isinstance(part, Mapping):
        for key in FILES:
            if isinstance(part.get(key), str):
                yield NamedPath(part[key], False, f'{place}.{key}')
        yield from _metric_paths(part.get('metrics'), f'{place}.metrics')
    elif isinstance(part, Sequence) and not isinstance(part, str):
        for i, one in enumerate(part):
            yield from _metric_paths(one, f'{place}[{i}]')
