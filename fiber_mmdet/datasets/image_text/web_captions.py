"""Captions from the web (SBU, Conceptual Captions): lists of images with captions."""

import os.path as osp
from collections.abc import Iterator
from typing import Any

from mmdet.registry import DATASETS

from fiber_mmdet.fields import is_text, shown
from fiber_mmdet.records import read_json, read_lines

from .captions import CaptionDataset


@DATASETS.register_module()
class WebCaptionDataset(CaptionDataset):
    """Images with a caption, from a json list of [path, caption] or from a tsv file.

    A line of a tsv file (its name ends in ".tsv") is a caption, a tab, and a path. ``image_id`` is
    the path as in the file; an image that is listed repeatedly becomes one with several captions.

    Args:
        ann_file: the list, below ``data_root``.
        image_template: path of an image. Fields are ``path``, as in the list, and ``name``, its
            last part.
        **kwargs: those of :class:`CaptionDataset`.

    Raises:
        FileNotFoundError: the file does not exist.
        ValueError: naming the file and an entry of another form.
    """

    def __init__(self, ann_file: str, image_template: str = '{path}', **kwargs) -> None:
        super().__init__(ann_file=ann_file, image_template=image_template, **kwargs)

    def read_images(self) -> Iterator[tuple[Any, str, list[str]]]:
        """The path as an id, the path to open, and the captions of each image."""
        captions: dict[str, list[str]] = {}
        entries = self._lines() if self.ann_file.endswith('.tsv') else self._pairs()
        for path, caption in entries:
            captions.setdefault(path, []).append(caption)
        for path, texts in captions.items():
            fields = dict(path=path, name=osp.basename(path))
            where = f'{self.ann_file}: {shown(path)}'
            yield path, self.image_path(self.image_template, fields, where), texts

    def _pairs(self) -> Iterator[tuple[str, str]]:
        pairs = read_json(self.ann_file, list, 'a list of [path, caption]', self.backend_args)
        for number, pair in enumerate(pairs):
            if not (
                isinstance(pair, list) and len(pair) == 2 and all(is_text(part) for part in pair)
            ):
                raise ValueError(
                    f'{self.ann_file}: entry {number} is {shown(pair)}, not [path, caption], both '
                    'of them text'
                )
            yield pair[0], pair[1]

    def _lines(self) -> Iterator[tuple[str, str]]:
        for where, line in read_lines(self.ann_file, self.backend_args):
            caption, tab, path = line.rpartition('\t')
            if not tab or not path:
                raise ValueError(f'{where} must be a caption, a tab and a path')
            yield path, caption
