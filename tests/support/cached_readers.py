"""Datasets of all readers that keep a cache, over miniatures of the published files."""

import json
from pathlib import Path
from typing import Any

from mmdet.registry import DATASETS


def reader(kind: str, root: str = '', file: str = '', images: str | None = None, **options) -> dict:
    """The config of a dataset below ``data``."""
    prefix = {} if images is None else dict(data_prefix=dict(img=images))
    named = dict(ann_file=file) if file else {}
    return dict(type=kind, data_root=f'data/{root}', **named, **prefix, **options)


EMPTY = dict(filter_cfg=dict(filter_empty_gt=True))
TESTED = dict(test_mode=True)
COCO = reader('PromptCocoDataset', 'coco/', 'annotations/instances_train2017.json', 'train2017/')
LVIS = reader('PromptLVISDataset', 'coco/', 'annotations/lvis_v1_train.json', '')
OBJECTS365 = reader(
    'PromptObjects365V2Dataset', 'objects365v2/', 'annotations/zhiyuan_objv2_train.json', 'train/'
)
MIXED = reader(
    'MDETRGroundingDataset',
    file='mdetr_annotations/final_mixed_train_no_coco.json',
    image_dirs=dict(coco='coco/train2014/', vg='gqa/images/'),
)
FLICKR = reader(
    'MDETRGroundingDataset',
    file='mdetr_annotations/final_flickr_separateGT_val.json',
    images='flickr30k/flickr30k_images/',
)
REFCOCO = reader(
    'MDETRGroundingDataset',
    file='mdetr_annotations/finetune_refcoco_val.json',
    images='coco/train2014/',
)
ODVG = reader('GroundingODVGDataset', 'gqa/', 'final_mixed_train_no_coco_vg.json', 'images/')
NAMED = reader(
    'GroundingODVGDataset',
    'objects365v1/',
    'o365v1_train_od.json',
    'train/',
    label_map_file='o365v1_label_map.json',
)
KARPATHY = reader('KarpathyCaptionDataset', file='karpathy/dataset_coco.json', images='coco/')
REGIONS = reader('RegionPhraseDataset', 'visual_genome/', 'region_descriptions.json')
WEB = reader('WebCaptionDataset', 'sbu/', 'annot.json')
VQA = reader(
    'VQAv2Dataset',
    images='coco/',
    question_files=['vqav2/v2_OpenEnded_mscoco_train2014_questions.json'],
    annotation_files=['vqav2/v2_mscoco_train2014_annotations.json'],
    answer_file='vqav2/answer_list.json',
)
NLVR2 = reader('NLVR2Dataset', 'nlvr2/', ann_files=dict(train='data/train.json'))
DESCRIBED = dict(
    ann_file='annotations/lvis_v1_val.json',
    descriptions='annotations/lvis_v1.description.v1.json',
)
WITH_NOUNS = dict(
    ann_file='mdetr_annotations/final_mixed_train_no_coco_with_nouns_gpt.0425.json',
    with_descriptions=True,
)
READERS = {
    'coco': dict(COCO, **EMPTY),
    'coco test, some classes': dict(COCO, **TESTED, metainfo=dict(classes=('elephant', 'person'))),
    'coco, worded, some': dict(
        COCO, caption_prompt={'wine glass': dict(prefix='a ')}, annotated_only=True, indices=5
    ),
    'coco, chosen': dict(COCO, indices=[3, 1, 3], filter_cfg=dict(min_size=96)),
    'coco, few': dict(COCO, shots=1, shot_seed=0),
    'lvis': dict(LVIS, **EMPTY),
    'lvis, described': dict(LVIS, **TESTED, **DESCRIBED),
    'objects365 v2': OBJECTS365,
    'mixed': dict(MIXED, **EMPTY),
    'mixed, by image': dict(MIXED, texts_per_image=3),
    'mixed, described': dict(MIXED, **WITH_NOUNS),
    'flickr30k': dict(FLICKR, **TESTED),
    'refcoco, whole': dict(REFCOCO, **TESTED, whole_caption=True),
    'odvg captions': dict(ODVG, **EMPTY),
    'odvg captions, by image': dict(ODVG, texts_per_image=2),
    'odvg names': NAMED,
    'odvg names, worded, by image': dict(NAMED, texts_per_image=2, caption_prompt={}),
    'odvg names, wordless': dict(NAMED, need_text=False),
    'captions': KARPATHY,
    'captions, by image': dict(KARPATHY, texts_per_image=3, indices=4),
    'captions, one': dict(KARPATHY, **TESTED, one_per='image', splits='test'),
    'regions': REGIONS,
    'regions, by address': dict(REGIONS, image_data_file='image_data.json'),
    'web captions': WEB,
    'vqa': VQA,
    'vqa, unanswerable, by image': dict(VQA, keep_unanswerable=True, texts_per_image=2),
    'nlvr2': NLVR2,
}


def build(cfg: dict, folder: Path | None = None, **kwargs) -> Any:
    """A dataset, with a cache in a folder or without any."""
    cache = dict(annotation_cache=str(folder), annotation_cache_from=0) if folder else {}
    return DATASETS.build(
        dict(cfg, pipeline=[], **(cache or dict(annotation_cache=False)), **kwargs)
    )


def content(dataset: Any) -> tuple[list[str], str]:
    """Everything that a dataset yields, as text that tells tuples from lists."""
    samples = [dataset.get_data_info(i) for i in range(len(dataset))]
    return [repr(sorted(sample.items())) for sample in samples], repr(dataset.metainfo)


def of_reader(lines: list[tuple[str, str]]) -> list[tuple[str, str]]:
    """The log without what the cache says of itself."""
    return [
        line for line in lines if 'read once' not in line[1] and ' samples come ' not in line[1]
    ]


def captions(folder: Path, texts: list[str]) -> dict:
    """Write a list of captions, one for each image; the config of its dataset."""
    rows = [[f'{i}.jpg', text] for i, text in enumerate(texts)]
    (folder / 'list.json').write_text(json.dumps(rows))
    return dict(type='WebCaptionDataset', data_root=str(folder), ann_file='list.json')


def texts_of(dataset: Any) -> list[str]:
    """The text of each sample."""
    return [dataset.get_data_info(i)['text'] for i in range(len(dataset))]
