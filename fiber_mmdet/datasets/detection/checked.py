"""What all datasets of the detector check: paths of images, and that something can be learned."""

from collections.abc import Sequence

from mmdet.datasets import BaseDetDataset
from mmengine.logging import MMLogger

from fiber_mmdet.records import path_below

from ..cached_annotations import CachedAnnotations
from ..image_errors import NamesUnreadableImages
from ..transforms.cached_prefixes import with_prefixes
from ..transforms.mirrored_words import unmirrored_words


class NoSamplesError(ValueError):
    """A dataset without samples, or, in training, without a box to learn from."""


class CheckedDetection(NamesUnreadableImages, CachedAnnotations, BaseDetDataset):
    """Mixin before mmdet's datasets of boxes.

    Args:
        outside_paths: allow paths in annotation files that leave their data folder (that of
            ``data_prefix``), by ``../`` or as absolute paths.
        prefixes: folder of a cache (``tools/cache_prefixes.py``), from which the image prefixes of
            a training with a frozen image tower are read instead of images.
        **kwargs: those of mmdet's ``BaseDetDataset``, and ``annotation_cache`` and
            ``annotation_cache_from`` of :class:`CachedAnnotations`.

    Raises:
        PrefixCacheError: the cache does not belong to the pipeline
            (:class:`~fiber_mmdet.datasets.CachedPrefixes`), or is given for tests.
    """

    def __init__(
        self, *args, outside_paths: bool = False, prefixes: str | None = None, **kwargs
    ) -> None:
        self.outside_paths = outside_paths
        if prefixes is not None:
            kwargs['pipeline'] = with_prefixes(
                kwargs.get('pipeline', ()),
                prefixes,
                kwargs.get('test_mode', False),
                type(self).__name__,
            )
        super().__init__(*args, **kwargs)

    def full_init(self) -> None:
        """Read the file; in training, warn of words that the pipeline leaves unmirrored."""
        if self._fully_initialized:
            return
        super().full_init()
        if not self.test_mode:
            fault = unmirrored_words(self.pipeline.transforms, self)
            if fault:
                MMLogger.get_current_instance().warning(f'{self.ann_file}: {fault}')

    def image_file(self, folder: str, name: str, where: str, field: str = 'file_name') -> str:
        """Path of an image that a record names.

        Raises:
            ValueError: it leaves the data folder.
        """
        return path_below(folder, name, f'{where} has {field}', self.outside_paths)

    def need_boxes(self, records: Sequence[dict], annotated: int) -> None:
        """Check, in training, that not all boxes of the file were dropped.

        Args:
            records: of all images.
            annotated: number of annotations that the file has for them.

        Raises:
            NoSamplesError: the file has boxes, but none that can be learned.
        """
        if self.test_mode or not annotated:
            return
        if not any(
            not instance.get('ignore_flag', 0)
            for record in records
            for instance in record['instances']
        ):
            raise NoSamplesError(
                f'{self.ann_file}: none of its {annotated} boxes can be learned: they are crowds '
                '(iscrowd), ignored, without a size, outside their image, or without a usable '
                'span or class. Correct the annotations'
            )

    def filter_data(self) -> Sequence[dict]:
        """The records that are used (:meth:`usable_records`).

        Raises:
            NoSamplesError: none is left.
        """
        records = self.usable_records()
        if not records:
            reason = (
                'no image is left (filter_empty_gt leaves out those without boxes): check '
                'annotations and classes'
                if self.data_list
                else 'it has no samples: check that it is the right file'
            )
            raise NoSamplesError(f'{self.ann_file}: {reason}')
        return records

    def usable_records(self) -> Sequence[dict]:
        """All records; in training, without images that have no box if ``filter_empty_gt``."""
        records = self.data_list
        if self.test_mode or not (self.filter_cfg or {}).get('filter_empty_gt'):
            return records
        return self.chosen(records, [i for i, one in enumerate(records) if one['instances']])
