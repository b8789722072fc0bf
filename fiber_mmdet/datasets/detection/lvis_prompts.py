"""LVIS v1: some 1200 categories as prompts, photos found by their COCO address."""

from mmdet.registry import DATASETS

from .coco_prompts import PromptCocoDataset


@DATASETS.register_module()
class PromptLVISDataset(PromptCocoDataset):
    """LVIS v1 (train, val, minival) as prompts.

    mmdet's ``LVISV1Dataset`` by another way: all that
    :class:`PromptCocoDataset` checks is checked, the classes are those of the
    file instead of a fixed list, and the ``lvis`` package is needed for the
    metric only. Labels follow the category ids, which is the order that
    mmdet's fixed AP reads them in.

    The path of a photo is the last two parts of its ``coco_url``
    (``val2017/000000001234.jpg``), below ``data_prefix['img']``; without a
    ``coco_url`` it is ``file_name``. Records keep ``neg_category_ids`` and
    ``not_exhaustive_category_ids``.

    Args:
        **kwargs: those of :class:`PromptCocoDataset`.

    Raises:
        ValueError: as there, and when categories are not listed by ascending id.
    """

    def prepare_file(self, dataset: dict) -> None:
        """Paths from ``coco_url``; categories in the order of the metric."""
        for image in dataset['images']:
            if 'coco_url' in image:
                image['file_name'] = '/'.join(image['coco_url'].split('/')[-2:])
        ids = [category.get('id', 0) for category in dataset['categories']]
        if ids != sorted(ids):
            raise ValueError(
                f'{self.ann_file}: categories are not listed by ascending id, so the '
                'metric would take them for one another: sort them'
            )

    def parse_data_info(self, raw_data_info: dict) -> dict:
        """One image record, with what is known to be absent or not fully annotated."""
        record = super().parse_data_info(raw_data_info)
        for key in ('neg_category_ids', 'not_exhaustive_category_ids'):
            record[key] = raw_data_info['raw_img_info'].get(key, [])
        return record
