"""Datasets of several kinds in one, some of them repeated, batched by shape."""

import pytest
from mmdet.datasets.samplers import AspectRatioBatchSampler
from mmdet.registry import DATASETS
from mmengine.dataset import DefaultSampler, pseudo_collate
from mmengine.registry import DefaultScope
from torch.utils.data import DataLoader

import fiber_mmdet  # noqa: F401
from coco_json import box, image, write_image, write_json

PIPELINE = [
    dict(type='LoadImageFromFile', imdecode_backend='pillow'),
    dict(type='LoadAnnotations', with_bbox=True),
    dict(
        type='PackDetInputs',
        meta_keys=('img_id', 'text', 'custom_entities', 'tokens_positive', 'caption_prompt'),
    ),
]


@pytest.fixture
def mixture(tmp_path):
    """Five images with categories, two of them upright, and two captions three times over."""
    upright = dict(width=48, height=64)
    records = [image(i) | (upright if i % 2 else {}) for i in range(5)]
    for record in records:
        write_image(
            tmp_path / record['file_name'], record['id'], (record['width'], record['height'])
        )
    boxes = [box(i, i, [10, 10, 20, 20], 1 + i % 2) for i in range(5)]
    write_json(tmp_path / 'coco.json', records, boxes, {1: 'cat', 2: 'dog'})
    captions = [record | dict(caption=f'a dog of {record["id"]}') for record in records[:2]]
    write_json(
        tmp_path / 'captions.json',
        captions,
        [box(i, i, [10, 10, 20, 20], tokens_positive=[[0, 5]]) for i in range(2)],
    )
    shared = dict(
        data_root=str(tmp_path),
        data_prefix=dict(img=''),
        pipeline=PIPELINE,
        filter_cfg=dict(filter_empty_gt=True),
    )
    with DefaultScope.overwrite_default_scope('mmdet'):
        return DATASETS.build(
            dict(
                type='ConcatDataset',
                ignore_keys=['classes', 'palette'],
                datasets=[
                    dict(type='PromptCocoDataset', ann_file='coco.json', **shared),
                    dict(
                        type='RepeatDataset',
                        times=3,
                        dataset=dict(
                            type='MDETRGroundingDataset', ann_file='captions.json', **shared
                        ),
                    ),
                ],
            )
        )


def test_each_sample_keeps_its_kind_of_prompt(mixture):
    assert len(mixture) == 5 + 3 * 2
    samples = [mixture[i]['data_samples'] for i in range(len(mixture))]
    assert [s.img_id for s in samples] == [0, 1, 2, 3, 4, 0, 1, 0, 1, 0, 1]
    assert all(tuple(s.text) == ('cat', 'dog') and 'tokens_positive' not in s for s in samples[:5])
    assert all(s.tokens_positive == [[[0, 5]]] for s in samples[5:])
    assert samples[6].text == 'a dog of 1' and 'custom_entities' not in samples[6]
    assert mixture.metainfo['classes'] == ('cat', 'dog')
    assert [mixture.get_dataset_source(i) for i in (4, 5, 10)] == [0, 1, 1]


def test_batches_hold_images_of_one_shape(mixture):
    sampler = AspectRatioBatchSampler(DefaultSampler(mixture, shuffle=True, seed=0), 2)
    loader = DataLoader(mixture, batch_sampler=sampler, collate_fn=pseudo_collate, num_workers=1)
    sizes = [[tuple(image.shape[1:]) for image in batch['inputs']] for batch in loader]
    assert sum(len(batch) for batch in sizes) == len(mixture)
    # but for the last one, which takes what is left
    assert all(len(batch) == 2 and len(set(batch)) == 1 for batch in sizes[:-1])
