"""MDETR-style grounding files (Flickr30k, mixed, RefCOCO): captions with boxes for spans."""
from collections import Counter
from pathlib import Path

from mmdet.datasets import BaseDetDataset
from mmdet.registry import DATASETS
from mmengine.fileio import get_local_path
from pycocotools.coco import COCO

from .box_check import fault, report_faults
from .photo_errors import NamesUnreadablePhotos


@DATASETS.register_module()
class MDETRGroundingDataset(NamesUnreadablePhotos, BaseDetDataset):
    """Captions whose character spans are linked to boxes, read as published.

    One sample is one caption of one image. Labels are phrase indices:

    - training: each box is a phrase of its own with the spans of its
      ``tokens_positive`` (equal phrases at different places stay apart; a box
      annotated twice, for two phrases, is one box with the spans of both,
      since an anchor can be matched to one box only);
    - ``test_mode``: the phrases are the record's ``tokens_positive_eval``, and
      ``phrase_ids`` links annotations to them; records without any phrase are
      left out.

    Samples carry ``text`` (the caption, verbatim), ``tokens_positive`` (one
    list of [begin, end) spans per label) and ``phrase_ids`` (label per box).
    Boxes outside the image or of zero size are dropped and counted in the log;
    so are training boxes without a span.

    Args:
        **kwargs: those of mmdet's ``BaseDetDataset``.
    """

    def load_data_list(self) -> list[dict]:
        """Read the json file into mmdet's records."""
        with get_local_path(self.ann_file, backend_args=self.backend_args) as path:
            coco = COCO(path)
        faults: Counter = Counter()
        records = [self._record(coco, image, faults) for image in coco.dataset['images']
                   if not self.test_mode or image.get('tokens_positive_eval', True)]
        report_faults(faults, self.ann_file)
        return records

    def _record(self, coco: COCO, image: dict, faults: Counter) -> dict:
        width, height = image['width'], image['height']
        evaluated = self.test_mode and 'tokens_positive_eval' in image
        spans = list(image['tokens_positive_eval']) if evaluated else []
        instances, label_of = [], {}
        for ann in coco.imgToAnns[image['id']]:
            kind = fault(ann['bbox'], width, height)
            if kind is None and not evaluated and not ann.get('tokens_positive'):
                kind = 'without a span'
            if kind:
                faults[kind] += 1
                continue
            if evaluated:
                labels = ann['phrase_ids']
            elif tuple(ann['bbox']) in label_of:
                spans[label_of[tuple(ann['bbox'])]].extend(ann['tokens_positive'])
                continue
            else:
                labels = [len(spans)]
                label_of[tuple(ann['bbox'])] = len(spans)
                spans.append(list(ann['tokens_positive']))
            x, y, w, h = ann['bbox']
            instances += [dict(bbox=[x, y, x + w, y + h], bbox_label=label,
                               ignore_flag=int(ann.get('iscrowd', 0))) for label in labels]
        return dict(
            img_id=image['id'], img_path=str(Path(self.data_prefix['img'], image['file_name'])),
            width=width, height=height, text=image['caption'], tokens_positive=spans,
            phrase_ids=[i['bbox_label'] for i in instances], instances=instances)

    def filter_data(self) -> list[dict]:
        """In training, drop captions without any box if ``filter_empty_gt`` asks for it."""
        if self.test_mode or not (self.filter_cfg or {}).get('filter_empty_gt', False):
            return self.data_list
        return [record for record in self.data_list if record['instances']]
