"""Datasets whose large annotation files are read once, and then stay on disk."""

import os.path as osp
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from mmengine.dataset import BaseDataset

from .annotation_cache import Spill, records_of
from .file_arguments import file_arguments
from .reading_options import source_of
from .stored_records import StoredRecords


class CachedAnnotations(BaseDataset):
    """Mixin before mmengine's and mmdet's datasets: samples of large files come from a cache.

    The first start reads the annotation files and writes the records that its samples are made of
    into one file, with pyarrow and msgpack (the extra ``annotations``). Later starts open that
    file: all processes and workers share its pages in memory, and a record is read when its sample
    is asked for. Samples, errors and the log are the same as without a cache.

    A cache belongs to the path, size and time of each file, to the options of the dataset, and to
    the source of its class, and is not used for others; a class of a notebook's cell has no such
    file, and none. It holds plain data and checksums. A damaged one is made again; where none can
    be written, the log says so in a line, and the dataset reads its files as if there were none.

    Readers pass what they make of a file through :meth:`collect`, so that a large one never is in
    memory as a whole. Where a dataset of your own does not, it is cached all the same.

    Args:
        annotation_cache: folder of the caches. True: ``annotations`` in ``$FIBER_CACHE``, or else
            in ``~/.cache/fiber_mmdet``. False: none. There is none with ``serialize_data=False``.
        annotation_cache_from: size of the annotation files, in MB, from which there is one.

    Raises:
        ValueError: ``annotation_cache`` is neither a folder nor a truth value, or
            ``annotation_cache_from`` is not a number of MB.
    """

    REMADE: tuple[str, ...] = ()  # attributes that reading sets and remake() sets, too
    _spill: Spill | None = None
    _source: str | None = None
    # of mmengine, without types there
    data_list: Sequence[dict]
    serialize_data: bool
    _fully_initialized: bool

    def __init_subclass__(cls, **kwargs) -> None:
        super().__init_subclass__(**kwargs)
        cls._source = source_of(cls)  # now: an edited file is not yet what this process runs

    def __init__(
        self,
        *args,
        annotation_cache: bool | str = True,
        annotation_cache_from: float = 32,
        **kwargs,
    ) -> None:
        if not isinstance(annotation_cache, (bool, str)) or annotation_cache == '':
            raise ValueError(
                f'annotation_cache={annotation_cache!r} must be a folder, or True for the usual '
                'one, or False for no cache'
            )
        if isinstance(annotation_cache_from, bool) or not (
            isinstance(annotation_cache_from, (int, float)) and annotation_cache_from >= 0
        ):
            raise ValueError(
                f'annotation_cache_from={annotation_cache_from!r} must be a size in MB'
            )
        self.annotation_cache = annotation_cache
        self.annotation_cache_from = annotation_cache_from
        super().__init__(*args, **kwargs)

    def annotation_inputs(self) -> list[str]:
        """The files that decide what the records are, the one that gives the cache its name first.

        Folders may be among them, if it matters which files they have. With none at all there is no
        cache.
        """
        if (self._backend() or {}).get('backend', 'local') != 'local':
            return []
        paths = []
        for argument in file_arguments(type(self)):
            if argument.folder:
                continue
            value = getattr(self, argument.name)
            values = value.values() if isinstance(value, Mapping) else value
            for path in [value] if isinstance(value, str) else values or ():
                # mmengine has joined ann_file already
                root = '' if argument.name == 'ann_file' else self.data_root or ''
                paths.append(osp.join(root, path))
        return [path for path in paths if path]

    def remake(self) -> None:
        """Set what reading the file sets, but a cache cannot hold: the attributes in ``REMADE``."""

    def _backend(self) -> Mapping[str, Any] | None:
        return getattr(self, 'backend_args', None)

    def collect(self, records: Iterable[Any]) -> Sequence[Any]:
        """All records of a reader: a list, or, while a cache is being made, a file.

        Args:
            records: made one by one.
        """
        return list(records) if self._spill is None else self._spill.keep(iter(records))

    def chosen(self, records: Sequence[Any], positions: Sequence[int]) -> Sequence[Any]:
        """Some of the records, without reading them.

        Args:
            records: see :meth:`collect`.
            positions: which of them, in which order.
        """
        if len(positions) == len(records) and all(i == p for i, p in enumerate(positions)):
            return records
        if isinstance(records, StoredRecords):
            return records[positions]
        return [records[i] for i in positions]

    def full_init(self) -> None:
        """Open the cache; without one, read the files."""
        if self._fully_initialized:
            return
        records = None
        if self.serialize_data and self.annotation_cache and not getattr(self, 'proposal_file', 0):
            records = records_of(self)
        if records is None:
            super().full_init()
            return
        self.data_list = records
        if self._indices is not None:
            self.data_list = self._get_unserialized_subset(self._indices)
        self.serialize_data = False  # mmengine's way of saying that data_list has the records
        self._fully_initialized = True

    def get_data_info(self, idx: int) -> dict:
        """Record ``idx`` with its ``sample_idx``, an object of its own."""
        self.full_init()
        if self.serialize_data or not isinstance(self.data_list, StoredRecords):
            return super().get_data_info(idx)
        record = self.data_list[idx]  # mmengine would copy it
        record['sample_idx'] = idx if idx >= 0 else len(self) + idx
        return record

    def _get_unserialized_subset(self, indices: int | Sequence[int]) -> Sequence[dict]:
        if isinstance(self.data_list, StoredRecords) and isinstance(indices, Sequence):
            return self.data_list[indices]
        return super()._get_unserialized_subset(indices)
