# RefCOCO: each expression is a prompt with one box. Images are not mirrored, since left and right
# matter. One test run scores all splits.
_base_ = './photo_pipelines.py'

train_pipeline = [
    _base_.load_photo,
    _base_.load_boxes,
    _base_.inclusive_boxes,
    _base_.multi_scale,
    _base_.pack,
]
expressions = dict(
    type='MDETRGroundingDataset',
    data_root='data/',
    ann_file='mdetr_annotations/finetune_refcoco_val.json',
    data_prefix=dict(img='coco/train2014/'),
    test_mode=True,
    pipeline=_base_.test_pipeline,
)
precision = dict(type='ReferringPrecision')

train_dataloader = dict(
    batch_size=1,
    num_workers=2,
    persistent_workers=True,
    sampler=dict(type='DefaultSampler', shuffle=True),
    batch_sampler=dict(type='AspectRatioBatchSampler'),
    dataset=dict(
        type='MDETRGroundingDataset',
        data_root='data/',
        ann_file='mdetr_annotations/finetune_refcoco_train.json',
        data_prefix=dict(img='coco/train2014/'),
        filter_cfg=dict(filter_empty_gt=True),
        pipeline=train_pipeline,
    ),
)
val_dataloader = dict(
    batch_size=1,
    num_workers=2,
    persistent_workers=True,
    sampler=dict(type='DefaultSampler', shuffle=False),
    dataset=expressions,
)
test_dataloader = dict(
    val_dataloader,
    dataset=dict(
        type='ConcatDataset',
        datasets=[
            dict(expressions, ann_file=f'mdetr_annotations/finetune_refcoco_{split}.json')
            for split in ('val', 'testA', 'testB')
        ],
    ),
)
val_evaluator = precision
test_evaluator = dict(
    type='DatasetAverageEvaluator',
    metrics=[precision] * 3,
    dataset_prefixes=['val', 'testA', 'testB'],
    average_keys=[],
)
