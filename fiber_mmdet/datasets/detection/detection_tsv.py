"""Objects365 in the reference's format: images and boxes as rows of tsv files."""

import json
import os.path as osp
from collections.abc import Sequence

from mmdet.datasets import BaseDetDataset
from mmdet.registry import DATASETS

from ..image_errors import NamesUnreadableImages
from .annotation_checks import box_fault, drops_empty
from .category_names import check_caption_prompt, choose_classes
from .tsv import TSVFile

BACKGROUND = '__background__'


@DATASETS.register_module()
class DetectionTSVDataset(NamesUnreadableImages, BaseDetDataset):
    """Detection data in tsv files that a yaml file lists; categories become the prompt.

    The yaml (``ann_file``) contains these paths, absolute or relative to its own folder:

    - ``img``: rows of a key and (in the last column) a base64 image;
    - ``label``: rows of a key and a json list of ``{"class": …, "rect": [x1, y1, x2, y2]}``, or
      a dict with that list under ``objects``;
    - ``hw``: rows of a key and ``[{"height": …, "width": …}]`` or ``h w``;
    - ``labelmap`` (or ``jsondict``): json of name -> id, possibly under ``label_to_idx``, or one
      name per line with ids from 1;
    - ``linelist``, optional: row numbers, one per line; rows may be repeated.

    Rows are read when their sample is requested, so that millions of them need little memory. This
    is why boxes of zero size or outside the image are dropped without a count in the log.
    Pipelines begin with ``LoadImageFromTSV`` instead of ``LoadImageFromFile``.

    Boxes are the ``rect`` unchanged, which the reference takes as inclusive: x2 and y2 are the
    last pixel of a box, not one beyond it as in every other dataset. The pipeline needs
    ``InclusiveBoxes(already_inclusive=True)``. Labels are positions in the order of the label
    map's ids; samples carry ``text``, ``custom_entities`` and ``caption_prompt``.

    Args:
        keep_background: keep ``__background__``, the name with id 0, as a possible negative, as
            the reference does.
        caption_prompt: category -> ``dict(prefix=…, name=…, suffix=…)``.
        **kwargs: those of mmdet's ``BaseDetDataset``. ``filter_cfg`` with ``filter_empty_gt``
            reads all rows at the start (the reference drops no image).

    Raises:
        ValueError: the yaml or its files do not match; the message names them.
    """

    def __init__(
        self, *args, keep_background: bool = False, caption_prompt: dict | None = None, **kwargs
    ) -> None:
        self.keep_background = keep_background
        kwargs.setdefault('return_classes', True)
        super().__init__(*args, caption_prompt=caption_prompt, **kwargs)

    def load_data_list(self) -> list[dict]:
        """Open the files; a record is a row number until its sample is requested.

        Raises:
            ValueError: the files do not match.
        """
        import yaml

        with open(self.ann_file, encoding='utf-8') as file:
            self._spec = yaml.safe_load(file) or {}
        if 'imageid2idx' in self._spec:
            raise ValueError(
                f'{self.ann_file} has imageid2idx, a format for captions: detection '
                'files have the image of a label in the same row'
            )
        self._images, self._labels, self._sizes = (
            TSVFile(self._path(key)) for key in ('img', 'label', 'hw')
        )
        lengths = {str(tsv.path): len(tsv) for tsv in (self._images, self._labels, self._sizes)}
        if len(set(lengths.values())) > 1:
            raise ValueError(
                f'{self.ann_file}: its files must have equally many rows, but have '
                f'{lengths}: they do not belong together, or a .lineidx is out of date'
            )
        self._known = self._label_map()
        names = sorted(self._known, key=self._known.__getitem__)
        classes = choose_classes(names, self._metainfo.get('classes'), self.ann_file)
        check_caption_prompt(self.caption_prompt, classes, self.ann_file)
        self._metainfo['classes'] = tuple(classes)
        self._label_of = {name: label for label, name in enumerate(classes)}
        rows: Sequence[int] = range(len(self._labels))
        if self._spec.get('linelist'):
            with open(self._path('linelist'), encoding='utf-8') as file:
                rows = [int(line) for line in file if line.strip()]
            if rows and not 0 <= min(rows) <= max(rows) < len(self._labels):
                raise ValueError(
                    f'{self._path("linelist")} lists row {max(rows)}, but there are '
                    f'{len(self._labels)}: it belongs to other files'
                )
        for row in rows[:1]:
            self._read(row)  # an error common to all rows is raised now
        return [dict(row=row) for row in rows]

    def _path(self, key: str, or_key: str | None = None) -> str:
        name = self._spec.get(key) or self._spec.get(or_key)
        if not name:
            raise ValueError(
                f'{self.ann_file} names no {key!r} file: it needs img, label, hw and labelmap'
            )
        path = osp.join(osp.dirname(self.ann_file), name)
        if not osp.isfile(path):
            raise ValueError(f'{self.ann_file} names {name} as {key!r}, but there is no {path}')
        return path

    def _label_map(self) -> dict[str, int]:
        """Name -> id, with the background if it is kept."""
        path = self._path('labelmap', 'jsondict')
        with open(path, encoding='utf-8') as file:
            if 'json' in osp.basename(path):
                known = json.load(file)
                known = dict(known.get('label_to_idx', known))
            else:
                names = [line.strip() for line in file if line.strip()]
                known = {name: i for i, name in enumerate(names, 1)}
        known.pop(BACKGROUND, None)
        return {BACKGROUND: 0, **known} if self.keep_background else known

    def get_data_info(self, idx: int) -> dict:
        """The record of a sample, read from its row."""
        record = super().get_data_info(idx)
        return {**self._read(record['row']), 'sample_idx': record['sample_idx']}

    def _read(self, row: int) -> dict:
        try:
            return self._record(row)
        except (KeyError, TypeError, ValueError) as error:
            reason = f'no {error}' if isinstance(error, KeyError) else error
            raise ValueError(
                f'{self._labels.path}, row {row}: {reason}. Correct it, or make the file again'
            ) from error

    def _record(self, row: int) -> dict:
        (key, label), (size_key, size) = self._labels[row][:2], self._sizes[row][:2]
        if key != size_key:
            raise ValueError(
                f'its key is {key!r}, but that of {self._sizes.path} is {size_key!r}; '
                'they do not belong together'
            )
        height, width = self._size(size)
        objects = json.loads(label)
        objects = objects['objects'] if isinstance(objects, dict) else objects
        instances = []
        for item in objects:
            name = item['class']
            if name not in self._known and name != BACKGROUND:
                raise ValueError(f'class {name!r} is not in the label map of {self.ann_file}')
            x1, y1, x2, y2 = item['rect']
            inside = x1, y1, x2 - x1 + 1, y2 - y1 + 1  # inclusive
            if name in self._label_of and not box_fault(inside, width, height):
                instances.append(
                    dict(bbox=[x1, y1, x2, y2], bbox_label=self._label_of[name], ignore_flag=0)
                )
        prompt = dict(
            text=self._metainfo['classes'], custom_entities=True, caption_prompt=self.caption_prompt
        )
        return dict(
            prompt if self.return_classes else {},
            img_id=int(key) if key.isdigit() else key,
            img_path=f'{self._images.path}#{key}',
            height=height,
            width=width,
            tsv=dict(path=str(self._images.path), offset=int(self._images.offsets[row]), key=key),
            instances=instances,
        )

    @staticmethod
    def _size(text: str) -> tuple[int, int]:
        """Height and width, in either of the two formats."""
        try:
            size = json.loads(text)
        except ValueError:
            height, width = text.split()
            return int(height), int(width)
        size = size[0] if isinstance(size, list) else size
        return int(size['height']), int(size['width'])

    def filter_data(self) -> list[dict]:
        """In training, drop images without any box if ``filter_empty_gt`` is set."""
        if not drops_empty(self):
            return self.data_list
        return [record for record in self.data_list if self._read(record['row'])['instances']]
