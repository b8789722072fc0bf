"""Visual Genome's region descriptions, each used as a caption of its whole image."""

import os.path as osp
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Any

from mmdet.registry import DATASETS
from mmengine.fileio import list_dir_or_file

from fiber_mmdet.fields import ID, OBJECTS, TEXT, Kind, check_record, check_table
from fiber_mmdet.records import read_json

from ..file_arguments import FileArgument
from .captions import CaptionDataset

RECORD = dict(regions=OBJECTS)
REGION = dict(image_id=ID, phrase=TEXT)
IMAGE = dict(
    image_id=ID,
    url=Kind(
        'an address that ends in the folder and name of an image, "…/VG_100K/2.jpg"',
        lambda value: TEXT.fits(value) and value.count('/') >= 1,
    ),
)


@DATASETS.register_module()
class RegionPhraseDataset(CaptionDataset):
    """Phrases of ``region_descriptions.json``; their regions are not read.

    ``image_id`` is Visual Genome's. Its images lie in two folders: ``image_data.json`` says in
    which one; without that file the folders are listed once.

    Args:
        ann_file: ``region_descriptions.json``, below ``data_root``.
        folders: of the images, below ``data_prefix['img']``.
        image_data_file: ``image_data.json``, below ``data_root``; the folder is then the one in
            the image's address there.
        image_template: path of an image. Fields are ``folder``, one of ``folders``, and
            ``image_id``.
        **kwargs: those of :class:`CaptionDataset`. Many images of Visual Genome are COCO's;
            ``exclude_ids`` leaves them out.

    Raises:
        FileNotFoundError: a file or a folder is missing, or images are in none of the folders.
        ValueError: naming the file, a record that lacks a field.
    """

    FILES = (FileArgument('image_data_file'),)

    def __init__(
        self,
        ann_file: str,
        folders: Sequence[str] = ('VG_100K', 'VG_100K_2'),
        image_data_file: str | None = None,
        image_template: str = '{folder}/{image_id}.jpg',
        **kwargs,
    ) -> None:
        self.folders = [folders] if isinstance(folders, str) else list(folders)
        self.image_data_file = image_data_file
        super().__init__(ann_file=ann_file, image_template=image_template, **kwargs)

    def annotation_inputs(self) -> list[str]:
        """The files; the folders, too, if they are listed."""
        inputs = super().annotation_inputs()
        if inputs and self.image_data_file is None:
            inputs += [osp.join(self.data_prefix['img'], folder) for folder in self.folders]
        return inputs

    def read_images(self) -> Iterator[tuple[Any, str, list[str]]]:
        """``image_id``, path and phrases of each image.

        Raises:
            FileNotFoundError: images are in none of the folders.
        """
        phrases: dict[Any, list[str]] = {}
        records = read_json(
            self.ann_file, list, 'a list of objects with regions', self.backend_args
        )
        for number, record in enumerate(records):
            where = f'{self.ann_file}: record {number}'
            check_record(record, RECORD, where)
            check_table(record['regions'], REGION, 'region', where, key=None)
            for region in record['regions']:
                phrases.setdefault(region['image_id'], []).append(region['phrase'])
        del records  # frees gigabytes
        file = self.image_data_file
        folder_of = self._by_address(file) if file else self._by_listing()
        missing = [
            image_id
            for image_id in phrases
            if image_id not in folder_of and str(image_id) not in self.excluded
        ]
        if missing:
            where = self.image_data_file or ', '.join(self.folders)
            raise FileNotFoundError(
                f'{self.ann_file}: {len(missing)} of {len(phrases)} images, the first being '
                f'{missing[0]}, are not in {where}: fetch the images, or list their ids in the '
                'file exclude_ids'
            )
        for image_id, texts in phrases.items():
            if image_id not in folder_of:  # in exclude_ids
                yield image_id, '', texts
                continue
            folder = folder_of[image_id]
            fields = dict(folder=folder, image_id=image_id)
            where = f'{self.ann_file}: image {image_id}'
            yield image_id, self.image_path(self.image_template, fields, where), texts

    def _by_address(self, image_data_file: str) -> dict[Any, str]:
        """Folder of each image from the address in ``image_data.json``."""
        path = self.below_root(image_data_file)
        by_name = {osp.basename(osp.normpath(folder)): folder for folder in self.folders}
        found: dict[Any, str] = {}
        unknown: Counter[str] = Counter()
        images = read_json(path, list, 'a list of images', self.backend_args)
        check_table(images, IMAGE, 'image', path, 'image_id')
        for image in images:
            name = image['url'].rsplit('/', 2)[-2]
            if name in by_name:
                found[image['image_id']] = by_name[name]
            else:
                unknown[name] += 1
        if unknown:
            name, count = unknown.most_common(1)[0]
            raise ValueError(
                f'{path} has {count} images in a folder {name!r}, which is not among '
                f'folders ({", ".join(self.folders)}): add it'
            )
        return found

    def _by_listing(self) -> dict[Any, str]:
        """Folder of each image, from the file names, which are the ids."""
        found = {}
        for folder in self.folders:
            path = osp.join(self.data_prefix['img'], folder)
            try:
                names = list(list_dir_or_file(path, list_dir=False, backend_args=self.backend_args))
            except FileNotFoundError as error:
                raise FileNotFoundError(
                    f'no folder {path} of images: check data_root, data_prefix and folders'
                ) from error
            for name in names:
                stem = osp.splitext(name)[0]
                found[int(stem) if stem.isascii() and stem.isdigit() else stem] = folder
        return found
