"""Objects365 v2: its photos lie in patches, and three of them are broken."""

import os.path as osp

from mmdet.datasets.objects365 import objv2_ignore_list
from mmdet.registry import DATASETS

from .coco_prompts import PromptCocoDataset


@DATASETS.register_module()
class PromptObjects365V2Dataset(PromptCocoDataset):
    """Objects365 v2 (``zhiyuan_objv2_*.json``) as prompts.

    The path of a photo is the last two parts of its ``file_name``
    (``patch8/objects365_v1_00420917.jpg``), and the broken photos that mmdet
    lists are left out, as in its ``Objects365V2Dataset``. Unlike there, the
    classes are those of the file, in its order (by id, as published), which is
    the order ``CocoMetric`` reads. Objects365 v1 needs no class of its own:
    :class:`PromptCocoDataset` reads it.

    Args:
        **kwargs: those of :class:`PromptCocoDataset`.
    """

    def prepare_file(self, dataset: dict) -> None:
        """Shorten the paths; drop broken photos with their annotations."""
        broken = set()
        for image in dataset['images']:
            if 'file_name' in image:
                image['file_name'] = osp.join(*image['file_name'].split('/')[-2:])
            if image.get('file_name') in objv2_ignore_list:
                broken.add(image.get('id'))
        if broken:
            dataset['images'] = [i for i in dataset['images'] if i.get('id') not in broken]
            dataset['annotations'] = [
                a for a in dataset.get('annotations', []) if a.get('image_id') not in broken
            ]
