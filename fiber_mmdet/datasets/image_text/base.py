"""What all image-text datasets share: image paths, false images, clear errors."""

import inspect
import os.path as osp
from collections.abc import Hashable, Mapping, Sequence
from typing import Any

import numpy as np
from mmengine.dataset import BaseDataset

from fiber_mmdet.arguments import refuse_unknown
from fiber_mmdet.fields import PATH
from fiber_mmdet.records import path_below

from ..cached_annotations import CachedAnnotations
from ..texts_per_image import check_texts_per_image, deal
from ..transforms.cached_prefixes import with_prefixes

MAX_DRAWS = 1000


class ImageTextDataset(CachedAnnotations):
    """Base of datasets whose samples are a text about an image.

    Samples have ``views`` (name -> ``dict(img_path=...)``, always with ``image``), ``text`` and
    ``image_id``; images are not read before a transform loads them. Subclasses implement
    :meth:`read_items`, and list arguments that name files in ``FILES``.

    Args:
        *args: those of mmengine's ``BaseDataset``.
        image_template: path of an image below ``data_prefix['img']``, with fields of its record
            in braces, such as ``'{filepath}/{filename}'``.
        false_image: whether samples also have a view ``false_image``, the image of a random other
            sample. It is drawn at each access with numpy's global generator; all samples with
            another ``image_id`` are equally likely.
        data_prefix: ``dict(img=...)``, the folder of images below ``data_root``; ``data_root``
            itself if not given.
        backend_args: of mmengine's file reading, for annotation files.
        outside_paths: allow paths in annotation files that leave the folder of images, by ``../``
            or as absolute paths.
        prefixes: folder of a cache (``tools/cache_prefixes.py``), from which the image prefixes of
            a training with a frozen image tower are read instead of images.
        texts_per_image: texts that share an image, which is then read, augmented and encoded once
            for all of them. With more than 1, a sample is an image with up to that many texts
            (``texts``, a list of the fields of each), and the batch size of a dataloader counts
            images. An image with n texts makes n / ``texts_per_image`` samples, rounded up, of
            nearly equally many texts, so that an epoch has every text once. For training only.
        **kwargs: those of mmengine's ``BaseDataset``, and ``annotation_cache`` and
            ``annotation_cache_from`` of :class:`CachedAnnotations`.

    Raises:
        TypeError: an unknown argument; the message suggests the closest known one.
        FileNotFoundError: an annotation file is missing.
        ValueError: a ``filter_cfg`` is given, ``texts_per_image`` is less than 1 or given for
            tests, or a file is malformed or yields no sample; the
            message names the file.
        PrefixCacheError: the cache does not belong to the pipeline
            (:class:`~fiber_mmdet.datasets.CachedPrefixes`), or is given for tests.
    """

    def __init__(
        self,
        *args,
        image_template: Any,
        false_image: bool = False,
        data_prefix: Mapping[str, str] | None = None,
        backend_args: dict | None = None,
        outside_paths: bool = False,
        texts_per_image: int = 1,
        prefixes: str | None = None,
        **kwargs,
    ) -> None:
        refuse_unknown(type(self).__name__, kwargs, _arguments(type(self)))
        if kwargs.get('filter_cfg'):
            raise ValueError(
                f'{type(self).__name__} does not filter samples: leave filter_cfg out, and '
                'choose samples by splits or exclude_ids'
            )
        self.image_template = image_template
        self.false_image = false_image
        self.backend_args = backend_args
        self.outside_paths = outside_paths
        self.texts_per_image = check_texts_per_image(
            texts_per_image, kwargs.get('test_mode', False)
        )
        if prefixes is not None:
            kwargs['pipeline'] = with_prefixes(
                kwargs.get('pipeline', ()),
                prefixes,
                kwargs.get('test_mode', False),
                type(self).__name__,
            )
        data_prefix = dict(data_prefix or dict(img=''))
        if set(data_prefix) != {'img'}:
            raise ValueError(
                f'data_prefix={data_prefix} must be dict(img=...), the folder of images '
                'below data_root'
            )
        super().__init__(*args, data_prefix=data_prefix, **kwargs)

    def read_items(self) -> Sequence[dict]:
        """What :meth:`assemble` makes samples of, one record for each text."""
        raise NotImplementedError

    def assemble(self, record: dict) -> dict:
        """A sample, with ``views``, ``text``, ``image_id`` and the fields of the task."""
        return record

    def image_of(self, record: dict) -> Hashable:
        """What is equal for records with the same views."""
        return tuple(view['img_path'] for view in record['views'].values())

    def load_data_list(self) -> Sequence[dict]:
        """Read the samples; those of an image together, if ``texts_per_image`` says so.

        Raises:
            FileNotFoundError: a file is missing.
            ValueError: a file is malformed, or there is no sample.
        """
        items = self.read_items()
        if not items:
            raise ValueError(
                f'{type(self).__name__}: no sample in {self.sources()}: check the '
                'file and the choice of splits'
            )
        if self.texts_per_image == 1:
            return items
        groups = deal(map(self.image_of, items), self.texts_per_image)
        return self.collect(dict(texts=[items[i] for i in group]) for group in groups)

    def sources(self) -> str:
        """The annotation files, as errors name them."""
        return self.ann_file

    def most_texts(self, tasks: Sequence[str] | None = None) -> int:
        """The largest number of texts that an image of a batch has.

        Args:
            tasks: those that count; only :class:`TasksOfImages` has several.
        """
        return self.texts_per_image

    def below_root(self, path: str) -> str:
        """A path, which may be relative to ``data_root``."""
        return osp.join(self.data_root or '', path)

    def image_path(self, template: str, fields: Mapping[str, Any], where: str) -> str:
        """Path of the image of a record.

        Args:
            template: of its path below the folder of images.
            fields: available to the template.
            where: the record, as an error names it.

        Raises:
            ValueError: the template does not fit the record, or the path leaves the data folder.
        """
        try:
            name = template.format_map(fields)
        except (KeyError, IndexError, ValueError, TypeError) as error:
            known = ', '.join(
                f'{key}={value!r}' for key, value in fields.items() if isinstance(value, (str, int))
            )
            raise ValueError(
                f'image_template {template!r} does not fit {where} ({error!r}); fields are {known}'
            ) from error
        if not PATH.fits(name):
            raise PATH.refuse(where, 'an image at', name)
        return path_below(
            self.data_prefix['img'],
            name,
            f'{where} has an image at',
            self.outside_paths,
        )

    def item(self, idx: int) -> dict:
        """Sample ``idx`` without a false image."""
        info = super().get_data_info(idx)
        if self.texts_per_image == 1:
            return self.assemble(info)
        texts = [self.assemble(record) for record in info['texts']]
        first = texts[0]
        views = first['views']
        for text in texts:
            del text['views']
        return dict(
            views=views, image_id=first['image_id'], texts=texts, sample_idx=info['sample_idx']
        )

    def get_data_info(self, idx: int) -> dict:
        """Sample ``idx``, a dictionary of its own."""
        info = self.item(idx)
        if self.false_image:
            info['views']['false_image'] = self.other_view(info['image_id'])
        return info

    def other_view(self, image_id: Any) -> dict:
        """View ``image`` of a random sample of another image.

        Raises:
            ValueError: none was found.
        """
        for _ in range(MAX_DRAWS):
            other = self.item(np.random.randint(len(self)))
            if other['image_id'] != image_id:
                return other['views']['image']
        raise ValueError(
            f'false_image=True, but {self.sources()} has hardly any image except '
            f'{image_id!r}: add images, or choose other splits'
        )


def _arguments(cls: type) -> list[str]:
    """Names of the arguments of a dataset class and of its base classes."""
    names: dict[str, None] = {}
    for base in cls.__mro__:
        if issubclass(base, BaseDataset) and '__init__' in vars(base):
            parameters = list(inspect.signature(vars(base)['__init__']).parameters.values())[1:]
            names.update(
                (p.name, None)
                for p in parameters
                if p.kind not in (p.VAR_POSITIONAL, p.VAR_KEYWORD)
            )
    return list(names)
