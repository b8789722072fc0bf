"""COCO-style detection data whose categories become the prompt."""
from collections import Counter
from typing import Optional

from mmdet.datasets import CocoDataset
from mmdet.registry import DATASETS
from mmengine.fileio import get_local_path
from pycocotools.coco import COCO

from .box_check import fault, report_faults
from .photo_errors import NamesUnreadablePhotos


@DATASETS.register_module()
class PromptCocoDataset(NamesUnreadablePhotos, CocoDataset):
    """mmdet's ``CocoDataset`` for prompts: names checked, bad boxes counted.

    What differs: the classes default to the file's own categories and keep
    their order in the file (as the labels of mmdet and its ``CocoMetric`` do);
    classes that the file does not have are an error, not a silent drop; boxes
    of zero size or outside the image are counted in the log; and every sample
    carries ``text``, ``custom_entities`` and ``caption_prompt``.

    Args:
        annotated_only: leave out categories without any annotation, so that
            training prompts hold no name that is never positive.
        caption_prompt: category -> ``dict(prefix=…, name=…, suffix=…)``.
        **kwargs: those of ``CocoDataset``.

    Raises:
        ValueError: when ``metainfo['classes']`` names categories the file lacks,
            or ``caption_prompt`` names unknown classes.
    """

    METAINFO: dict = {}

    def __init__(self, *args, annotated_only: bool = False,
                 caption_prompt: Optional[dict] = None, **kwargs) -> None:
        self.annotated_only = annotated_only
        self.faults: Counter = Counter()
        kwargs.setdefault('return_classes', True)
        super().__init__(*args, caption_prompt=caption_prompt, **kwargs)

    def load_data_list(self) -> list[dict]:
        """Read the file; see the class for what is checked."""
        with get_local_path(self.ann_file, backend_args=self.backend_args) as path:
            coco = COCO(path)
        names = [category['name'] for category in coco.dataset['categories']]
        classes = self._metainfo.get('classes', names)
        missing = [name for name in classes if name not in names]
        if missing:
            raise ValueError(f'{self.ann_file} has no category {", ".join(map(repr, missing))}; '
                             f'its categories are {", ".join(names)}. Correct '
                             'metainfo.classes, or leave it out to take those of the file')
        if self.annotated_only:
            used = {a['category_id'] for a in coco.dataset['annotations']}
            kept = {c['name'] for c in coco.dataset['categories'] if c['id'] in used}
            classes = [name for name in classes if name in kept]
        classes = [name for name in names if name in classes]
        unknown = [name for name in (self.caption_prompt or {}) if name not in classes]
        if unknown:
            raise ValueError(f'caption_prompt names {", ".join(map(repr, unknown))}, which are '
                             f'not classes of {self.ann_file}')
        self._metainfo['classes'] = tuple(classes)
        self.faults.clear()
        data_list = super().load_data_list()
        report_faults(self.faults, self.ann_file)
        return data_list

    def parse_data_info(self, raw_data_info: dict) -> dict:
        """One image record with its annotations; unusable boxes are dropped by mmdet."""
        info = raw_data_info['raw_img_info']
        for ann in raw_data_info['raw_ann_info']:
            kind = fault(ann['bbox'], info['width'], info['height'])
            if kind:
                self.faults[kind] += 1
        return super().parse_data_info(raw_data_info)
