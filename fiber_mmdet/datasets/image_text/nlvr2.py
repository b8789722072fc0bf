"""NLVR2: statements about two images."""

import os.path as osp
from collections.abc import Iterator, Mapping, Sequence

from mmdet.registry import DATASETS

from fiber_mmdet.fields import ID, TEXT, Kind, check_distinct, check_record
from fiber_mmdet.records import read_json_lines

from ..file_arguments import FileArgument
from .base import ImageTextDataset

LABELS = {'True': 1, 'False': 0}
FIELDS = dict(
    identifier=TEXT,
    sentence=TEXT,
    label=Kind("'True' or 'False'", lambda value: str(value) in LABELS),
    directory=ID | None,
)
TEMPLATE = dict(
    train='images/train/{directory}/{stem}-img{side}.png',
    dev='dev/{stem}-img{side}.png',
    test1='test1/{stem}-img{side}.png',
)


@DATASETS.register_module()
class NLVR2Dataset(ImageTextDataset):
    """True or false statements about two images, from NLVR2's json lines.

    Samples have the views ``image`` (left) and ``image_1`` (right), ``label`` (1 true, 0 false),
    ``identifier`` of the statement, ``split`` (the name of its file) and ``image_id``: the
    identifier without its last part, which identifies the pair of images.

    Args:
        ann_files: name of a split -> its file below ``data_root``, or a list of files, whose
            split is the file name without its extension.
        image_template: path of an image, for all splits or by split. Fields are those of the line
            (``identifier``, ``directory`` in training), ``split``, ``stem`` (the identifier
            without its last part) and ``side``, 0 for the left image and 1 for the right. The
            published paths if not given.
        **kwargs: those of :class:`ImageTextDataset`.

    Raises:
        FileNotFoundError: a file is missing.
        ValueError: naming a malformed line, or a split whose images have no template.
    """

    FILES = (FileArgument('ann_files', annotations=True),)

    def __init__(
        self,
        ann_files: Mapping[str, str] | Sequence[str],
        image_template: str | Mapping[str, str] | None = None,
        **kwargs,
    ) -> None:
        if isinstance(ann_files, str):
            ann_files = [ann_files]
        if not isinstance(ann_files, Mapping):
            ann_files = {osp.splitext(osp.basename(path))[0]: path for path in ann_files}
        self.ann_files = dict(ann_files)
        image_template = image_template or TEMPLATE
        if not isinstance(image_template, str):
            lacking = [split for split in self.ann_files if split not in image_template]
            if lacking:
                raise ValueError(
                    f'image_template has no path for the images of split '
                    f'{lacking[0]!r} (it has {", ".join(image_template)}): add it'
                )
        super().__init__(image_template=image_template, **kwargs)

    def sources(self) -> str:
        """The annotation files, as errors name them."""
        return ', '.join(map(self.below_root, self.ann_files.values()))

    def read_items(self) -> Sequence[dict]:
        """The statements of all files."""
        return self.collect(self._statements())

    def _statements(self) -> Iterator[dict]:
        for split, path in self.ann_files.items():
            template = self.image_template
            template = template if isinstance(template, str) else template[split]
            identifiers = []
            for where, record in read_json_lines(self.below_root(path), self.backend_args):
                item = self._item(split, template, record, where)
                identifiers.append(item['identifier'])
                yield item
            check_distinct(
                identifiers,
                'statements',
                'identifier',
                self.below_root(path),
                'remove one, or give each its own',
            )

    def _item(self, split: str, template: str, record: dict, where: str) -> dict:
        check_record(record, FIELDS, where)
        label = LABELS[str(record['label'])]
        stem = record['identifier'].rpartition('-')[0]
        fields = dict(record, split=split, stem=stem)
        views = {
            view: dict(img_path=self.image_path(template, dict(fields, side=i), where))
            for i, view in enumerate(('image', 'image_1'))
        }
        return dict(
            views=views,
            text=record['sentence'],
            image_id=stem,
            label=label,
            identifier=record['identifier'],
            split=split,
        )
