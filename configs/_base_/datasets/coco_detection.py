# COCO, with all 80 names in one prompt.
_base_ = './photo_pipelines.py'
data_root = 'data/coco/'

train_pipeline = [
    _base_.load_photo,
    _base_.load_boxes,
    _base_.inclusive_boxes,
    _base_.multi_scale,
    _base_.flip,
    dict(type='SampleCategories', max_negatives=80, full_prob=1.0),  # all names, shuffled
    _base_.pack,
]

train_dataloader = dict(
    batch_size=2,
    num_workers=2,
    persistent_workers=True,
    sampler=dict(type='DefaultSampler', shuffle=True),
    batch_sampler=dict(type='AspectRatioBatchSampler'),
    dataset=dict(
        type='PromptCocoDataset',
        data_root=data_root,
        ann_file='annotations/instances_train2017.json',
        data_prefix=dict(img='train2017/'),
        filter_cfg=dict(filter_empty_gt=True),
        pipeline=train_pipeline,
    ),
)
val_dataloader = dict(
    batch_size=1,
    num_workers=2,
    persistent_workers=True,
    sampler=dict(type='DefaultSampler', shuffle=False),
    dataset=dict(
        type='PromptCocoDataset',
        data_root=data_root,
        ann_file='annotations/instances_val2017.json',
        data_prefix=dict(img='val2017/'),
        test_mode=True,
        pipeline=_base_.test_pipeline,
    ),
)
test_dataloader = val_dataloader
val_evaluator = dict(
    type='PromptCocoMetric',
    metric='bbox',
    ann_file=data_root + 'annotations/instances_val2017.json',
)
test_evaluator = val_evaluator
