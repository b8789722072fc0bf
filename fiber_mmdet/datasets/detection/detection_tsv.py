"""Objects365 in the reference's format: images and boxes as rows of tsv files."""

import os.path as osp
from collections.abc import Sequence
from typing import Any

from mmdet.registry import DATASETS

from fiber_mmdet.fields import (
    CORNERS,
    NAME,
    OBJECT,
    SIZE,
    check_record,
    check_table,
    check_value,
    is_whole,
    shown,
)
from fiber_mmdet.records import (
    opened,
    parse_json,
    path_below,
    read_json,
    read_lines,
    read_numbered_lines,
)

from .annotation_checks import box_fault
from .category_names import check_caption_prompt, choose_classes, warn_of_equal_words
from .checked import CheckedDetection
from .tsv import TSVFile

BACKGROUND = '__background__'
LABELLED = {'class': NAME, 'rect': CORNERS}


@DATASETS.register_module()
class DetectionTSVDataset(CheckedDetection):
    """Detection data in tsv files that a yaml file lists; categories become the prompt.

    The yaml (``ann_file``) contains these paths, relative to its own folder, or, with
    ``outside_paths``, absolute:

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
            reads all rows at the start (the reference drops no image). Also ``outside_paths`` of
            :class:`CheckedDetection`.

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
        self._spec = self._read_spec()
        if 'imageid2idx' in self._spec:
            raise ValueError(
                f'{self.ann_file} has imageid2idx, a format for captions: detection '
                'files have the image of a label in the same row'
            )
        self._images, self._labels, self._sizes = (
            TSVFile(self._path(key)) for key in ('img', 'label', 'hw')
        )
        lengths = {tsv.source(): len(tsv) for tsv in (self._images, self._labels, self._sizes)}
        if len(set(lengths.values())) > 1:
            raise ValueError(
                f'{self.ann_file}: its files must have equally many rows, but have '
                f'{lengths}: they do not belong together, or a .lineidx is out of date'
            )
        self._known = self._label_map()
        names = sorted(self._known, key=self._known.__getitem__)
        classes = choose_classes(names, self._metainfo.get('classes'), self.ann_file)
        check_caption_prompt(self.caption_prompt, classes, self.ann_file)
        warn_of_equal_words(classes, self.caption_prompt, self.ann_file)
        self._metainfo['classes'] = tuple(classes)
        self._label_of = {name: label for label, name in enumerate(classes)}
        rows: Sequence[int] = range(len(self._labels))
        if self._spec.get('linelist'):
            rows = self._line_list(self._path('linelist'))
        for row in rows[:1]:
            self._read(row)  # an error common to all rows is raised now
        return [dict(row=row) for row in rows]

    def _read_spec(self) -> dict[str, Any]:
        import yaml

        with opened(self.ann_file) as file:
            try:
                spec = yaml.safe_load(file) or {}
            except (yaml.YAMLError, RecursionError, ValueError) as error:
                raise ValueError(
                    f'{self.ann_file} is not a yaml file ({" ".join(str(error).split())}): fetch '
                    'or write it again'
                ) from error
        if not isinstance(spec, dict):
            raise ValueError(
                f'{self.ann_file} holds {shown(spec)}: it must name its files, such as '
                '"img: images.tsv"'
            )
        return spec

    def _path(self, key: str, or_key: str | None = None) -> str:
        name = self._spec.get(key) or or_key and self._spec.get(or_key)
        if not name:
            raise ValueError(
                f'{self.ann_file} names no {key!r} file: it needs img, label, hw and labelmap'
            )
        check_value(name, NAME, self.ann_file, key)
        path = path_below(
            osp.dirname(self.ann_file),
            name,
            f'{self.ann_file} has {key}',
            self.outside_paths,
        )
        if not osp.isfile(path):
            raise ValueError(f'{self.ann_file} names {name} as {key!r}, but there is no {path}')
        return path

    def _line_list(self, path: str) -> list[int]:
        rows = []
        for where, line in read_lines(path):
            if not (line.isascii() and line.strip().isdigit()):
                raise ValueError(f'{where} is {shown(line)}: it must be the number of a row')
            rows.append(int(line))
            if rows[-1] >= len(self._labels):
                raise ValueError(
                    f'{where} lists row {rows[-1]}, but there are {len(self._labels)}: {path} '
                    'belongs to other files'
                )
        if not rows:
            raise ValueError(f'{path} lists no row: fetch or make it again')
        return rows

    def _label_map(self) -> dict[str, int]:
        """Name -> id, with the background if it is kept."""
        path = self._path('labelmap', 'jsondict')
        if 'json' in osp.basename(path):
            known = read_json(path, dict, 'an object {"name": id, …}')
            known = known.get('label_to_idx', known)
            check_value(known, OBJECT, path, 'label_to_idx')
            for name, number in known.items():
                if not is_whole(number):
                    turned = '; this one is the wrong way round' * isinstance(number, str)
                    raise ValueError(
                        f'{path} maps {name!r} to {shown(number)}: it must map names to ids, '
                        f'{{"name": 1, …}}{turned}'
                    )
        else:
            names = read_numbered_lines(path)
            known = {name: i for i, name in enumerate(names, 1)}
            if len(known) < len(names):
                twice = next(name for i, name in enumerate(names) if name in names[:i])
                raise ValueError(f'{path} lists {twice!r} twice: give each name its own line')
        known = {name: number for name, number in known.items() if name != BACKGROUND}
        if self.keep_background:
            known = {BACKGROUND: 0, **known}
        of_id: dict[int, str] = {}
        for name, number in known.items():
            check_value(name, NAME, path, 'the name')
            if number in of_id:
                raise ValueError(
                    f'{path}: {of_id[number]!r} and {name!r} both have the id {number}: number '
                    'them apart'
                )
            of_id[number] = name
        return known

    def get_data_info(self, idx: int) -> dict:
        """The record of a sample, read from its row."""
        record = super().get_data_info(idx)
        return {**self._read(record['row']), 'sample_idx': record['sample_idx']}

    def _read(self, row: int) -> dict:
        key, label = self._columns(self._labels, row)
        size_key, size = self._columns(self._sizes, row)
        where = f'{self._labels.path}, row {row}'
        if key != size_key:
            raise ValueError(
                f'{where}: its key is {shown(key)}, but that of {self._sizes.path} is '
                f'{shown(size_key)}; they do not belong together, or a .lineidx is of another file'
            )
        height, width = self._size(size, f'{self._sizes.path}, row {row}')
        objects = parse_json(label, where, 'a list of objects')
        objects = objects.get('objects') if isinstance(objects, dict) else objects
        if not isinstance(objects, list):
            raise ValueError(f'{where} holds {shown(label)}: it must be a list of objects')
        instances = []
        check_table(objects, LABELLED, 'object', where, key=None)
        for item in objects:
            name = item['class']
            if name not in self._known and name != BACKGROUND:
                raise ValueError(
                    f'{where}: class {name!r} is not in the label map of {self.ann_file}: add it, '
                    'or make the file again'
                )
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
    def _columns(tsv: TSVFile, row: int) -> tuple[str, str]:
        """Key and content of a row."""
        columns = tsv[row]
        if len(columns) < 2:
            raise ValueError(
                f'{tsv.path}, row {row} is {shown(columns[0])}: it must be a key, a tab and a '
                'value. Correct it, or make the file again'
            )
        return columns[0], columns[1]

    @staticmethod
    def _size(text: str, where: str) -> tuple[int, int]:
        """Height and width, in either of the two formats."""
        must = 'it must be [{"height": …, "width": …}] or "height width"'
        parts = text.split()
        if len(parts) == 2 and all(map(SIZE.fits, parts)):
            return int(parts[0]), int(parts[1])
        size = parse_json(text, where, must)
        size = size[0] if isinstance(size, list) and size else size
        if not isinstance(size, dict):
            raise ValueError(f'{where} holds {shown(text)}: {must}')
        check_record(size, dict(height=SIZE, width=SIZE), where)
        return int(size['height']), int(size['width'])

    def usable_records(self) -> Sequence[dict]:
        """All rows; in training, without images that have no box if ``filter_empty_gt``."""
        if self.test_mode or not (self.filter_cfg or {}).get('filter_empty_gt'):
            return self.data_list
        return [record for record in self.data_list if self._read(record['row'])['instances']]
